"""The loop that follows the published log: what it hands over, in which order, and what it does not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from penstock.index.blobs import framed
from penstock.index.care.collect import Retention, collect
from penstock.index.commits import log, markers, membership
from penstock.index.commits import manifest as manifests
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery.archive import history
from penstock.index.recovery.carrying import Unreadable
from penstock.index.recovery.follow import Follower, Version, published
from penstock.index.recovery.publishedlog import PublishedLog, after
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef
from tests.fakes.stores import Away, OnlyBlobs
from tests.index.world import World, delta

SHM = Path("/dev/shm")


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder in memory, where there is one: nothing here is about power failures."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)


class Shelf:
    """A target in memory, as somebody would write who feeds another database. `fault` is raised by the next `apply`."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.fault: Exception | None = None

    def at(self) -> tuple[int, int] | None:
        return (self.versions[-1].record.version, self.versions[-1].record.epoch) if self.versions else None

    def apply(self, version: Version, stores: Sequence[Store]) -> None:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        assert stores, "somewhere its blobs are"
        self.versions.append(version)

    @property
    def numbers(self) -> list[tuple[int, int]]:
        return [(version.record.version, version.record.epoch) for version in self.versions]


class Home(World):
    """A home with followers. `gone`: replicas that do not answer; `deaf`: those that take no log records."""

    def __init__(self, root: Path, replicas: int = 2, write_quorum: int = 2) -> None:
        super().__init__(root, replicas, write_quorum)
        self.gone: set[str] = set()
        self.deaf: set[str] = set()
        self.said: list[str] = []
        self.create().close()
        self.wrap = lambda name, store: Away(OnlyBlobs(store, lambda: name in self.deaf), lambda: name in self.gone)

    def commit(self, docs: dict[str, str | None]) -> None:
        with self.open() as writer:
            writer.commit(delta(writer.head().version, docs))

    def follower(self, target: Shelf) -> Follower:
        return Follower(list(self.stores().values()), target, self.said.append)

    def forget_catalog(self) -> None:
        (self.root / self.database).unlink()


@pytest.fixture
def home(root: Path) -> Home:
    return Home(root / "home")


def test_each_version_once_and_in_order(home: Home) -> None:
    """Whoever comes later gets what came since, and no more."""
    shelf = Shelf()
    follower = home.follower(shelf)
    assert follower.catch_up() == []
    home.commit({"s/a": "one"})
    home.commit({"s/b": "two"})
    assert [version.record.version for version in follower.catch_up()] == [1, 2]
    assert follower.catch_up() == []
    home.commit({"s/b": None})
    assert [version.record.version for version in home.follower(shelf).catch_up()] == [3]
    assert shelf.numbers == [(1, 1), (2, 1), (3, 1)]


def test_added_is_what_the_version_before_did_not_have(home: Home) -> None:
    """Also in a new session; everything, where the version before cannot be read any more."""
    shelf, fresh = Shelf(), Shelf()
    for docs in ({"s/a": "one"}, {"s/b": "two"}, {"s/a": None}):
        home.commit(docs)
        home.follower(shelf).catch_up()
    home.follower(fresh).catch_up()
    before: set[BlobRef] = set()
    for one, other in zip(shelf.versions, fresh.versions, strict=True):
        closure = set(manifests.closure(one.manifest).values())
        assert set(one.added) == set(other.added) == closure - before
        before = closure
    home.commit({"s/c": "three"})
    with home.open() as writer:
        collect(writer, Retention(1, 0.0), now=1e9)
    home.follower(shelf).catch_up()
    assert set(shelf.versions[-1].added) == set(manifests.closure(shelf.versions[-1].manifest).values())


def test_a_target_s_fault_is_raised_and_the_next_turn_goes_on(home: Home) -> None:
    """What was applied stays so; nothing is left out."""
    home.commit({"s/a": "one"})
    home.commit({"s/b": "two"})
    shelf = Shelf()
    follower = home.follower(shelf)
    for fault in (Unavailable("full"), RuntimeError("a bug")):
        shelf.fault = fault
        with pytest.raises(type(fault)):
            follower.catch_up()
    follower.catch_up()
    assert shelf.numbers == [(1, 1), (2, 1)]


