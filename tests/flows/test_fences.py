"""An index that was restored elsewhere is not written any more where it was."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.recovery import archives, fences
from penstock.index.errors import Fenced
from penstock.index.reading.reader import Reader
from penstock.index.recovery.archive import Archive
from penstock.index.stores.store import LocalStore
from tests.flows.conftest import World


@pytest.fixture
def dr(world: World) -> LocalStore:
    """A DR store, and a penstock.toml beside the home that names it."""
    place = world.home.parent / "dr"
    Path("penstock.toml").write_text('[snapshots]\nstore = "dr"\nduring_runs = false\n')
    return LocalStore.create(place, token=wiring.token)


def ingest(world: World) -> int:
    return world.ingest(config="penstock.toml").version


def test_a_fenced_index_is_not_written(world: World, dr: LocalStore) -> None:
    """Nor opened for it: opening finishes what a crash left. It can still be searched."""
    world.write("a.txt", "alpha")
    version = ingest(world)
    with Reader.open(world.home) as reader:
        Archive(dr, print).fence(reader.manifest.lineage, "another", version, 1.0)
    world.write("b.txt", "beta")
    with pytest.raises(Fenced, match="penstock restore --fork"):
        ingest(world)
    assert {text for _, text in world.rows()} == {"alpha"}


def test_a_fence_of_another_index_stops_nobody(world: World, dr: LocalStore) -> None:
    """The restored one goes on, also with the store that it came from in its configuration."""
    Archive(dr, print).fence("0123456789abcdef", "another", 1, 1.0)
    world.write("a.txt", "alpha")
    assert ingest(world) == 1
    world.write("b.txt", "beta")
    assert ingest(world) == 2


def test_it_is_fenced_although_its_catalog_is_lost(world: World, dr: LocalStore) -> None:
    """The replicas say as well which index it is."""
    world.write("a.txt", "alpha")
    ingest(world)
    settings = load(Path("penstock.toml"))
    whose = wiring.lineage(settings, Home(world.home), {})
    assert whose is not None
    (world.home / "catalog.db").unlink()
    Archive(dr, print).fence(whose, "another", 1, 1.0)
    with pytest.raises(Fenced):
        ingest(world)


def test_a_dr_store_that_is_away_slow_or_damaged_keeps_nobody_from_writing(
    world: World, dr: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer is waited for, for a moment."""
    settings = load(Path("penstock.toml"))
    dr.put_if_absent("fences/other", b"no fence at all")
    fences.check(settings, "mine", {})
    dr.root.rename(dr.root.with_name("gone"))
    fences.check(settings, "mine", {})
    release = threading.Event()

    class Hanging(Archive):
        def check_not_fenced(self, lineage: str) -> None:
            release.wait(30)

    monkeypatch.setattr(archives, "archive", lambda *_: Hanging(dr, print))
    try:
        fences.check(settings, "mine", {}, seconds=0.05)
    finally:
        release.set()
