"""Opening for writing: what it mends by itself, what it refuses, and what it says then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from penstock.index.blobs import framed
from penstock.index.care import collect
from penstock.index.care.collect import Retention
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.commits.replicas import record
from penstock.index.errors import Conflict, Corrupt, Fenced, Unavailable, WrongIndex
from tests.fakes.stores import Away, OnlyBlobs
from tests.index.world import World, delta, served


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two replicas, three versions."""
    world = World(tmp_path)
    with world.create() as writer:
        for n in range(3):
            writer.commit(delta(n, {f"s/{n}": f"word{n}"}))
    world.reports.clear()
    return world


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "tmp"
    }


def mark(folder: Path, **fields: object) -> None:
    """Replace fields of the replica's marker."""
    path = folder / "replica.json"
    marker = framed.decode(path.read_bytes(), markers.Marker, "here")
    path.write_bytes(framed.encode(msgspec.structs.replace(marker, **fields)))


@pytest.mark.parametrize("lost", ["0", "1"])
def test_an_absent_replica_is_made_again_byte_for_byte(world: World, lost: str) -> None:
    """Every version with its closure comes back from the others; nothing else changes."""
    before = contents(world.folder(lost))
    shutil.rmtree(world.folder(lost))
    with world.open() as writer:
        assert writer.head().version == 3
    assert contents(world.folder(lost)) == before
    assert any("made again" in line for line in world.reports)
    assert world.findings() == []


def test_a_replica_that_is_behind_is_caught_up(tmp_path: Path) -> None:
    """N=3, W=2: what it missed while it was away is copied, verified, in the order of versions."""
    world = World(tmp_path, replicas=3)
    away = False
    world.wrap = lambda n, s: Away(s) if away and n == "1" else s
    with world.create() as writer:
        writer.commit(delta(0, {"s/0": "word0"}))
    away = True
    with world.open() as writer:
        writer.commit(delta(1, {"s/1": "word1"}))
        writer.commit(delta(2, {"s/2": "word2"}))
    away = False
    world.open().close()
    assert contents(world.folder("1"))["log/000000000003.00000001"]
    assert world.findings() == []


def test_a_replica_that_went_back_in_time_takes_no_part(world: World) -> None:
    """It had published more than it holds now: who knows what else it lost. `repair` is asked for, nothing is put."""
    for path in (world.folder("1") / "log").iterdir():
        if not path.name.startswith("000000000001"):
            path.unlink()
    before = contents(world.folder("1"))
    with pytest.raises(Unavailable, match=r"went back in time.*penstock repair"):
        world.open()
    assert contents(world.folder("1")) == before


def test_a_damaged_source_is_never_copied(world: World) -> None:
    """What a replica is made from is checked byte by byte: damage stays where it is, and is said."""
    victim = max((world.folder("0") / "blobs").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    victim.write_bytes(b"\xff" + victim.read_bytes()[1:])
    shutil.rmtree(world.folder("1"))
    with pytest.raises((Corrupt, Unavailable)):
        world.open()
    assert not world.folder("1").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: [shutil.rmtree(f), shutil.copytree(f.parent / "0", f)], "another replica"),
        (lambda f: mark(f, lineage="zz"), "another index"),
        (lambda f: mark(f, incarnation="zz"), "another incarnation"),
        (lambda f: mark(f, format=99), "upgrade penstock"),
    ],
)
def test_a_directory_that_is_not_our_replica_is_refused(
    world: World, spoil: Callable[[Path], object], says: str
) -> None:
    """Nothing is written to it, and the line names it."""
    spoil(world.folder("1"))
    before = contents(world.folder("1"))
    with pytest.raises(WrongIndex, match=says):
        world.open()
    assert contents(world.folder("1")) == before


