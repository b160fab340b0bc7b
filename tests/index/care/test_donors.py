"""What is good on no replica comes from a DR store: nothing is lost that one of them has, and none makes it worse."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob
from penstock.index.care.repair import Repaired, repair
from penstock.index.commits import log, manifest
from penstock.index.recovery.archive import SHIPPED, Archive
from penstock.index.recovery.donor import Donor
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef, Manifest
from tests.fakes.stores import Away
from tests.index.care.test_repair import EXPECTED, copied, damage, make
from tests.index.world import World, delta, served


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two replicas of three versions, and a DR store that has them all."""
    home = tmp_path_factory.mktemp("donors")
    ship(make(home))
    return home


@pytest.fixture
def world(made: Path, tmp_path: Path) -> World:
    return copied(made, tmp_path / "home")


def ship(world: World) -> None:
    """As shipping does: the same keys and the same bytes, behind a marker of whose they are."""
    shutil.rmtree(world.root / "dr", ignore_errors=True)
    store = LocalStore.create(world.root / "dr", token=world.token)
    with world.open() as writer:
        Archive(store, print).claim(writer.head().lineage)
    for folder in ("blobs", "log"):
        shutil.copytree(world.folder("0") / folder, world.root / "dr" / folder)


class Counting:
    """Says which keys of a store were asked for."""

    def __init__(self, store: Store) -> None:
        self.name, self.asked, self._store = store.name, list[str](), store

    def __getattr__(self, name: str) -> Callable[..., object]:
        def ask(*arguments: object) -> object:
            self.asked.append(str(arguments[0]) if arguments else name)
            return getattr(self._store, name)(*arguments)

        return ask


class Hanging:
    """A store whose server never answers."""

    def __init__(self, store: Store) -> None:
        self.name, self.asked, self.go_on = store.name, 0, threading.Event()

    def size(self, key: str) -> int | None:
        self.asked += 1
        self.go_on.wait(60)
        return None


def donor(world: World, **options: float) -> Donor:
    return Donor(LocalStore(world.root / "dr", token=world.token), world.reports.append, **options)


def mended(world: World, *donors: Donor) -> Repaired:
    arguments = world._arguments()
    return repair(world.catalog, world.stores(), report_progress=lambda *_: None, donors=donors, **arguments)


def needed(world: World) -> list[BlobRef]:
    """Every blob of the head, its manifest first."""
    with world.open() as writer:
        decided = writer.site.catalog.head()
        assert decided is not None
        return [decided.ref, *manifest.closure(writer.head()).values()]


def everywhere(world: World, ref: BlobRef) -> list[Path]:
    return [world.folder(name) / blob.key(ref) for name in world.ids]


def answers(world: World) -> dict[str, list[str]]:
    with world.open() as writer:
        return served(writer.head(), world.stores())


def same(world: World) -> None:
    """Both replicas are whole and serve what they did, and nobody has to embed anything."""
    assert world.findings() == []
    assert answers(world) == EXPECTED


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(0, 999), how=st.sampled_from(["flip", "cut", "grow", "delete"]), at=st.floats(0, 0.999))
def test_any_blob_damaged_on_all_replicas_is_healed(made: Path, tmp_path: Path, pick: int, how: str, at: float) -> None:
    """The manifest of the head too; and it is said where it came from."""
    world = copied(made, tmp_path / "home")
    refs = needed(world)
    for path in everywhere(world, refs[pick % len(refs)]):
        damage(path, how, at)
    done = mended(world, donor(world))
    assert done.whole and not (done.documents or done.lost or done.unsaved or done.given_up)
    donated = [healed.donated for healed in done.replicas.values()]
    assert donated == [1, 1] or how != "delete"  # some damage the replicas can make good themselves
    assert any("from a DR store" in line for line in world.reports) == any(donated)
    same(world)
    assert not mended(world, donor(world))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(0, 999), spoil=st.sampled_from(["flip", "cut", "delete"]), marker=st.booleans())
