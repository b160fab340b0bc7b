"""Restoring whole homes: what comes back, what the next ingest pays, and what a half-restored home says."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery.restoring import Request, Restored, restore
from penstock.flows.runs import upkeep
from penstock.index.stores.store import LocalStore
from tests.flows.children import ROOT
from tests.flows.conftest import World
from tests.flows.restore_child import Child, Ended
from tests.index.recovery.shipped import archive, ship, token


def shipped(world: World, to: Path) -> StorePlace:
    ship(LocalStore(world.home / "replicas" / "0", token=token), archive(to))
    return StorePlace(str(to))


def restored(home: Path, *places: StorePlace, **wish: object) -> Restored:
    lines: list[str] = []
    request = Request(places, **wish)  # type: ignore[arg-type]
    return restore(load(None), home, request, lines.append, lambda *_: None)


def findings(home: Path) -> list[object]:
    return list(upkeep.verify(load(None), homes.require(home), lambda *_: None))


@pytest.fixture
def full(world: World) -> World:
    """Twelve documents, in three versions."""
    for number in range(12):
        world.write(f"{number:02d}.txt", f"text number {number}")
    world.ingest()
    world.write("03.txt", "another third")
    world.ingest()
    world.write("late.txt", "came late")
    world.ingest()
    return world


def embedded(world: World) -> int:
    return len(world.encoder.embedded)


def test_the_next_ingest_pays_for_what_differs_and_nothing_else(full: World, tmp_path: Path) -> None:
    """The whole home is gone: unchanged sources cost nothing; 3 changed, 1 new and 2 deleted cost 4 and remove 2."""
    before, place = full.rows(), shipped(full, tmp_path / "dr")
    shutil.rmtree(full.home)
    restored(full.home, place)
    assert full.rows() == before
    paid = embedded(full)
    account = full.ingest()
    assert (account.indexed, account.deleted, embedded(full)) == (0, 0, paid)
    for number in (0, 5, 7):
        full.write(f"{number:02d}.txt", f"changed {number}")
    full.write("new.txt", "brand new")
    (full.docs / "01.txt").unlink()
    (full.docs / "02.txt").unlink()
    account = full.ingest()
    assert (account.indexed, account.deleted, embedded(full)) == (4, 2, paid + 4)
    assert findings(full.home) == []


MOMENTS = [("begun", 1), ("laid", 1), ("blob", 1), ("blob", 4), ("blob", 2), ("filled", 1), ("fenced", 1)]
MOMENTS += [("replica", 1), ("replica", 2), ("decided", 1)]


@pytest.mark.parametrize("by_chance", [False, True], ids=["at each step", "by chance"])
def test_a_restore_that_is_killed_ten_times_is_finished(full: World, tmp_path: Path, by_chance: bool) -> None:
    """SIGKILL, at each step of it or at any moment: the same command completes, with one lineage, and verifies."""
    place, home, chance = shipped(full, tmp_path / "dr"), tmp_path / "new", random.Random(7)
    ended = killed(
        Child(str(home), place.url, die_after=chance.uniform(0, 0.2))
        if by_chance
        else Child(str(home), place.url, f"restore.{point}", times)
        for point, times in MOMENTS
    )
    assert {each.status for each in ended} <= ({0, -signal.SIGKILL} if by_chance else {-signal.SIGKILL})
    done = restored(home, place)
    assert {each.lineage for each in ended} <= {done.lineage, ""}
    assert findings(home) == []
    assert (done.version, done.now) == (3, 4)
    assert not list(home.glob("replicas/*/tmp/*"))


def killed(children: Iterable[Child]) -> list[Ended]:
    """Run one after another until it dies, or is done before that."""
    argument = msgspec.json.encode(list(children)).decode()
    process = subprocess.run(
        [sys.executable, "-m", "tests.flows.restore_child", argument],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found: list[Ended] = msgspec.json.decode(process.stdout, type=list[Ended])
    return found
