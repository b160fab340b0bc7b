"""What every catalog promises. A test file subclasses `CatalogSuite` and says where an empty catalog may be."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.errors import Conflict, Corrupt, Fenced, WrongIndex
from penstock.index.types import FORMAT, BlobRef

META = Meta("lineage", 1, "epoch-id", "{}")
FORMAT_1 = (
    "CREATE TABLE meta (id INTEGER NOT NULL PRIMARY KEY, format INTEGER NOT NULL, lineage VARCHAR(64) NOT NULL, "
    "epoch INTEGER NOT NULL, epoch_id VARCHAR(64) NOT NULL, membership TEXT NOT NULL)",
    "CREATE TABLE versions (version BIGINT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, epoch_id VARCHAR(64) NOT NULL,"
    " txn VARCHAR(64) NOT NULL UNIQUE, manifest VARCHAR(160) NOT NULL, size BIGINT NOT NULL, sums VARCHAR(64) NOT NULL,"
    " committed_at DOUBLE PRECISION NOT NULL)",
    "CREATE TABLE transactions (txn VARCHAR(64) NOT NULL PRIMARY KEY, owner VARCHAR(64) NOT NULL, "
    "status VARCHAR(16) NOT NULL, started_at DOUBLE PRECISION NOT NULL)",
    "INSERT INTO meta VALUES (1, 1, 'lineage', 1, 'epoch-id', '{}')",
    "INSERT INTO versions VALUES (1, 1, 'epoch-id', 't1', 'm1', 10, 'sums', 1.1)",
    "INSERT INTO transactions VALUES ('t1', 'me', 'committed', 1.0), ('t2', 'me', 'open', 1.0)",
)

RACER = """
import sys
from penstock.index.catalog.catalog import Catalog, Ratified
from penstock.index.errors import Conflict
from penstock.index.types import BlobRef
url, name = sys.argv[1:]
catalog, won = Catalog(url), 0
for turn in range(12):
    txn = f"{name}.{turn}"
    catalog.begin(txn, name, 1.0)
    head = catalog.head()
    version = head.version + 1 if head else 1
    try:
        catalog.ratify(Ratified(version, 1, "epoch-id", txn, BlobRef(txn, 1, "s"), float(version)))
        won += 1
    except Conflict:
        assert not catalog.settle(txn)
print(won)
"""


def version(number: int, txn: str, epoch: int = 1, epoch_id: str = "epoch-id") -> Ratified:
    return Ratified(number, epoch, epoch_id, txn, BlobRef(f"m{number}", 10, "sums"), 0.1 + number)


def execute(url: str, *statements: str) -> None:
    """Change the database behind the catalog's back."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.begin() as db:
        for statement in statements:
            db.exec_driver_sql(statement)


def decide(catalog: Catalog, *numbers: int) -> None:
    for number in numbers:
        catalog.begin(f"t{number}", "me", 1.0)
        catalog.ratify(version(number, f"t{number}"))