def test_a_donor_that_is_damaged_itself_changes_nothing(
    made: Path, tmp_path: Path, pick: int, spoil: str, marker: bool
) -> None:
    """What comes of a repair is what would without one: never a wrong byte, and no other loss."""
    worlds = [copied(made, tmp_path / name) for name in ("without", "with")]
    outcomes = []
    for world in worlds:
        refs = needed(world)[1:]
        ref = refs[pick % len(refs)]
        for path in everywhere(world, ref):
            damage(path, "flip", 0.5)
        damage(world.root / "dr" / blob.key(ref), spoil, 0.5)
        if marker:
            damage(world.root / "dr" / SHIPPED, "flip", 0.5)
        done = mended(world, *([donor(world)] if world is worlds[1] else []))
        outcomes.append((done.whole, done.documents, done.lost, done.unsaved, done.given_up, answers(world)))
        assert world.findings() == []
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("how", ["flip", "delete"])
@pytest.mark.parametrize("catalog", [True, False])
@pytest.mark.parametrize("version", [2, 3])
def test_a_record_that_is_whole_nowhere_comes_back(world: World, how: str, catalog: bool, version: int) -> None:
    """Of the head or of a version before it; with the catalog that knows it, or without."""
    for name in world.ids:
        damage(world.folder(name) / log.key(version, 1), how, 0.5)
    if not catalog:
        (world.root / "catalog.db").unlink()
    done = mended(world, donor(world))
    assert done.whole and not (done.documents or done.lost or done.given_up)
    assert [healed.records for healed in done.replicas.values()] == [1, 1]
    same(world)
    assert (world.folder("0") / log.key(version, 1)).read_bytes() == (
        world.root / "dr" / log.key(version, 1)
    ).read_bytes()


def test_catalog_one_replica_and_a_blob_of_the_other_at_once(world: World) -> None:
    """Opening alone goes on from there, and repair makes both replicas whole."""
    segment = next(iter(manifest.closure(head(world)).values()))
    (world.root / "catalog.db").unlink()
    shutil.rmtree(world.folder("0"))
    damage(world.folder("1") / blob.key(segment), "flip", 0.5)
    with world.open(donors=[donor(world)]) as writer:
        assert writer.head().version == 4
    done = mended(world, donor(world))
    assert done.whole and done.replicas["1"].blobs == 1
    same(world)


def test_opening_adopts_the_head_whose_manifest_no_replica_has(world: World) -> None:
    """The catalog is gone as well; without the DR store, opening would stop."""
    for path in everywhere(world, needed(world)[0]):
        path.unlink()
    (world.root / "catalog.db").unlink()
    with world.open(donors=[donor(world)]) as writer:
        assert writer.head().counts["documents"] == 4
        writer.commit(delta(writer.head().version, {"s/new": "seven"}))
    mended(world, donor(world))
    assert world.findings() == []
    assert answers(world) == {**EXPECTED, "s/new": ["seven"]}


def test_opening_adopts_what_replicas_that_went_back_had_published(world: World, tmp_path: Path) -> None:
    """Both were put back to an older state and the catalog is gone: the DR store knows what was acknowledged."""
    with world.open() as writer:
        for name in world.ids:
            shutil.copytree(world.folder(name), tmp_path / "old" / name)
        writer.commit(delta(writer.head().version, {"s/new": "seven"}))
        writer.commit(delta(writer.head().version, {"s/newer": "eight"}))
    ship(world)
    shutil.rmtree(world.root / "replicas")
    shutil.copytree(tmp_path / "old", world.root / "replicas")
    (world.root / "catalog.db").unlink()
    with world.open(donors=[donor(world)]) as writer:
        assert writer.head().counts["documents"] == 6
    assert world.findings() == []
    assert answers(world) == {**EXPECTED, "s/new": ["seven"], "s/newer": ["eight"]}