@pytest.mark.parametrize("spoil", [lambda f: (f / "replica.json").unlink(), lambda f: [shutil.rmtree(f), f.mkdir()]])
def test_a_directory_without_its_marker_takes_no_part(world: World, spoil: Callable[[Path], object]) -> None:
    """An unmounted disk, or an emptied one: nobody can tell, so nothing is written to it and a person decides."""
    spoil(world.folder("1"))
    before = contents(world.folder("1"))
    with pytest.raises(Unavailable, match=r"without its marker.*is the disk mounted.*penstock repair"):
        world.open()
    assert contents(world.folder("1")) == before


def lose(catalog: Path) -> None:
    catalog.unlink()


def spoil(catalog: Path) -> None:
    catalog.write_bytes(b"not a database, at least 512 bytes of it" * 20)


def empty(catalog: Path) -> None:
    catalog.write_bytes(b"")


def roll_back(catalog: Path) -> None:
    shutil.copy(catalog.with_name("old.db"), catalog)


@pytest.mark.parametrize("spoilt", [lose, spoil, empty, roll_back])
@pytest.mark.parametrize("also_lost", [None, "0", "1"])
def test_a_catalog_is_made_again_from_the_replicas_in_a_new_epoch(
    world: World, tmp_path: Path, spoilt: Callable[[Path], None], also_lost: str | None
) -> None:
    """Whatever happened to it, and to one replica as well: everything acknowledged is there, and it goes on."""
    path = tmp_path / "catalog.db"
    shutil.copy(path, tmp_path / "old.db")
    with world.open() as writer:
        writer.commit(delta(3, {"s/x": "acknowledged"}))
        was = served(writer.head(), world.stores())
    spoilt(path)
    if also_lost is not None:
        shutil.rmtree(world.folder(also_lost))
    with world.open() as writer:
        head = writer.head()
        assert (head.version, head.epoch) == (5, 2), "the new epoch begins with a version of its own"
        assert served(head, world.stores()) == was
        writer.commit(delta(5, {"s/y": "more"}))
    assert world.findings() == []
    assert any("made again" in line for line in world.reports)


def test_a_catalog_rolled_back_under_a_writer_acknowledges_nothing(world: World, tmp_path: Path) -> None:
    """The version's name is taken on the replicas by other bytes: read back, compared, refused; then recovered."""
    shutil.copy(tmp_path / "catalog.db", tmp_path / "old.db")
    with world.open() as writer:
        writer.commit(delta(3, {"s/x": "acknowledged"}))
        shutil.copy(tmp_path / "old.db", tmp_path / "catalog.db")
        with pytest.raises(Unavailable):
            writer.commit(delta(3, {"s/y": "another history"}))
    with world.open() as writer:
        found = served(writer.head(), world.stores())
        assert "s/x" in found and "s/y" not in found
    assert world.findings() == []


def test_a_writer_of_the_old_epoch_is_fenced(world: World, tmp_path: Path) -> None:
    """It was open while the catalog was made again: whatever it does, nothing of it is acknowledged."""
    with world.open() as old:
        (tmp_path / "catalog.db").unlink()
        with world.open() as new:
            new.commit(delta(4, {"s/new": "new"}))
            with pytest.raises((Fenced, Conflict)):
                old.commit(delta(3, {"s/old": "old"}))
            assert "s/old" not in served(new.head(), world.stores())
    assert world.findings() == []


def test_too_few_witnesses_make_no_catalog(tmp_path: Path) -> None:
    """N=3, W=2: two replicas must say what was published; one is not enough, and nothing is changed."""
    world = World(tmp_path, replicas=3)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
    (tmp_path / "catalog.db").unlink()
    world.wrap = lambda n, s: Away(s) if n != "0" else s
    with pytest.raises(Unavailable, match="1 of 3 replicas can say what it held, 2 must"):
        world.open()
    assert not (tmp_path / "catalog.db").exists()