def test_it_stops_between_versions(home: Home) -> None:
    """When it is asked to."""
    home.commit({"s/a": "one"})
    home.commit({"s/b": "two"})
    shelf, answers = Shelf(), iter([False, True])
    home.follower(shelf).catch_up(lambda: next(answers))
    assert shelf.numbers == [(1, 1)]


def test_a_version_that_the_target_cannot_get_whole_is_passed_over(home: Home) -> None:
    """For a newer one; as long as there is none, it is the fault."""
    home.commit({"s/a": "one"})
    shelf = Shelf()
    follower = home.follower(shelf)
    shelf.fault = Unreadable(Corrupt("no replica has it"))
    with pytest.raises(Corrupt, match="no replica"):
        follower.catch_up()
    home.commit({"s/b": "two"})
    shelf.fault = Unreadable(Corrupt("no replica has it"))
    follower.catch_up()
    assert shelf.numbers == [(2, 1)]
    assert home.said == ["version 1 is passed over: no replica has it; going on with version 2"]


def test_the_newest_version_waits_until_it_is_acknowledged(home: Home) -> None:
    """Ratified, and on one replica of the two that must have it: said at the second look, and handed over when its
    writer may build on it."""
    home.commit({"s/a": "one"})
    home.deaf.add("1")
    with pytest.raises(Unavailable):
        home.commit({"s/b": "two"})
    shelf = Shelf()
    follower = home.follower(shelf)
    for looks in range(3):
        assert len([line for line in home.said if line.startswith("version 2 waits")]) == (looks > 1)
        follower.catch_up()
        assert shelf.numbers == [(1, 1)]
    home.deaf.clear()
    home.open().close()
    follower.catch_up()
    assert shelf.numbers == [(1, 1), (2, 1)]


def test_a_replica_that_is_away_delays_nothing_that_a_commit_can_do_without(root: Path) -> None:
    """Two of three: acknowledged, and so handed over. With another one away it waits; its successor settles it."""
    home = Home(root / "home", 3, 2)
    home.gone.add("2")
    home.commit({"s/a": "one"})
    shelf = Shelf()
    follower = home.follower(shelf)
    follower.catch_up()
    assert shelf.numbers == [(1, 1)]
    home.commit({"s/b": "two"})
    home.gone.add("1")
    follower.catch_up()
    assert shelf.numbers == [(1, 1)]
    home.gone.clear()
    home.commit({"s/c": "three"})
    home.gone |= {"1", "2"}
    follower.catch_up()
    assert shelf.numbers == [(1, 1), (2, 1)], "the third is on the only replica that answers, which proves the second"
    home.gone.add("0")
    with pytest.raises(Unavailable):
        follower.catch_up()


def test_a_version_that_a_later_epoch_may_outrank_waits_for_it(home: Home) -> None:
    """Enough replicas have it, and one of them has seen that the catalog is made again."""
    home.commit({"s/a": "one"})
    home.commit({"s/b": "two"})
    with home.open() as writer:
        later = markers.Epoch(framed.FORMAT, writer.meta.lineage, 2, "x")
    markers.put(home.stores()["0"], markers.epoch_key(2), later)
    shelf = Shelf()
    home.follower(shelf).catch_up()
    assert shelf.numbers == [(1, 1)]


def test_a_new_epoch_is_followed_and_what_it_outranked_is_not(root: Path) -> None:
    """A version that one replica alone published is not handed over; the later epoch's of that number is."""
    home = Home(root / "home", 3, 2)
    home.commit({"s/a": "one"})
    home.deaf |= {"1", "2"}
    with pytest.raises(Unavailable):
        home.commit({"s/b": "never acknowledged"})
    shelf = Shelf()
    follower = home.follower(shelf)
    follower.catch_up()
    home.deaf.clear()
    home.gone.add("0")
    home.forget_catalog()
    home.commit({"s/c": "three"})
    home.gone.clear()
    follower.catch_up()
    assert shelf.numbers[:2] == [(1, 1), (2, 2)] and all(epoch == 2 for _, epoch in shelf.numbers[1:])
    assert all(version.record.txn == version.manifest.txn for version in shelf.versions)