def test_what_a_donor_has_of_another_history_is_not_adopted(world: World, tmp_path: Path) -> None:
    """A version that was not made from the newest of the replicas, or lacks a blob, would only do harm."""
    copy = copied(world.root, tmp_path / "copy")
    with world.open() as writer:
        writer.commit(delta(writer.head().version, {"s/mine": "seven"}))
    with copy.open() as writer:
        writer.commit(delta(writer.head().version, {"s/other": "seven"}))
        writer.commit(delta(writer.head().version, {"s/other": "eight"}))
    ship(copy)
    (world.root / "catalog.db").unlink()
    with world.open(donors=[donor(copy)]) as writer:
        assert writer.head().version == 5
    assert answers(world) == {**EXPECTED, "s/mine": ["seven"]}


def test_a_newer_version_that_is_not_whole_in_the_donor_is_not_adopted(world: World, tmp_path: Path) -> None:
    """Adopting it would end all writing: nobody could publish it."""
    copy = copied(world.root, tmp_path / "copy")
    with copy.open() as writer:
        before = manifest.closure(writer.head())
        writer.commit(delta(writer.head().version, {"s/new": "seven"}))
        new = [ref for name, ref in manifest.closure(writer.head()).items() if name not in before]
    ship(copy)
    damage(copy.root / "dr" / blob.key(new[0]), "flip", 0.5)
    (world.root / "catalog.db").unlink()
    with world.open(donors=[donor(copy)]) as writer:
        writer.commit(delta(writer.head().version, {"s/mine": "seven"}))
    assert answers(world) == {**EXPECTED, "s/mine": ["seven"]}


def test_nothing_is_asked_of_a_donor_while_all_is_well(world: World) -> None:
    """Nor when one replica can heal the other."""
    store = Counting(LocalStore(world.root / "dr", token=world.token))
    asked = Donor(store, world.reports.append)  # type: ignore[arg-type]
    with world.open(donors=[asked]) as writer:
        writer.commit(delta(writer.head().version, {"s/new": "seven"}))
    shutil.rmtree(world.folder("0"))
    damage(world.folder("1") / log.key(3, 1), "flip", 0.5)
    world.open(donors=[asked]).close()
    for path in everywhere(world, needed(world)[0])[:1]:
        damage(path, "flip", 0.5)
    mended(world, asked)
    assert store.asked == []


def test_nothing_is_given_up_while_a_donor_does_not_answer(world: World) -> None:
    """It may have what is lost. Without it, it is given up."""
    ref = next(iter(manifest.closure(head(world)).values()))
    for path in everywhere(world, ref):
        damage(path, "flip", 0.5)
    away = Donor(Away(LocalStore(world.root / "dr", token=world.token)), world.reports.append)
    done = mended(world, away)
    assert not done.whole and list(done.silent) == [away.name] and not (done.lost or done.documents)
    assert any("DR store" in line and "nothing is given up" in line for line in world.reports)
    done = mended(world)
    assert done.whole and done.documents


def test_a_donor_that_hangs_costs_one_deadline(world: World) -> None:
    """It is not asked again; what the replicas have is healed meanwhile."""
    hanging = Hanging(LocalStore(world.root / "dr", token=world.token))
    slow = Donor(hanging, world.reports.append, first=0.05)  # type: ignore[arg-type]
    for path in everywhere(world, next(iter(manifest.closure(head(world)).values()))):
        damage(path, "flip", 0.5)
    done = mended(world, slow)
    assert "no answer" in done.silent[slow.name]
    assert hanging.asked == 1
    hanging.go_on.set()


def test_a_place_that_nothing_was_shipped_to_holds_nothing(world: World) -> None:
    """And says so by one question; an empty folder is no reason to wait for it."""
    shutil.rmtree(world.root / "dr")
    (world.root / "dr").mkdir()
    for path in everywhere(world, next(iter(manifest.closure(head(world)).values()))):
        damage(path, "flip", 0.5)
    done = mended(world, donor(world))
    assert done.whole and not done.silent and done.documents


def test_what_lies_in_the_dr_store_is_never_changed(world: World) -> None:
    """Neither by a repair nor by opening, even where it could be mended."""
    there = world.root / "dr"
    for path in everywhere(world, needed(world)[0]):
        path.unlink()
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    mended(world, donor(world))
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == before


def head(world: World) -> Manifest:
    with world.open() as writer:
        return writer.head()
