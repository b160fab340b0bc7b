"""Repair: what one replica lost comes back from the others; what none has is said, marked and embedded again."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob
from penstock.index.care import collect, compact
from penstock.index.care.repair import Repaired, repair
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import manifest
from penstock.index.errors import NoSpace, Unavailable
from penstock.index.segments import quantizer
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest
from tests.index.world import World, delta, served

DOCS = {"s/a": "uno", "s/b": "three", "s/d": "four five", "s/e": "six"}


def make(home: Path, replicas: int = 2, write_quorum: int = 2) -> World:
    world = World(home, replicas, write_quorum)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two", "s/b": "three", "s/c": "gone"}))
        writer.commit(delta(1, {"s/a": "uno", "s/c": None, "s/d": "four five"}))
        writer.commit(delta(2, {"s/e": "six"}))
    return world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("repair")
    make(home)
    return home


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an IVF segment and a flat one, in its second epoch, whose first versions have expired."""
    home = tmp_path_factory.mktemp("compacted")
    world = World(home)
    with pytest.MonkeyPatch.context() as patch, world.create() as writer:
        patch.setattr(quantizer, "IVF_FROM", 40)
        for n in range(3):
            writer.commit(delta(n, {f"s/big{n}": " ".join(f"w{n}x{m}" for m in range(20)), "s/x": f"{n}"}))
        compact.compact(writer, compact.Policy(fan_in=3, smallest=40))
        writer.commit(delta(writer.head().version, {"s/big0": None, "s/e": "six"}))
        collect.collect(writer, collect.Retention(2, 0.0), now=1e9)
    (home / "catalog.db").unlink()
    world.open().close()
    assert not world.findings()
    return home


@pytest.fixture
def world(made: Path, tmp_path: Path) -> World:
    return copied(made, tmp_path / "home")


def copied(made: Path, to: Path) -> World:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(made, to)
    return World(to)


def mended(world: World, reach: Callable[[str], None] = lambda _: None, lost: frozenset[str] = frozenset()) -> Repaired:
    arguments = {**world._arguments(), "reach": reach, "lost": lost}
    return repair(world.catalog, world.stores(), report_progress=lambda *_: None, **arguments)  # type: ignore[arg-type]


def files(world: World, replica: str = "*") -> list[Path]:
    """Of one replica, or of all."""
    found = (world.root / "replicas").glob(f"{replica}/**/*")
    return sorted(path for path in found if path.is_file() and path.parent.name != "tmp")


def answers(world: World) -> dict[str, list[str]]:
    with world.open() as writer:
        return served(writer.head(), world.stores())


def damage(path: Path, how: str, at: float) -> None:
    whole = path.read_bytes()
    place = int(at * len(whole))
    match how:
        case "flip":
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        case "cut":
            path.write_bytes(whole[:place])
        case "grow":
            path.write_bytes(whole + b"x")
        case "delete":
            path.unlink()


EXPECTED = {uri: text.split() for uri, text in DOCS.items()}


def test_a_whole_home_needs_nothing(world: World) -> None:
    """And says so."""
    before = {path: path.read_bytes() for path in files(world)}
    done = mended(world)
    assert not done and done.whole and done.version == 3
    assert {path: path.read_bytes() for path in files(world)} == before


@pytest.mark.parametrize("kind", ["made", "compacted"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(0, 10_000), how=st.sampled_from(["flip", "cut", "grow", "delete"]), at=st.floats(0, 0.999))
def test_any_damage_to_any_file_of_one_replica_is_found_and_healed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, pick: int, how: str, at: float
) -> None:
    """Markers, epochs, records and blobs alike; afterwards every answer is as before, and verify is silent."""
    world = copied(request.getfixturevalue(kind), tmp_path / "home")
    expected = answers(world)
    there = [path for path in files(world) if needed_still(world, path)]
    path = there[pick % len(there)]
    damage(path, how, at)
    assert world.findings(), f"{how} of {path} was not noticed"
    done = mended(world)
    assert done and done.whole and not done.documents
    assert world.findings() == []
    assert answers(world) == expected
    assert not mended(world)