def test_a_change_of_members_counts_on_those_who_stay(root: Path) -> None:
    """As its writer does: on the newcomer and one more is not enough where two of those who stayed must have it."""
    home = Home(root / "home", 3, 2)
    home.commit({"s/a": "one"})
    with home.open() as writer:
        membership.replace(writer, "2", LocalStore.create(home.folder("new"), token=home.token))
    shelf, stores = Shelf(), [LocalStore(home.folder(name), token=home.token) for name in ("0", "new")]
    Follower(stores, shelf, home.said.append).catch_up()
    assert shelf.numbers == [(1, 1)]
    stores.append(LocalStore(home.folder("1"), token=home.token))
    Follower(stores, shelf, home.said.append).catch_up()
    assert shelf.numbers == [(1, 1), (2, 1)]


def test_a_target_with_an_outranked_version_is_given_the_true_one() -> None:
    """Of the same number, and of those below it that the later epoch has."""
    assert after([(4, 1), (5, 2), (6, 2), (7, 2)], (6, 1)) == [(5, 2), (6, 2), (7, 2)]
    assert after([(4, 1), (5, 1)], (5, 1)) == after([(4, 1)], (5, 1)) == []
    assert after([(4, 1)], None) == [(4, 1)]
    assert history([(4, 1), (5, 1), (6, 1), (5, 2), (6, 2)]) == [(4, 1), (5, 2), (6, 2)]


def test_the_published_log_is_that_of_all_replicas_that_answer(home: Home) -> None:
    """A record that is damaged on one is read from another; one that is damaged on all is said and left out."""
    for n in range(3):
        home.commit({"s/a": f"word{n}"})
    home.gone.add("1")
    _break(home, "0", 2)
    assert [record.version for record in published(list(home.stores().values()), home.said.append)] == [1, 3]
    assert len(home.said) == 2 and "no answer" in home.said[0]
    home.gone.clear()
    assert [record.version for record in published(list(home.stores().values()), home.said.append)] == [1, 2, 3]


def test_what_is_damaged_everywhere_is_passed_over(home: Home) -> None:
    """A record, or a manifest."""
    for n in range(3):
        home.commit({"s/a": f"word{n}"})
    name = published(list(home.stores().values()), print)[1].manifest.name
    for replica in home.ids:
        _break(home, replica, 1)
        (home.folder(replica) / "blobs" / name[:2] / name).unlink()
    shelf = Shelf()
    home.follower(shelf).catch_up()
    assert shelf.numbers == [(3, 1)]
    assert [line.split(":")[0] for line in home.said if "passed over" in line] == [
        "version 1 is passed over",
        "version 2 is passed over",
    ]


def test_another_index_s_replica_takes_no_part(home: Home, root: Path) -> None:
    """Where it is known which index is meant; else nobody can say, and it is refused."""
    other = Home(root / "other")
    for n in range(3):
        other.commit({"s/x": f"word{n}"})
    home.commit({"s/a": "one"})
    shutil.rmtree(home.folder("1"))
    shutil.copytree(other.folder("1"), home.folder("1"))
    stores = list(home.stores().values())
    lineage = log.read(stores[0], 1, 1).lineage
    assert [record.version for record in published(stores, home.said.append, lineage)] == [1]
    assert "another index" in home.said[0]
    with pytest.raises(WrongIndex, match="different indexes"):
        published(stores, print)
    with pytest.raises(WrongIndex):
        published(stores, print, "nobody's")


def test_what_shows_nothing_but_damage_says_so(home: Home) -> None:
    """A replica without one whole record, and without its marker, is nobody's."""
    home.commit({"s/a": "one"})
    _break(home, "0", 1)
    (home.folder("0") / "replica.json").unlink()
    with pytest.raises(Unavailable, match="no record of its log can be read"):
        PublishedLog([LocalStore(home.folder("0"), token=home.token)], print).look()


def _break(home: Home, replica: str, version: int) -> None:
    path = home.folder(replica) / log.key(version, 1)
    path.write_bytes(b"x" + path.read_bytes()[1:])
