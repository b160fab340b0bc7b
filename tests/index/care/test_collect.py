"""What nobody needs goes, whatever was paused; what anybody may still need stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.index.care import collect, compact
from penstock.index.care.collect import Retention, expiring
from penstock.index.care.compact import Policy
from penstock.index.catalog.catalog import Ratified
from penstock.index.errors import Conflict, Fenced
from penstock.index.types import BlobRef
from tests.index.world import World, delta, served

NOTHING_KEPT = Retention(versions=1, seconds=0)
LATER = 10**9


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    with world.create() as writer:
        for n in range(5):
            writer.commit(delta(n, {f"s/{n}": f"word{n}", "s/always": f"turn{n}"}))
    return world


def versions(*times: float) -> list[Ratified]:
    return [Ratified(n, 1, "e", f"t{n}", BlobRef("m", 1, ""), at) for n, at in enumerate(times, start=1)]


@pytest.mark.parametrize(
    ("keep", "now", "floor"),
    [
        (Retention(1, 0), 100, 4),
        (Retention(3, 0), 100, 2),
        (Retention(9, 0), 100, 0),
        (Retention(1, 70), 100, 1),
        (Retention(1, 1000), 100, 0),
    ],
)
def test_versions_expire_by_number_and_by_age(keep: Retention, now: float, floor: int) -> None:
    """A version is as old as what replaced it; the newest never expires."""
    assert expiring(versions(10, 20, 40, 60, 80), keep, now) == floor
    assert expiring([], keep, now) == 0


def test_expired_versions_go_and_the_head_stays(world: World) -> None:
    """After compaction and collection the replicas hold one version and nothing else."""
    with world.open() as writer:
        compact.compact(writer, Policy(), full=True)
        before = served(writer.head(), world.stores())
        dry = collect.collect(writer, NOTHING_KEPT, now=LATER, dry_run=True)
        held = {name: sorted(store.list("")) for name, store in world.stores().items()}
        done = collect.collect(writer, NOTHING_KEPT, now=LATER)
        assert dry.replicas == done.replicas and done.left_out == {}
        assert {name: sorted(store.list("")) for name, store in world.stores().items()} != held
        assert served(writer.head(), world.stores()) == before
        again = collect.collect(writer, NOTHING_KEPT, now=LATER)
        assert all(swept.blobs == swept.records == 0 for swept in again.replicas.values())
        writer.commit(delta(writer.head().version, {"s/more": "more"}))
    assert done.replicas["0"].blobs > 10 and done.replicas["0"].bytes > 0
    with world.open() as writer:
        assert served(writer.head(), world.stores()) == {**before, "s/more": ["more"]}


def test_the_blobs_of_a_stalled_writer_stay_until_it_is_aborted(world: World) -> None:
    """It was paused between putting and deciding: collection leaves its blobs, and its commit lands."""
    with world.open() as other:

        def reach(point: str) -> None:
            if point == "blobs.put":
                collect.collect(other, NOTHING_KEPT, now=LATER)

        with world.open(reach) as writer:
            assert writer.commit(delta(5, {"s/slow": "slow"})).version == 6
    with world.open() as writer:
        assert "s/slow" in served(writer.head(), world.stores())
    assert world.findings() == []


def test_the_blobs_of_an_aborted_writer_go_and_it_is_told(world: World) -> None:
    """Taken for dead, swept, awake again: nothing of it is ever decided."""
    with world.open() as other:

        def reach(point: str) -> None:
            if point == "blobs.put":
                for txn, _ in other.site.catalog.open_transactions():
                    other.site.catalog.settle(txn)
                assert collect.collect(other, NOTHING_KEPT, now=LATER).replicas["0"].blobs

        with world.open(reach) as writer, pytest.raises(Conflict, match="aborted"):
            writer.commit(delta(5, {"s/slow": "slow"}))
    assert world.findings() == []


@pytest.mark.parametrize("point", ["floor.noted.one", "floor.noted", "records.swept", "blob.swept"])
def test_a_collector_that_was_stopped_goes_on_whenever_it_likes(world: World, point: str) -> None:
    """Paused in the middle while the index goes on for long: what it deletes then was dead, and is still."""
    paused = False
    with world.open() as other:

        def reach(here: str) -> None:
            nonlocal paused
            if here == point and not paused:
                paused = True
                for n in range(3):
                    other.commit(delta(other.head().version, {f"s/late{n}": "late", "s/always": f"late{n}"}))
                compact.compact(other, Policy(), full=True)
                collect.collect(other, NOTHING_KEPT, now=LATER)
                other.commit(delta(other.head().version, {"s/last": "last"}))

        with world.open(reach) as writer:
            collect.collect(writer, NOTHING_KEPT, now=LATER)
            found = served(writer.head(), world.stores())
    assert paused and {"s/late0", "s/late1", "s/late2", "s/last", "s/always"} <= found.keys()
    assert world.findings() == []


def test_a_catalog_made_again_after_a_collection_knows_what_expired(world: World) -> None:
    """The floor is on the replicas: versions without their blobs are never taken for whole ones."""
    with world.open() as writer:
        collect.collect(writer, NOTHING_KEPT, now=LATER)
        before = served(writer.head(), world.stores())
    (world.root / "catalog.db").unlink()
    with world.open() as writer:
        assert writer.site.catalog.floor() == 4
        assert served(writer.head(), world.stores()) == before
    assert world.findings() == []


def test_a_replica_made_again_after_a_collection_has_what_is_kept(world: World) -> None:
    """It begins after the floor."""
    with world.open() as writer:
        collect.collect(writer, NOTHING_KEPT, now=LATER)
    shutil.rmtree(world.folder("1"))
    with world.open() as writer:
        assert served(writer.head(), {"1": world.stores()["1"]}).keys() == {"s/always", *(f"s/{n}" for n in range(5))}
    assert world.findings() == []


def test_a_collector_of_an_old_epoch_stops(world: World) -> None:
    """The catalog was made again while it slept: it deletes nothing."""
    with world.open() as old:
        (world.root / "catalog.db").unlink()
        world.open().close()
        held = {name: sorted(store.list("")) for name, store in world.stores().items()}
        with pytest.raises(Fenced):
            collect.collect(old, NOTHING_KEPT, now=LATER)
    assert {name: sorted(store.list("")) for name, store in world.stores().items()} == held
