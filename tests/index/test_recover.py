"""Opening for writing: what it mends by itself, what it refuses, and what it says then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from penstock.index import framed, markers
from penstock.index.catalog import Catalog
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.liveness import FileLock
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


def test_a_replica_that_is_behind_is_caught_up(world: World) -> None:
    """Records and blobs that it lacks are copied, verified, in the order of versions."""
    before = contents(world.folder("1"))
    for path in (world.folder("1") / "log").iterdir():
        if not path.name.startswith("000000000001"):
            path.unlink()
    with world.open():
        pass
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
        (lambda f: (f / "replica.json").unlink(), "without its marker"),
        (lambda f: [shutil.rmtree(f), f.mkdir()], "is the disk mounted"),
        (lambda f: [shutil.rmtree(f), shutil.copytree(f.parent / "0", f)], "another replica"),
        (lambda f: mark(f, lineage="zz"), "another index"),
        (lambda f: mark(f, incarnation="zz"), "earlier incarnation"),
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


@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_or_rolled_back_catalog_decides_nothing(world: World, tmp_path: Path, lost: bool) -> None:
    """Replicas know more than the catalog: reading goes on, writing stops and says why."""
    path = tmp_path / "catalog.db"
    if lost:
        path.unlink()
    else:
        shutil.copy(path, tmp_path / "old.db")
        with world.open() as writer:
            writer.commit(delta(3, {"s/x": "x"}))
        shutil.copy(tmp_path / "old.db", path)
    for opening in (world.open, world.create):
        with pytest.raises(Unavailable, match=r"catalog .* reading goes on; rebuilding it is not built yet"):
            opening()


def test_a_catalog_rolled_back_under_a_writer_acknowledges_nothing(world: World, tmp_path: Path) -> None:
    """The version's name is taken on the replicas by other bytes: read back, compared, refused."""
    shutil.copy(tmp_path / "catalog.db", tmp_path / "old.db")
    with world.open() as writer:
        writer.commit(delta(3, {"s/x": "acknowledged"}))
        shutil.copy(tmp_path / "old.db", tmp_path / "catalog.db")
        with pytest.raises(Unavailable):
            writer.commit(delta(3, {"s/y": "another history"}))
    with pytest.raises(Unavailable, match="catalog lost or rolled back"):
        world.open()


def test_a_catalog_of_another_index_decides_nothing(world: World, tmp_path: Path) -> None:
    """The replicas' lineage is not the catalog's."""
    other = World(tmp_path / "other")
    other.create().close()
    shutil.copy(tmp_path / "other" / "catalog.db", tmp_path / "catalog.db")
    with pytest.raises(WrongIndex, match="another index"):
        world.open()


@pytest.mark.parametrize("bytes_", [b"not a database, at least 512 bytes of it" * 20, b""])
def test_a_damaged_catalog_is_one_clear_line(world: World, tmp_path: Path, bytes_: bytes) -> None:
    """Garbage is corrupt; an empty file is a lost catalog."""
    (tmp_path / "catalog.db").write_bytes(bytes_)
    with pytest.raises((Corrupt, Unavailable), match="put back") as caught:
        world.open()
    assert "\n" not in str(caught.value)


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
    with pytest.raises(WrongIndex, match="has replicas 0, 1, the configuration 0, 1, 2"):
        world.open()
    world.ids, world.write_quorum = ["0", "1"], 1
    with pytest.raises(ValueError, match="more than half"):
        world.open()


def test_a_live_writers_transaction_is_left_alone(world: World) -> None:
    """Only what belongs to the dead is aborted: their lock is free."""
    catalog = Catalog(world.catalog)
    alive = FileLock.take(world.root / "work" / "writers" / "alive.lock")
    dead = FileLock.take(world.root / "work" / "writers" / "dead.lock")
    assert alive is not None and dead is not None
    dead.release()
    for owner in ("alive", "dead", "elsewhere"):
        catalog.begin(f"t-{owner}", owner, 1.0)
    world.open().close()
    assert [owner for _, owner in catalog.open_transactions()] == ["alive", "elsewhere"]
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