def needed_still(world: World, path: Path) -> bool:
    """Not what an expired version or an epoch that is over left behind: nobody reads that again."""
    return path.name != "00000001" or not list(path.parent.glob("00000002"))


def test_a_whole_file_in_another_ones_place_is_damage_too(world: World) -> None:
    """A log record has all that an epoch's marker has, and more; a blob of the same size is still another blob."""
    folder = world.folder("1")
    shutil.copy(next((folder / "log").iterdir()), folder / "epochs" / "00000001")
    blobs = [path for path in files(world, "1") if path.parent.parent.name == "blobs"]
    pairs = [(a, b) for a in blobs for b in blobs if a < b and a.stat().st_size == b.stat().st_size]
    for a, b in pairs[:1]:
        whole = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(whole)
    assert world.findings()
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED


def test_every_blob_damaged_on_one_of_two_replicas_is_healed_from_the_other(world: World) -> None:
    """Different blobs on each: both are healed, although neither was whole."""
    names = sorted(path.name for path in files(world, "0") if path.parent.parent.name == "blobs")
    for number, name in enumerate(names):
        replica = str(number % 2)
        damage(world.folder(replica) / "blobs" / name[:2] / name, "flip", 0.5)
    done = mended(world)
    assert {name: healed.blobs for name, healed in done.replicas.items()} == {
        "0": (len(names) + 1) // 2,
        "1": len(names) // 2,
    }
    assert world.findings() == [] and answers(world) == EXPECTED


@pytest.mark.parametrize("lost", ["directory", "everything in it", "marker", "log", "epochs", "blobs"])
def test_a_replica_that_lost_much_is_filled_again(world: World, lost: str) -> None:
    """Its directory, all of it, or any part: what is left proves whose it is."""
    folder = world.folder("1")
    match lost:
        case "directory":
            shutil.rmtree(folder)
        case "everything in it":
            shutil.rmtree(folder)
            folder.mkdir()
        case "marker":
            (folder / "replica.json").unlink()
        case part:
            shutil.rmtree(folder / part)
    done = mended(world)
    assert done.whole and done.replicas["1"]
    assert world.findings() == [] and answers(world) == EXPECTED
    assert not list((world.root / "replicas").glob("*.rebuilding"))


def test_a_replica_put_back_from_an_old_copy_is_caught_up(tmp_path: Path) -> None:
    """Also where the old copy lacks a blob that its own versions need."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two"}))
    shutil.copytree(world.folder("1"), tmp_path / "old")
    with world.open() as writer:
        writer.commit(delta(1, {"s/b": "three"}))
        writer.commit(delta(2, {"s/a": "uno"}))
    shutil.rmtree(world.folder("1"))
    (tmp_path / "old").rename(world.folder("1"))
    next(path for path in files(world, "1") if path.parent.parent.name == "blobs").unlink()
    assert world.findings()
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == {"s/a": ["uno"], "s/b": ["three"]}


def test_a_lost_catalog_and_a_damaged_replica_are_mended_together(world: World) -> None:
    """Replicas first, then the catalog from them."""
    (world.root / "catalog.db").unlink()
    damage(world.folder("0") / "replica.json", "flip", 0.5)
    shutil.rmtree(world.folder("1") / "log")
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED


@pytest.mark.parametrize("how", ["behind", "garbage", "gone", "one row"])
def test_whatever_became_of_the_catalog_it_is_made_again(tmp_path: Path, how: str) -> None:
    """From the replicas, of which one is damaged too."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two"}))
    old = (tmp_path / "catalog.db").read_bytes()
    with world.open() as writer:
        writer.commit(delta(1, {"s/b": "three"}))
        writer.commit(delta(2, {"s/a": "uno"}))
    match how:
        case "behind":
            (tmp_path / "catalog.db").write_bytes(old)
        case "garbage":
            (tmp_path / "catalog.db").write_bytes(b"x" * len(old))
        case "gone":
            (tmp_path / "catalog.db").unlink()
        case "one row":
            with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
                db.execute("UPDATE versions SET size = size + 1 WHERE version = 1")
    damage(files(world, "1")[0], "flip", 0.5)
    assert any(line.startswith("catalog") for line in world.findings())
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == {"s/a": ["uno"], "s/b": ["three"]}


