"""Guards that only matter when several things go wrong at once: each is missed by a test of its own here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.index.blobs import blob
from penstock.index.blobs.blob import open_blob
from penstock.index.care import collect
from penstock.index.care.collect import Retention
from penstock.index.care.repair import repair
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.commits.commit import Writer
from penstock.index.commits.crew import Threads
from penstock.index.errors import Corrupt, Fenced, IndexFault, Unavailable
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef
from tests.index.world import World, delta, served


@pytest.mark.parametrize(
    ("seen", "ends"),
    [((2, "a"), False), ((1, "z"), False), ((2, "b"), True), ((3, "a"), True), ((3, "b"), True)],
)
def test_an_epoch_ends_for_a_later_one_and_for_another_of_its_number(seen: tuple[int, str], ends: bool) -> None:
    """Two catalogs that were made again at once have the same number, and only one of them may write."""
    assert markers.supersedes(markers.Epoch(1, "lineage", *seen), 2, "a") is ends


Put = Callable[[Store, str, "bytes | Path"], bool]


class Putting:
    """A store whose puts are done by the test."""

    def __init__(self, store: Store, put: Put) -> None:
        self._store, self._put, self.name = store, put, store.name

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return self._put(self._store, key, data)


def test_what_an_old_writer_publishes_while_a_new_epoch_begins_is_adopted_or_not_acknowledged(tmp_path: Path) -> None:
    """The old writer publishes at the last moment before the new epoch is noted anywhere."""
    world = World(tmp_path)
    with world.create() as first:
        first.commit(delta(0, {"s/a": "one"}))
    decided, go_on, over = threading.Event(), threading.Event(), threading.Event()
    acknowledged: list[int] = []

    def reach(point: str) -> None:
        if point == "ratified":
            decided.set()
            go_on.wait(120)

    def write() -> None:
        with world.open(reach) as writer:
            try:
                acknowledged.append(writer.commit(delta(1, {"s/b": "two"})).version)
            except IndexFault:
                pass
            finally:
                over.set()

    old = threading.Thread(target=write)
    old.start()
    assert decided.wait(120)
    (tmp_path / "catalog.db").unlink()
    both = threading.Barrier(2, action=lambda: (go_on.set(), over.wait(120)))

    def put(store: Store, key: str, data: bytes | Path) -> bool:
        if key.startswith(markers.EPOCHS) and not over.is_set():
            both.wait(120)
        return store.put_if_absent(key, data)

    plain = world.stores()
    options = {**world._arguments(), "crew": Threads(time.monotonic)}
    held = {name: Putting(store, put) for name, store in plain.items()}
    with Writer.open(world.catalog, held, **options) as writer:  # type: ignore[arg-type]
        writer.commit(delta(writer.head().version, {"s/c": "three"}))
        found = served(writer.head(), plain)
    old.join()
    assert found.get("s/b") == (["two"] if acknowledged else None)
    assert found["s/c"] == ["three"]


def test_a_record_that_appears_at_the_last_moment_is_compared(tmp_path: Path) -> None:
    """Between looking and putting somebody else took the name: that replica does not acknowledge."""
    world = World(tmp_path)
    world.create().close()

    def put(store: Store, key: str, data: bytes | Path) -> bool:
        if key.startswith(log.PREFIX):
            store.put_if_absent(key, b"another history")
        return store.put_if_absent(key, data)

    world.wrap = lambda name, store: Putting(store, put) if name == "1" else store  # type: ignore[assignment,return-value]
    with world.open() as writer, pytest.raises(Unavailable, match="not what the catalog decided"):
        writer.commit(delta(0, {"s/a": "one"}))


def test_nothing_is_decided_upon_a_version_that_is_not_published(tmp_path: Path) -> None:
    """What was decided and not published is published first; while that fails, no further version is decided."""
    world, down = World(tmp_path), False

    def put(store: Store, key: str, data: bytes | Path) -> bool:
        if down and key.startswith(log.PREFIX):
            raise Unavailable("gone")
        return store.put_if_absent(key, data)

    world.create().close()
    world.wrap = lambda _, store: Putting(store, put)  # type: ignore[assignment,return-value]
    with world.open() as writer:
        down = True
        for _ in range(2):
            with pytest.raises(Unavailable):
                writer.commit(delta(0, {"s/a": "one"}))
        head = Catalog(world.catalog).head()
        assert head is not None and head.version == 1
        down = False
        assert writer.commit(delta(1, {"s/b": "two"})).version == 2


def test_an_epochs_marker_under_another_name_is_damage(tmp_path: Path) -> None:
    """A whole marker, copied over another one's name, fences nobody and admits nobody."""
    world = World(tmp_path)
    world.create().close()
    store = world.stores()["0"]
    store.put_if_absent(markers.epoch_key(7), store.get(markers.epoch_key(1)))
    with pytest.raises(Corrupt, match="holds epoch 1"):
        markers.highest(store)


def test_a_catalog_older_than_an_epoch_that_was_noted_is_made_again(tmp_path: Path) -> None:
    """Nothing was published since, so only the marker tells; whoever went on with it could never publish."""
    world = World(tmp_path)
    world.create().close()
    old = (tmp_path / "catalog.db").read_bytes()
    (tmp_path / "catalog.db").unlink()
    world.open().close()
    (tmp_path / "catalog.db").write_bytes(old)
    with world.open() as writer:
        assert writer.meta.epoch == 3
        assert writer.commit(delta(0, {"s/a": "one"})).version == 1
    assert world.findings() == []


BIG = (1 << 20) + 5000


@pytest.fixture
def two(tmp_path: Path) -> list[LocalStore]:
    """Two stores, each with the same blobs `a` and `b` of one size, too large to be held in memory."""
    return [LocalStore.create(tmp_path / name, token=lambda: f"t{time.monotonic_ns()}") for name in "xy"]


