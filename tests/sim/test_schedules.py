"""A slice of the simulation, and that the simulation sees what it is made to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.index.commits import replicas
from penstock.index.errors import IndexFault
from tests.sim.disk import Disk, SimStore
from tests.sim.scheduler import Process, Scheduler
from tests.sim.world import run
from tests.suites.store_suite import StoreSuite

ROOT = Path(__file__).parents[2]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.sim", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


def test_nothing_is_lost_in_any_schedule_of_a_slice() -> None:
    """Crashes, zombies, duels, lost replies, outages and damage within the budget: no promise breaks."""
    told = simulate("--schedules", "60", "--steps", "1500", "--seconds", "12", "--json")
    counts = json.loads(told.stdout.splitlines()[-1])
    assert (counts["lost"], counts["failed_seeds"], told.returncode) == (0, [], 0), told.stderr
    assert counts["acked"] > 0 and counts["crashes"] > 0 and counts["faults"]


def test_what_is_shipped_in_any_schedule_is_whole_and_part_of_the_history() -> None:
    """The same, with processes that ship, with stale configurations too: never half a version, never one that was
    decided otherwise."""
    told = simulate("--seed", "203", "--schedules", "3", "--steps", "1000", "--profile", "shipped", "--json")
    counts = json.loads(told.stdout.splitlines()[-1])
    assert (counts["lost"], counts["failed_seeds"], told.returncode) == (0, [], 0), told.stderr
    assert counts["faults"]["shipped"] > 0


def test_a_seed_replays_the_same_schedule(tmp_path: Path) -> None:
    """Every step of two runs is the same: what failed once can be looked at."""
    first, second = (run(tmp_path / name, 7, 800, "budget") for name in "ab")
    assert first.digest == second.digest and first.steps == second.steps > 800


def test_a_failure_is_told_with_the_command_that_replays_it(tmp_path: Path) -> None:
    """A profile that does not exist is refused, not run as another one."""
    told = simulate("--seed", "1", "--profile", "nonsense")
    assert told.returncode == 2 and "nonsense" in told.stderr


class TestSimStore(StoreSuite):
    """Without faults the simulated store keeps the contract of every store."""

    @pytest.fixture
    def store(self) -> SimStore:
        return SimStore(Disk("a"), Process("p", "p", None), Scheduler(1, 0, lambda _: "ok"), {})  # type: ignore[arg-type]


def forget_blobs(patch: pytest.MonkeyPatch) -> None:
    """A writer that does not wait for its blobs to be stored."""
    patch.setattr(replicas.Replicas, "require", lambda self, what, outcomes: self._say(outcomes))


def copy_nothing(patch: pytest.MonkeyPatch) -> None:
    """A replica that lacks blobs of a version gets its record all the same."""
    patch.setattr(replicas.Replicas, "_ensure", lambda *_: None)


@pytest.mark.parametrize("sabotage", [forget_blobs, copy_nothing])
@pytest.mark.slow
def test_a_product_without_its_safeguards_is_caught(
    sabotage: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulation finds a writer that does not wait, and one that publishes what is not there."""
    for seed in range(1, 60):
        with monkeypatch.context() as patch:
            sabotage(patch)
            broken = run(tmp_path / f"without {seed}", seed, 1500, "budget").violations
        if broken and not run(tmp_path / f"with {seed}", seed, 1500, "budget").violations:
            return
    pytest.fail("no schedule breaks without the safeguard and is silent with it")


def test_a_simulated_fault_is_a_named_error() -> None:
    """What the world does to the code under test is what real stores may do, by contract."""
    store = SimStore(Disk("a"), Process("p", "p", None), Scheduler(1, 0, lambda _: "ok"), {})  # type: ignore[arg-type]
    with pytest.raises(IndexFault):
        store._reply("lost")