def test_an_index_without_any_version_is_mended_too(tmp_path: Path) -> None:
    """Its membership is in the catalog alone."""
    world = World(tmp_path)
    world.create().close()
    (world.folder("0") / "replica.json").unlink()
    damage(world.folder("1") / "epochs" / "00000001", "flip", 0.5)
    assert mended(world).whole and world.findings() == []
    with world.open() as writer:
        writer.commit(delta(0, {"s/a": "one"}))


def test_the_only_replica_loses_what_it_lost_and_no_more(tmp_path: Path) -> None:
    """With nobody to copy from, repair still says which documents, and the next ingest embeds those."""
    world = make(tmp_path, 1, 1)
    with world.open() as writer:
        destroy(world, parts(writer.head())["rows1"])
    done = mended(world)
    assert done.documents == ["s/a", "s/d"] and world.findings() == []
    assert answers(world) == {"s/b": ["three"], "s/e": ["six"]}


def test_old_versions_that_none_has_whole_do_not_keep_an_absent_replica_from_being_made_again(world: World) -> None:
    """It gets all there is, and those versions are given up."""
    with world.open() as writer:
        head = manifest.closure(writer.head()).keys()
        first = Catalog(world.catalog).since(0)[0].ref
        old = [ref for name, ref in manifest.closure(writer.replicas.manifest(first)).items() if name not in head]
    destroy(world, old[0])
    shutil.rmtree(world.folder("1"))
    with pytest.raises(Unavailable):
        mended(world)
    done = mended(world, lost=frozenset({"1"}))
    assert done.whole and done.given_up == 1
    assert world.findings() == [] and answers(world) == EXPECTED


def test_an_empty_folder_in_the_place_of_the_only_replica_gives_nothing_up(tmp_path: Path) -> None:
    """Its disk may not be mounted: what was acknowledged stays decided, and is there when the disk is back."""
    world = make(tmp_path / "home", 1, 1)
    world.folder("0").rename(tmp_path / "disk")
    world.folder("0").mkdir()
    for _ in range(2):
        assert "mounted" in mended(world).refused["0"]
    assert files(world) == []
    world.folder("0").rmdir()
    (tmp_path / "disk").rename(world.folder("0"))
    assert world.findings() == [] and answers(world) == EXPECTED


class Dying:
    """A store that answers so many times and then never again."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store, self._left = store, calls
        self.name = store.name

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not hasattr(self._store, name):
            raise AttributeError(name)

        def call(*arguments: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise Unavailable(f"{self.name}: gone")
            return getattr(self._store, name)(*arguments)

        return call


@pytest.mark.parametrize("calls", [0, 3, 8, 20, 40])
def test_a_store_that_goes_away_in_the_middle_is_said_and_the_rest_is_mended(tmp_path: Path, calls: int) -> None:
    """Verify has a line for it, not a thousand; repair mends the others and can be run again."""
    world = make(tmp_path, 3, 2)
    damage(next(path for path in files(world, "0") if path.parent.parent.name == "blobs"), "flip", 0.5)
    world.wrap = lambda name, store: Dying(store, calls) if name == "2" else store  # type: ignore[assignment,return-value]
    assert len(world.findings()) < 4
    done = mended(world)
    assert done.replicas["0"].blobs == 1 and ("2" in done.away or calls == 40)
    world.wrap = lambda _, store: store
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED


def test_with_all_replicas_away_repair_ends_at_once(world: World) -> None:
    """With one line that names them; each is asked once, and no folder is made in the place of one."""
    stores = {name: Dying(store, 0) for name, store in world.stores().items()}
    world.wrap = lambda name, _: stores[name]  # type: ignore[assignment,return-value]
    with pytest.raises(Unavailable, match=r"no replica can be reached \(replicas 0, 1\)"):
        mended(world)
    assert [store._left for store in stores.values()] == [-1, -1]
    world.wrap = lambda _, store: store
    for name in world.ids:
        world.folder(name).rename(world.root / f"away{name}")
    with pytest.raises(Unavailable, match="no replica can be reached"):
        mended(world)
    assert not list((world.root / "replicas").iterdir())


class Stumbling(Dying):
    """A local store whose files cannot be measured, once each, and whose disk is full."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 1 << 30)
        self._stumbled: set[str] = set()

    def size(self, key: str) -> int | None:
        if key.startswith("blobs/") and key not in self._stumbled:
            self._stumbled.add(key)
            raise Unavailable(f"{self.name}/{key}: input/output error")
        return self._store.size(key)

    def put_if_absent(self, key: str, data: object) -> bool:
        raise NoSpace(f"{self.name}: the disk is full")