def test_what_an_old_epoch_left_behind_is_outranked(tmp_path: Path) -> None:
    """A record that only one replica got, away while the catalog was made again, never comes back to life."""
    world = World(tmp_path, replicas=3)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
    alone = True
    world.wrap = lambda n, s: OnlyBlobs(s) if alone and n != "2" else s
    with world.open() as writer, pytest.raises(Unavailable):
        writer.commit(delta(1, {"s/stale": "never acknowledged"}))
    (tmp_path / "catalog.db").unlink()
    world.wrap = lambda n, s: Away(s) if n == "2" else s
    with world.open() as writer:
        assert writer.head().version == 2
        writer.commit(delta(2, {"s/b": "two"}))
    world.wrap = lambda _, s: s
    with world.open() as writer:
        assert served(writer.head(), {"2": world.stores()["2"]}).keys() == {"s/a", "s/b"}
    assert world.findings() == []


def test_a_catalog_of_another_index_decides_nothing(world: World, tmp_path: Path) -> None:
    """The replicas' lineage is not the catalog's."""
    other = World(tmp_path / "other")
    other.create().close()
    shutil.copy(tmp_path / "other" / "catalog.db", tmp_path / "catalog.db")
    with pytest.raises(WrongIndex, match="another index"):
        world.open()


def test_no_index_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    """Only `create` makes things."""
    with pytest.raises(WrongIndex, match="no index"):
        World(tmp_path).open()
    assert not (tmp_path / "replicas").exists()
    assert not (tmp_path / "catalog.db").exists()


def test_a_creation_that_died_with_an_empty_catalog_goes_on(tmp_path: Path) -> None:
    """The file is there, nothing is in it, and no replica knows anything: it is made now."""
    (tmp_path / "catalog.db").touch()
    with World(tmp_path).open() as writer:
        assert writer.head().version == 0


def test_creating_what_is_there_opens_it(world: World) -> None:
    """Nothing is replaced."""
    with world.create() as writer:
        assert writer.head().version == 3


def test_another_membership_is_refused(world: World) -> None:
    """Which replicas there are, and how many must answer, is part of the index."""
    world.ids = ["0", "1", "2"]
    with pytest.raises(WrongIndex, match=r"has replicas 0, 1, the configuration 0, 1, 2.*penstock replica add 2"):
        world.open()
    world.ids, world.write_quorum = ["0", "1"], 1
    with pytest.raises(ValueError, match="more than half"):
        world.open()


def test_a_live_writers_transaction_is_left_alone(world: World) -> None:
    """Only what belongs to the dead is aborted: their lock is free."""
    catalog = Catalog(world.catalog)
    alive = catalog.locks(world.root / "work" / "locks").take("writer.alive")
    assert alive is not None
    for owner in ("alive", "dead"):
        catalog.begin(f"t-{owner}", owner, 1.0)
    world.open().close()
    assert [owner for _, owner in catalog.open_transactions()] == ["alive"]
    alive.release()


def test_all_replicas_lost_is_said_and_nothing_is_made(world: World) -> None:
    """Without any copy there is nothing to make a replica from."""
    shutil.rmtree(world.root / "replicas")
    with pytest.raises((Unavailable, Corrupt)):
        world.open()
    assert not world.folder("0").exists()


def test_what_is_served_survives_each_single_loss(world: World) -> None:
    """The promise of W: any one replica may burn between two commits."""
    for round_, lost in enumerate(["0", "1", "0"]):
        shutil.rmtree(world.folder(lost))
        with world.open() as writer:
            writer.commit(delta(3 + round_, {f"s/again{round_}": "more"}))
            found = served(writer.head(), world.stores())
    assert len(found) == 6
    assert world.findings() == []


def test_nothing_is_founded_while_a_replica_cannot_be_looked_at(world: World) -> None:
    """The catalog is gone and no store answers: there may be an index, so none is made."""
    (world.root / "catalog.db").unlink()
    world.wrap = lambda _, s: Away(s)
    for opening in (world.create, world.open):
        with pytest.raises(Unavailable):
            opening()
    world.wrap = lambda _, s: s
    with world.open() as writer:
        assert writer.head().version == 4
    assert world.findings() == []


