"""An index that was restored elsewhere is not written any more where it was."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from penstock.flows import wiring
from penstock.flows.cli import main
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
    with pytest.raises(Fenced, match=r"penstock restore --from .* --fork --home NEW"):
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


def test_a_dr_store_that_is_away_or_slow_keeps_nobody_from_writing(
    world: World, dr: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer is waited for, for a moment."""
    settings = load(Path("penstock.toml"))
    dr.root.rename(dr.root.with_name("gone"))
    fences.check(settings, world.home, "mine", {})
    release = threading.Event()

    class Hanging(Archive):
        def check_not_fenced(self, lineage: str) -> None:
            release.wait(120)

    monkeypatch.setattr(archives, "archive", lambda *_: Hanging(dr, print))
    try:
        fences.check(settings, world.home, "mine", {}, seconds=0.05)
    finally:
        release.set()


def test_a_fence_that_cannot_be_read_shuts_out_all_but_its_own_index(world: World, dr: LocalStore) -> None:
    """It may be anybody's. What nobody could read is not kept in the home."""
    dr.put_if_absent("fences/other", b"no fence at all")
    settings, home = load(Path("penstock.toml")), world.home
    with pytest.raises(Fenced, match="penstock ship"):
        fences.check(settings, home, "mine", {})
    fences.check(settings, home, "other", {})
    dr.delete("fences/other")
    fences.check(settings, home, "mine", {})


def test_a_home_that_met_a_fence_remembers_it(world: World, dr: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    """With the DR store gone, and out of the configuration: it is not written, and `status` says so."""
    world.write("a.txt", "alpha")
    version = ingest(world)
    with Reader.open(world.home) as reader:
        Archive(dr, print).fence(reader.manifest.lineage, "another", version, 1.0)
    with pytest.raises(Fenced):
        ingest(world)
    shutil.rmtree(dr.root)
    Path("penstock.toml").write_text("")
    with pytest.raises(Fenced, match="goes on in its stead"):
        ingest(world)
    main(["status", "--home", str(world.home), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith("Writing is refused: version 1 of this index was restored")
    assert not found["healthy"]
    assert {text for _, text in world.rows()} == {"alpha"}


def test_what_a_home_remembers_is_about_one_index(world: World, dr: LocalStore) -> None:
    """Another one that is restored over it is free; where it cannot be read nothing is written."""
    Archive(dr, print).fence("mine", "another", 1, 1.0)
    settings, home = load(Path("penstock.toml")), Home(world.home).path
    home.mkdir()
    for _ in range(2):
        with pytest.raises(Fenced):
            fences.check(settings, home, "mine", {})
        dr.delete("fences/another")
    fences.check(settings, home, "theirs", {})
    (home / fences.MET).write_bytes(b"x")
    with pytest.raises(Fenced, match="cannot be read"):
        fences.check_met(home, "theirs")
    fences.forget_unreadable(home)
    fences.check_met(home, "theirs")


def test_a_restored_index_shuts_the_old_one_out_of_its_new_dr_store_too(world: World, dr: LocalStore) -> None:
    """The old one with the new configuration is fenced: by the first run of it, whatever is mounted."""
    world.write("a.txt", "alpha")
    ingest(world)
    main(["ship", "--home", str(world.home), "--config", "penstock.toml", "--json"])
    old, new = world.home, world.home.with_name("new")
    assert main(["restore", "--from", str(dr.root), "--home", str(new), "--json"]) == 0
    with Reader.open(new) as reader:
        restored = reader.manifest.lineage
    Path("penstock.toml").write_text('[snapshots]\nstore = "next"\n')
    dr.delete("fences/" + restored)
    assert main(["ship", "--home", str(new), "--config", "penstock.toml", "--json"]) == 0
    assert list(dr.list("fences/")) == [f"fences/{restored}"]  # put again, though it is not shipped there any more
    shutil.rmtree(dr.root)
    with pytest.raises(Fenced, match="next"):
        ingest(world)
    assert (old / fences.MET).is_file()
    world.home = new
    world.write("b.txt", "beta")
    assert ingest(world) == 3