def test_a_good_copy_that_could_not_be_read_once_is_not_removed(world: World) -> None:
    """What is removed there could not be put again, and would count as acknowledged on one replica less."""
    before = files(world)
    world.wrap = lambda name, store: Stumbling(store) if name == "1" else store  # type: ignore[assignment,return-value]
    with contextlib.suppress(NoSpace, Unavailable):
        mended(world)
    assert files(world) == before


class Full(Dying):
    """A store that has room for what is small, and for no blob."""

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if key.startswith("blobs/"):
            raise NoSpace(f"{self.name}: the disk is full")
        return self._store.put_if_absent(key, data)


def test_a_replica_without_room_for_its_blobs_gets_no_record_of_them(tmp_path: Path) -> None:
    """A record would count as a copy, and be none."""
    world = make(tmp_path / "home", 3, 2)
    for folder in ("blobs", "log"):
        shutil.rmtree(world.folder("2") / folder)
    world.wrap = lambda name, store: Full(store, 1 << 30) if name == "2" else store  # type: ignore[assignment,return-value]
    with contextlib.suppress(Unavailable):
        assert "full" in mended(world).away["2"]
    assert not list((world.folder("2") / "log").glob("*"))


def test_a_replica_publishes_nothing_whose_blobs_it_could_not_get(tmp_path: Path) -> None:
    """The only one that has them answers no more: a record without them would count as a copy, and be none."""
    world = make(tmp_path / "home", 3, 2)
    with world.open() as writer:
        ref = parts(writer.head())["index1"]
    for replica in ("0", "1"):
        (world.folder(replica) / blob.key(ref)).unlink()
    shutil.rmtree(world.folder("1") / "log")
    shutil.move(world.folder("2"), tmp_path / "away")
    world.folder("2").write_text("not mounted")
    with pytest.raises(Unavailable):
        mended(world)
    assert {path.name[:12] for path in (world.folder("1") / "log").iterdir()} == {"000000000001"}
    world.folder("2").unlink()
    shutil.move(tmp_path / "away", world.folder("2"))
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED


def parts(made: Manifest) -> dict[str, BlobRef]:
    """Every blob of a version, by what it is for."""
    found = {f"state{n}": run.blob for n, run in enumerate(made.state)}
    found |= {f"texts{n}": run.blob for n, run in enumerate(made.texts)}
    for n, ref in enumerate(made.spaces["default"].segments):
        for part in ("index", "rows", "docs", "dead", "facets"):
            if getattr(ref, part) is not None:
                found[f"{part}{n}"] = getattr(ref, part)
    return found


def destroy(world: World, ref: BlobRef) -> None:
    for replica in world.ids:
        damage(world.folder(replica) / blob.key(ref), "flip", 0.3)


PARTS = ["state0", "state1", "texts0", "texts1", "texts2", "index0", "index1", "rows0", "docs0", "dead0", "facets0"]


@pytest.mark.parametrize("part", [*PARTS, "all of segment 0"])
def test_what_no_replica_has_is_marked_and_embedded_again(world: World, part: str) -> None:
    """Nothing else is touched, verify is silent, and a delta with what was named brings everything back."""
    with world.open() as writer:
        there = parts(writer.head())
    chosen = [ref for name, ref in there.items() if name == part or (part.startswith("all") and name.endswith("0"))]
    if not chosen:
        pytest.skip(f"this home has no {part}")
    for ref in chosen:
        destroy(world, ref)
    assert world.findings()
    done = mended(world)
    assert done.whole and done.lost and sorted(done.unsaved) == sorted({ref.name for ref in chosen})
    assert world.findings() == []
    left = answers(world)
    assert left == {uri: EXPECTED[uri] for uri in left} and not left.keys() & set(done.documents)
    assert not mended(world)
    with world.open() as writer:
        states = {state.uri: state for state in writer.states().scan()}
        for uri in EXPECTED.keys() - left.keys():
            # Where state and rows went together nobody can name it: the next ingest finds it new.
            assert uri not in states or (states[uri].status, states[uri].reason) == ("failed", "lost")
            assert uri in done.documents or part.startswith("all")
        writer.commit(delta(writer.head().version, {uri: DOCS[uri] for uri in EXPECTED.keys() - left.keys()}))
    assert world.findings() == [] and answers(world) == EXPECTED