class CatalogSuite:
    """Subclasses define a fixture `url`: where there is no catalog yet, and one may be made."""

    @pytest.fixture
    def catalog(self, url):
        made = Catalog(url)
        assert made.meta() is None
        made.create(META)
        return made

    def test_what_was_decided_reads_back_exactly(self, catalog):
        """Times included: who publishes later writes the same bytes."""
        decide(catalog, 1, 2, 3)
        assert catalog.head() == version(3, "t3")
        assert catalog.since(1) == [version(2, "t2"), version(3, "t3")]
        assert catalog.open_transactions() == []
        assert catalog.create(Meta("other", 9, "x", "")) == META, "a second creation changes nothing"

    def test_creating_it_may_be_raced_and_repeated(self, url):
        """All creators are told the same index."""
        told = []
        metas = [Meta(f"lineage{n}", 1, f"epoch{n}", "{}") for n in range(6)]
        threads = [threading.Thread(target=lambda m=m: told.append(Catalog(url).create(m))) for m in metas]
        _run(threads)
        assert len(told) == 6 and len(set(told)) == 1

    def test_of_racing_ratifications_exactly_one_wins(self, catalog):
        """From as many threads as want to; the others are told that it is a conflict."""
        for turn in range(1, 4):
            won = []

            def race(txn, won=won, turn=turn):
                try:
                    catalog.ratify(version(turn, txn))
                    won.append(txn)
                except Conflict:
                    pass

            txns = [f"t{turn}.{n}" for n in range(8)]
            for txn in txns:
                catalog.begin(txn, "me", 1.0)
            _run([threading.Thread(target=race, args=(txn,)) for txn in txns])
            head = catalog.head()
            assert head is not None and head.version == turn and [head.txn] == won
        assert len(catalog.open_transactions()) == 21

    def test_racing_processes_decide_each_version_once(self, catalog, url):
        """As many versions as there were winners, one after the other."""
        racers = [
            subprocess.Popen([sys.executable, "-c", RACER, url, f"p{n}"], stdout=subprocess.PIPE, text=True)
            for n in range(3)
        ]
        won = [int(racer.communicate(timeout=120)[0]) for racer in racers]
        found = catalog.since(0)
        assert [v.version for v in found] == list(range(1, sum(won) + 1))
        assert len({v.txn for v in found}) == len(found) >= 12
        assert catalog.open_transactions() == []

    def test_settling_against_ratifying_decides_one_of_them(self, catalog):
        """Whoever comes first: committed and true, or aborted and refused; never both, never neither."""
        shuffle = random.Random(5)
        for turn in range(12):
            head = catalog.head()
            number, txn = (head.version + 1 if head else 1), f"duel{turn}"
            catalog.begin(txn, "me", 1.0)
            outcome = {}

            def ratify(number=number, txn=txn, outcome=outcome):
                try:
                    catalog.ratify(version(number, txn))
                    outcome["ratified"] = True
                except Conflict:
                    outcome["ratified"] = False

            def settle(txn=txn, outcome=outcome):
                outcome["settled"] = catalog.settle(txn)

            threads = [threading.Thread(target=ratify), threading.Thread(target=settle)]
            shuffle.shuffle(threads)
            _run(threads)
            assert outcome["ratified"] == outcome["settled"] == catalog.settle(txn)

    def test_a_version_may_not_be_skipped_and_an_old_epoch_may_not_write(self, catalog):
        """A refused ratification leaves its transaction open."""
        catalog.begin("t", "me", 1.0)
        with pytest.raises(Conflict):
            catalog.ratify(version(2, "t"))
        for wrong in (version(1, "t", epoch=2), version(1, "t", epoch_id="other")):
            with pytest.raises(Fenced, match="open the index anew"):
                catalog.ratify(wrong)
        assert catalog.open_transactions() == [("t", "me")]
        catalog.ratify(version(1, "t"))

    def test_settling_decides_and_may_be_repeated(self, catalog):
        """Committed stays committed, aborted stays aborted and is never ratified."""
        for txn in ("kept", "gone"):
            catalog.begin(txn, "me", 1.0)
        catalog.ratify(version(1, "kept"))
        settled = [catalog.settle(t) for t in ("kept", "gone", "kept", "gone", "unheard")]
        assert settled == [True, False, True, False, False]
        for txn in ("gone", "unheard"):
            with pytest.raises(Conflict, match="aborted"):
                catalog.ratify(version(2, txn))

    def test_finished_transactions_are_forgotten_and_open_ones_are_not(self, catalog):
        """What is forgotten is never ratified; a committed one is known by its version."""
        decide(catalog, 1)
        for txn, at in (("aborted", 1.0), ("open", 1.0), ("late", 9.0)):
            catalog.begin(txn, "me", at)
        catalog.settle("aborted")
        catalog.settle("late")
        catalog.prune(5.0)
        assert catalog.open_transactions() == [("open", "me")]
        assert catalog.settle("t1") is True
        with pytest.raises(Conflict):
            catalog.ratify(version(2, "aborted"))

    def test_how_far_replicas_have_published_only_grows(self, catalog):
        """Noted by itself or with a ratification; never past the head."""
        assert catalog.progress() == {}
        decide(catalog, 1, 2)
        catalog.note_progress({"a": 1, "b": 2, "c": 3})
        assert catalog.progress() == {"a": 1, "b": 2}
        catalog.begin("t3", "me", 1.0)
        catalog.ratify(version(3, "t3"), progress={"a": 2, "b": 1})
        assert catalog.progress() == {"a": 2, "b": 2}
        with pytest.raises(Conflict):
            catalog.ratify(version(3, "t3"), progress={"a": 3})
        assert catalog.progress() == {"a": 2, "b": 2}, "a refused ratification notes nothing"

    def test_the_floor_rises_and_takes_versions_along(self, catalog):
        """Never to the head, never down, never by an epoch that is over."""
        decide(catalog, 1, 2, 3)
        assert catalog.floor() == 0
        with pytest.raises(Conflict, match="the newest"):
            catalog.raise_floor(3, "epoch-id")
        with pytest.raises(Fenced):
            catalog.raise_floor(1, "another")
        assert len(catalog.since(0)) == 3
        catalog.raise_floor(2, "epoch-id")
        catalog.raise_floor(1, "epoch-id")
        assert catalog.floor() == 2 and catalog.since(0) == [version(3, "t3")]
        catalog.begin("open", "me", 1.0)
        shot = catalog.snapshot()
        assert (shot.meta, shot.floor, shot.versions, shot.open) == (META, 2, (version(3, "t3"),), {"open"})

    def test_what_names_blobs_of_an_expired_version_is_not_decided(self, catalog):
        """The floor is asked in the same transaction; the head may be named too, and a refusal decides nothing."""
        decide(catalog, 1, 2, 3)
        catalog.raise_floor(1, "epoch-id")
        catalog.begin("t4", "me", 1.0)
        with pytest.raises(Conflict, match="expired"):
            catalog.ratify(version(4, "t4"), above=1)
        assert catalog.head() == version(3, "t3") and catalog.open_transactions() == [("t4", "me")]
        catalog.ratify(version(4, "t4"), above=2)
        catalog.begin("t5", "me", 1.0)
        catalog.ratify(version(5, "t5"), above=4)
        assert catalog.head() == version(5, "t5")

    def test_rebuilding_replaces_everything_under_a_new_epoch(self, catalog):
        """What was open is never ratified, what was published is committed, the old epoch is fenced."""
        decide(catalog, 1, 2, 3)
        catalog.begin("open", "me", 1.0)
        catalog.note_progress({"a": 3})
        meta = Meta("lineage", 2, "second", '{"x":1}')
        for _ in range(2):
            catalog.rebuild(meta, [version(1, "t1"), version(2, "t2")], 1)
        assert catalog.meta() == meta and catalog.since(0) == [version(2, "t2")]
        assert (catalog.floor(), catalog.progress(), catalog.open_transactions()) == (1, {}, [])
        assert [catalog.settle(txn) for txn in ("t2", "t3", "open")] == [True, False, False]
        with pytest.raises(Fenced):
            catalog.ratify(version(3, "open"))
        with pytest.raises(Conflict, match="aborted"):
            catalog.ratify(version(3, "open", epoch=2, epoch_id="second"))
        for late in (META, Meta("lineage", 2, "duel", "{}")):
            with pytest.raises(Fenced):
                catalog.rebuild(late, [], 0)
        with pytest.raises(WrongIndex, match="another index"):
            catalog.rebuild(Meta("other", 9, "x", "{}"), [], 0)
        assert catalog.meta() == meta

    def test_rebuilding_makes_what_is_not_there(self, url):
        """An empty place becomes a catalog."""
        made = Catalog(url)
        made.rebuild(META, [version(1, "t1")], 0)
        assert made.meta() == META and made.head() == version(1, "t1")

    @pytest.mark.parametrize("table", ["versions", "transactions"])
    def test_a_table_that_is_gone_is_damage_and_is_rebuilt(self, catalog, url, table):
        """It is told before anything is decided on what is left."""
        decide(catalog, 1)
        execute(url, f"DROP TABLE {table}")
        with pytest.raises(Corrupt):
            catalog.meta()
        with pytest.raises(Corrupt):
            catalog.settle("t1")
        catalog.rebuild(Meta("lineage", 2, "second", "{}"), [version(1, "t1")], 0)
        assert catalog.head() == version(1, "t1") and catalog.settle("t1")

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE versions SET manifest = 'm9'",
            "UPDATE versions SET seal = ''",
            "UPDATE versions SET committed_at = 2",
        ],
    )
    def test_a_changed_row_is_not_believed(self, catalog, url, damage):
        """Neither as the head, nor in a list, nor in a snapshot."""
        decide(catalog, 1)
        execute(url, damage)
        for look in (catalog.head, lambda: catalog.since(0), catalog.snapshot):
            with pytest.raises(Corrupt, match="not what was written"):
                look()

    @pytest.mark.parametrize("damage", ["epoch = 2", "floor = 1", "lineage = 'x'", "seal = ''"])
    def test_a_changed_row_about_the_index_is_not_believed(self, catalog, url, damage):
        """Nobody reads or writes on its word."""
        execute(url, f"UPDATE meta SET {damage}")
        with pytest.raises(Corrupt, match="not what was written"):
            catalog.meta()
        with pytest.raises(Corrupt, match="not what was written"):
            catalog.begin("t", "me", 1.0)
        second = Meta("lineage", 3, "second", "{}")
        catalog.rebuild(second, [version(1, "t1")], 0)
        assert catalog.meta() == second and catalog.since(0) == [version(1, "t1")]

    def test_a_catalog_of_the_first_format_is_read_then_migrated(self, url):
        """Reading works before; migrating twice changes nothing more; then everything works."""
        execute(url, *FORMAT_1)
        old = Catalog(url)
        assert old.meta() == META and old.since(0) == [version(1, "t1")] == [old.head()]
        assert (old.floor(), old.progress(), old.snapshot().open) == (0, {}, {"t2"})
        _run([threading.Thread(target=Catalog(url).migrate) for _ in range(4)])
        old.migrate()
        assert old.meta() == META and old.head() == version(1, "t1")
        old.ratify(version(2, "t2"), progress={"a": 1})
        old.raise_floor(1, "epoch-id")
        assert (old.floor(), old.progress(), old.since(0)) == (1, {"a": 1}, [version(2, "t2")])
        execute(url, "UPDATE versions SET size = 11")
        with pytest.raises(Corrupt):
            old.head()

    def test_a_newer_format_is_refused_and_left_alone(self, catalog, url):
        """Also by whoever wants to rebuild or migrate it."""
        execute(url, f"UPDATE meta SET format = {FORMAT + 1}", "ALTER TABLE meta ADD COLUMN novelty INTEGER")
        again = Meta("lineage", 2, "second", "{}")
        for use in (catalog.meta, catalog.migrate, catalog.floor, lambda: catalog.rebuild(again, [], 0)):
            with pytest.raises(WrongIndex, match="upgrade penstock"):
                use()


def _run(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