def sealed(folder: Path, letter: bytes, stores: list[LocalStore]) -> BlobRef:
    path = folder / f"blob-{letter.decode()}"
    path.write_bytes(letter * BIG)
    ref = blob.seal(path, "x1")
    for store in stores:
        store.put_if_absent(blob.key(ref), path)
    return ref


def test_another_whole_blob_under_the_name_is_never_read(tmp_path: Path, two: list[LocalStore]) -> None:
    """Size, trailer and blocks all fit each other: only what the manifest says of the trailer tells them apart."""
    mine, other = sealed(tmp_path, b"a", two), sealed(tmp_path, b"b", two)
    swapped = two[0].local_path(blob.key(mine))
    assert swapped is not None
    swapped.write_bytes(two[0].get(blob.key(other)))
    opened = open_blob(two, mine, report=lambda _: None)
    assert opened.read(0, 10) == b"a" * 10
    opened.close()
    with pytest.raises(Corrupt):
        open_blob(two[:1], mine, report=lambda _: None)


def test_damage_done_while_a_blob_is_open_is_noticed(tmp_path: Path, two: list[LocalStore]) -> None:
    """A block that was verified once is compared again each time that a part of it is read."""
    ref = sealed(tmp_path, b"a", two)
    opened = open_blob(two, ref, report=lambda _: None)
    assert opened.read(0, 10) == b"a" * 10
    path = two[0].local_path(blob.key(ref))
    assert path is not None
    with path.open("r+b") as file:
        file.write(b"zzzzz")
    assert opened.read(0, 10) == b"a" * 10
    opened.close()


def test_a_repaired_blob_is_read_back(tmp_path: Path) -> None:
    """A disk that keeps something else than what was put is not called whole."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
    for path in (world.folder("1") / "blobs").rglob("*.*"):
        path.unlink()

    def put(store: Store, key: str, data: bytes | Path) -> bool:
        whole = data if isinstance(data, bytes) else data.read_bytes()
        return store.put_if_absent(key, b"\0" + whole[1:] if key.startswith("blobs/") else whole)

    world.wrap = lambda name, store: Putting(store, put) if name == "1" else store  # type: ignore[assignment,return-value]
    options = world._arguments()
    try:
        done = repair(world.catalog, world.stores(), report_progress=lambda *_: None, **options)
    except IndexFault:
        return
    assert not done.whole


def test_only_the_present_epoch_lets_versions_expire(tmp_path: Path) -> None:
    """A collector that was paused over a new epoch changes nothing in the catalog, and nothing on the replicas."""
    world = World(tmp_path)
    with world.create() as writer:
        for version in range(3):
            writer.commit(delta(version, {"s/a": f"word{version}"}))
        with pytest.raises(Fenced):
            Catalog(world.catalog).raise_floor(1, "another")
        (tmp_path / "catalog.db").unlink()
        world.open().close()
        before = {name: list(store.list("")) for name, store in world.stores().items()}
        for keep in (Retention(versions=1, seconds=0), Retention(versions=100)):
            with pytest.raises(Fenced):
                collect.collect(writer, keep, now=10**9)
        assert {name: list(store.list("")) for name, store in world.stores().items()} == before


def test_nothing_goes_from_a_replica_that_did_not_note_what_expired(tmp_path: Path) -> None:
    """Its log must never name versions whose blobs are gone while it says nothing of that."""
    world, down = World(tmp_path, replicas=3), False

    def put(store: Store, key: str, data: bytes | Path) -> bool:
        if down and key.startswith(markers.FLOORS):
            raise Unavailable("gone")
        return store.put_if_absent(key, data)

    world.create().close()
    world.wrap = lambda name, store: Putting(store, put) if name == "2" else store  # type: ignore[assignment,return-value]
    with world.open() as writer:
        for version in range(3):
            writer.commit(delta(version, {"s/a": f"word{version}"}))
        down = True
        before = list(world.stores()["2"].list(""))
        done = collect.collect(writer, Retention(versions=1, seconds=0), now=10**9)
        assert done.replicas["0"].records == 2
        assert list(world.stores()["2"].list("")) == before


class Listing:
    """A store that lets something happen before it lists blobs."""

    def __init__(self, store: Store, before: Callable[[], None]) -> None:
        self._store, self._before, self.name = store, before, store.name

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def list(self, prefix: str) -> object:
        if prefix == collect.BLOBS:
            self._before()
        return self._store.list(prefix)


def test_what_is_put_while_a_collector_looks_stays(tmp_path: Path) -> None:
    """Whatever it lists had its transaction noted before: the catalog is asked afterwards."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
    put, go_on = threading.Event(), threading.Event()

    def reach(point: str) -> None:
        if point == "blobs.put":
            put.set()
            go_on.wait(120)

    def write() -> None:
        with world.open(reach) as other:
            other.commit(delta(1, {"s/b": "two"}))

    def begin() -> None:
        if not thread.is_alive() and not put.is_set():
            thread.start()
            assert put.wait(120)

    thread = threading.Thread(target=write)
    plain = world.stores()
    options = world._arguments()
    with Writer.open(world.catalog, plain, **options) as writer:
        writer.replicas.stores = {name: Listing(store, begin) for name, store in plain.items()}  # type: ignore[misc]
        collect.collect(writer, Retention(), now=10**9)
        mine = {txn for txn, _ in Catalog(world.catalog).open_transactions()}
    for store in plain.values():
        assert any(key.rsplit(".", 1)[1] in mine for key in store.list(collect.BLOBS))
    go_on.set()
    thread.join()
    assert world.findings() == []