def test_an_ivf_index_that_is_lost_is_flat_until_the_next_compaction(compacted: Path, tmp_path: Path) -> None:
    """Its raw vectors are a flat index already; without those the segment is lost."""
    for part, kept in (("index", True), ("quantizer", True), ("vectors", False)):
        world = copied(compacted, tmp_path / part)
        expected = answers(world)
        with world.open() as writer:
            (ref,) = (ref for ref in writer.head().spaces["default"].segments if ref.kind == "ivf")
        destroy(world, getattr(ref, part))
        done = mended(world)
        assert done.whole and world.findings() == []
        left = answers(world)
        assert left == (expected if kept else {uri: expected[uri] for uri in left})
        assert sorted(done.documents) == sorted(expected.keys() - left.keys())
        with world.open() as writer:
            assert {ref.kind for ref in writer.head().spaces["default"].segments} == {"flat"}


@pytest.mark.parametrize("part", ["docs0", "facets0", "dead0", "texts1"])
def test_what_follows_from_the_rest_loses_no_document(world: World, part: str) -> None:
    """Tables are made again from rows, bitmaps from document state; texts are not needed to answer."""
    with world.open() as writer:
        there = parts(writer.head())
    if part not in there:
        pytest.skip(f"this home has no {part}")
    destroy(world, there[part])
    done = mended(world)
    assert done.documents == [] and done.lost
    assert answers(world) == EXPECTED


def test_a_blob_that_only_old_versions_need_takes_only_those_along(world: World) -> None:
    """They cannot be whole again, so they are not kept; the head is as it was."""
    catalog = Catalog(world.catalog)
    with world.open() as writer:
        head = manifest.closure(writer.head()).keys()
        old = manifest.closure(writer.replicas.manifest(catalog.since(0)[0].ref))
    destroy(world, next(ref for name, ref in old.items() if name not in head))
    done = mended(world)
    assert done.given_up == 1 and done.version == 3 and not done.documents
    assert world.findings() == [] and answers(world) == EXPECTED
    assert not mended(world)


def test_a_head_that_no_replica_can_read_gives_way_to_the_version_before(world: World) -> None:
    """As the next version: numbers only grow. What came after is embedded again because its state is gone too."""
    destroy(world, Catalog(world.catalog).since(2)[0].ref)
    done = mended(world)
    assert done.version == 4 and done.given_up == 3 and "version 3" in done.lost[0]
    assert world.findings() == []
    assert answers(world) == {uri: words for uri, words in EXPECTED.items() if uri != "s/e"}
    with world.open() as writer:
        writer.commit(delta(4, {"s/e": "six"}))
    assert world.findings() == [] and answers(world) == EXPECTED


def test_a_copy_that_is_damaged_only_in_its_trailer_still_heals(world: World) -> None:
    """On every replica: the trailer follows from the content."""
    ref = Catalog(world.catalog).since(2)[0].ref
    for replica in world.ids:
        damage(world.folder(replica) / blob.key(ref), "flip", 0.9999)
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED


class Remote:
    """A store without local files, like a bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def local_path(self, key: str) -> Path | None:
        return None


def test_replicas_without_local_files_heal_one_another(world: World) -> None:
    """Copies pass through the work folder, and none is left there."""
    world.wrap = lambda _, store: Remote(store)  # type: ignore[assignment,return-value]
    blobs = [path for path in files(world) if path.parent.parent.name == "blobs"]
    half = len(blobs) // 2
    for path, other in zip(blobs[:half], blobs[half:], strict=True):
        assert path.name == other.name
        damage(path if path.name < "8" else other, "flip", 0.2)
    assert mended(world).whole
    assert world.findings() == [] and answers(world) == EXPECTED
    assert not list((world.root / "work" / "repair").glob("*"))


def test_nothing_is_given_up_while_a_replica_is_away(tmp_path: Path) -> None:
    """It may have what the others lost."""
    world = make(tmp_path / "home", 3, 2)
    with world.open() as writer:
        ref = parts(writer.head())["rows0"]
    world.folder("2").rename(tmp_path / "away")
    world.folder("2").write_text("not a directory")
    for replica in ("0", "1"):
        damage(world.folder(replica) / blob.key(ref), "flip", 0.3)
    done = mended(world)
    assert done.unsaved == [ref.name] and "2" in done.away and not done.documents and done.version == 3
    world.folder("2").unlink()
    (tmp_path / "away").rename(world.folder("2"))
    done = mended(world)
    assert done.whole and not done.documents and not done.unsaved
    assert world.findings() == [] and answers(world) == EXPECTED


def test_a_store_of_another_index_is_refused_and_untouched(world: World, tmp_path: Path) -> None:
    """Whatever it is configured as."""
    other = make(tmp_path / "other")
    shutil.rmtree(world.folder("1"))
    shutil.copytree(other.folder("1"), world.folder("1"))
    before = {path: path.read_bytes() for path in files(world)}
    done = mended(world)
    assert "another index" in done.refused["1"] and not done
    assert {path: path.read_bytes() for path in files(world)} == before


def test_a_folder_of_other_things_is_refused_and_untouched(world: World) -> None:
    """A wrong path in the configuration must not fill somebody's pictures with blobs."""
    shutil.rmtree(world.folder("1"))
    world.folder("1").mkdir()
    (world.folder("1") / "holiday.jpg").write_bytes(b"sun")
    done = mended(world)
    assert "holiday.jpg" in done.refused["1"]
    assert [path.name for path in files(world, "1")] == ["holiday.jpg"]


class Killed(BaseException):
    pass


def everything_once(world: World, rng: random.Random) -> None:
    """One replica without log and marker, no catalog, and two damaged blobs on the other."""
    shutil.rmtree(world.folder("1") / "log")
    (world.folder("1") / "replica.json").unlink()
    (world.root / "catalog.db").unlink()
    blobs = [path for path in files(world, "0") if path.parent.parent.name == "blobs"]
    for path in rng.sample(blobs, 2):
        damage(path, rng.choice(["flip", "cut", "delete"]), 0.5)


def rows_on_both(world: World, _: random.Random) -> None:
    """The rows of one segment are good nowhere, and one directory is absent."""
    with world.open() as writer:
        ref = parts(writer.head())["rows1"]
    destroy(world, ref)
    shutil.rmtree(world.folder("1"))


def head_manifest_on_both(world: World, _: random.Random) -> None:
    """Nobody can read the head."""
    destroy(world, Catalog(world.catalog).since(2)[0].ref)


@pytest.mark.parametrize("harm", [everything_once, rows_on_both, head_manifest_on_both])
def test_a_repair_killed_anywhere_goes_on_when_it_is_run_again(
    made: Path, tmp_path: Path, harm: Callable[[World, random.Random], None]
) -> None:
    """At every point of what it does; whatever was marked before it died stays marked."""
    rng = random.Random(3)
    for stop in itertools.count(rng.randrange(1, 5), 5):
        world = copied(made, tmp_path / "home")
        harm(world, rng)
        finished = killed(world, stop)
        done = mended(world, lost=frozenset({"1"}))
        assert done.whole and world.findings() == []
        left = answers(world)
        assert left == {uri: EXPECTED[uri] for uri in left} and len(left) >= 2
        assert harm is not everything_once or left == EXPECTED
        if finished:
            break
    assert stop > 5


def killed(world: World, stop: int) -> bool:
    """Repair until the given step; True if it ended before."""
    steps = itertools.count(1)

    def reach(point: str) -> None:
        if next(steps) == stop:
            raise Killed(point)

    try:
        mended(world, reach, frozenset({"1"}))
    except Killed:
        return False
    return True