def test_a_catalog_put_back_below_what_expired_acknowledges_nothing(tmp_path: Path) -> None:
    """The names of the first versions are free again on every replica: the floor says that they are not."""
    other = World(tmp_path / "other")
    with other.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
        shutil.copy(other.root / "catalog.db", tmp_path / "first.db")
        for n in range(1, 5):
            writer.commit(delta(n, {f"s/{n}": "word"}))
        collect.collect(writer, Retention(versions=1, seconds=0), now=10**9)
        shutil.copy(tmp_path / "first.db", other.root / "catalog.db")
        with pytest.raises((Fenced, Unavailable, Corrupt)):
            writer.commit(delta(1, {"s/fork": "another history"}))
    with other.open() as writer:
        assert served(writer.head(), other.stores()).keys() == {"s/a", *(f"s/{n}" for n in range(1, 5))}
    assert other.findings() == []


def test_a_catalog_that_forgets_what_it_just_decided_acknowledges_nothing(world: World, tmp_path: Path) -> None:
    """Put back between the decision and its publication: a replica that got nothing does not count."""
    shutil.copy(tmp_path / "catalog.db", tmp_path / "old.db")

    def reach(point: str) -> None:
        if point == "published.one" and (world.folder("0") / "log" / "000000000004.00000001").exists():
            shutil.copy(tmp_path / "old.db", tmp_path / "catalog.db")

    with world.open(reach) as writer, pytest.raises(Unavailable):
        writer.commit(delta(3, {"s/x": "x"}))
    with world.open():
        pass
    assert world.findings() == []


def test_a_replica_with_a_fork_of_an_epoch_that_is_over_is_left_out(tmp_path: Path) -> None:
    """It never was acknowledged: the catalog is not made again because of it, and the others go on."""
    world = World(tmp_path, replicas=3)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
        lineage = writer.head().lineage
    (tmp_path / "catalog.db").unlink()
    store = world.stores()["2"]
    with world.open() as writer:
        decided = writer.site.catalog.since(0)
        forked = msgspec.structs.replace(record(decided[0], lineage), txn="another")
        store.delete(log.key(1, 1))
        for name in list(store.list("log/")):
            store.delete(name)
        store.put_if_absent(log.key(1, 1), log.encode(forked))
        writer.site.catalog.note_progress({"2": 1})
    for _ in range(2):
        with world.open() as writer:
            assert writer.meta.epoch == 2
            writer.commit(delta(writer.head().version, {"s/b": "two"}))
    assert any("replica 2 takes no part" in line for line in world.reports)


def test_a_name_that_expired_is_never_given_again(tmp_path: Path) -> None:
    """One replica, a collection that was stopped after the records went, and a catalog put back below the floor."""

    class Stopped(Exception):
        pass

    def reach(point: str) -> None:
        if point == "records.swept":
            raise Stopped

    world = World(tmp_path, replicas=1, write_quorum=1)
    with world.create(reach) as writer:
        writer.commit(delta(0, {"s/a": "one"}))
        shutil.copy(tmp_path / "catalog.db", tmp_path / "first.db")
        for n in range(1, 5):
            writer.commit(delta(n, {f"s/{n}": "word"}))
        with pytest.raises(Stopped):
            collect.collect(writer, Retention(versions=1, seconds=0), now=10**9)
        shutil.copy(tmp_path / "first.db", tmp_path / "catalog.db")
        with pytest.raises(Fenced, match="have expired: the catalog went back"):
            writer.commit(delta(1, {"s/fork": "another history"}))


def test_a_writer_with_a_catalog_of_its_own_is_fenced_by_the_epochs_marker(world: World, tmp_path: Path) -> None:
    """Another catalog was made from the same replicas: from then on the old one's writers acknowledge nothing."""
    fenced = False
    with world.open() as old:

        def reach(point: str) -> None:
            nonlocal fenced
            if point == "epoch.rebuilt":
                with pytest.raises(Fenced):
                    old.commit(delta(3, {"s/old": "old"}))
                fenced = True

        elsewhere = World(tmp_path)
        elsewhere.database = "elsewhere.db"
        with elsewhere.open(reach) as new:
            assert fenced and "s/old" not in served(new.head(), world.stores())
