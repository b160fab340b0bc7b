"""A real server, worker and flow processes die or are stopped in the middle of runs: work that is committed stays,
nothing is embedded twice, each run ends in a state that is true, and the next one goes on.

Only the model and the size of shards are not real. What takes minutes is in tests/proof/operations.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests import processes
from tests.flows.crash_world import Crashes, World, command, flow_process, kill, until
from tests.flows.prefect_server import patience

LONG, SHORT = {"batch_seconds": 0.5, "shard_tokens": 400}, {"batch_seconds": 0.25, "shard_tokens": 400}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    server = Crashes(tmp_path_factory.mktemp("prefect"))
    try:
        server.serve()
        server.prepare()
        server.work()
        yield server
    finally:
        server.end()


@pytest.fixture(autouse=True)
def whole(prefect: Crashes) -> None:
    """Whatever the test before took away is there again."""
    prefect.restore()


@dataclass
class Ended:
    """A run that something was done to in its middle. `before`: the version at that moment; `seconds`: how long after
    it the process was gone."""

    world: World
    run: str
    before: int = 0
    seconds: float = 0.0


@pytest.fixture(scope="module")
def runs(prefect: Crashes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Three runs at the same time, each with a home of its own and far from its end, 4 documents a shard."""
    acts: dict[str, Callable[[Ended, int], None]] = {
        "cancelled": lambda ended, process: prefect.cancel(ended.run),
        "stopped": lambda ended, process: os.kill(process, signal.SIGTERM),
        "killed": lambda ended, process: os.kill(process, signal.SIGKILL),
    }
    worlds = {name: World(tmp_path_factory.mktemp(name), 160, **LONG) for name in acts}
    ends = {name: Ended(world, prefect.submit(world)) for name, world in worlds.items()}
    waiting, acted = set(acts), {}
    for _ in patience():
        for name in [name for name in waiting if worlds[name].version() >= 2]:
            ends[name].before, process = worlds[name].version(), flow_process(worlds[name])
            acts[name](ends[name], process)
            acted[name] = process, time.monotonic()
            waiting.remove(name)
        if not waiting:
            break
    for name, (process, at) in acted.items():
        until(partial(processes.gone, process), 60)
        ends[name].seconds = time.monotonic() - at
    return ends


def goes_on(prefect: Crashes, world: World, again: int = 0) -> None:
    """The next run does what is left, and embeds at most so many passages again."""
    world.child.batch_seconds = 0.0
    done = world.version()
    with command(prefect, world, {"PREFECT_API_URL": ""}) as process:
        _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert world.version() > done and world.indexed() == world.documents
    assert world.twice() <= again


def test_cancelled_in_prefect_it_finishes_the_commit_in_hand(prefect: Crashes, runs: dict[str, Ended]) -> None:
    """The state is Cancelled, within the grace that Prefect gives before it kills; what was committed stays."""
    ended = runs["cancelled"]
    assert prefect.ended(ended.run)["type"] == "CANCELLED"
    assert ended.seconds < 30
    assert ended.before <= ended.world.version() < 30, "it stopped at the shard in hand"
    goes_on(prefect, ended.world)
    assert prefect.state(ended.run) == ("CANCELLED", "Cancelled"), "nobody said otherwise since"


def test_told_to_end_by_an_orchestrator_it_says_that_work_is_left(prefect: Crashes, runs: dict[str, Ended]) -> None:
    """SIGTERM: over within the 30 s after which an orchestrator kills; neither plainly Completed, nor Crashed."""
    ended = runs["stopped"]
    state = prefect.ended(ended.run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Stopped")
    assert ended.seconds < 30
    assert f"{ended.world.indexed()} indexed" in state["message"] and " 0 deferred" not in state["message"]
    goes_on(prefect, ended.world)


def test_a_flow_process_that_is_killed_crashed(prefect: Crashes, runs: dict[str, Ended]) -> None:
    """The worker sees it and says so; the next run takes over what lies embedded in the spool."""
    ended = runs["killed"]
    assert prefect.ended(ended.run)["type"] == "CRASHED"
    goes_on(prefect, ended.world, again=8)  # what was in hand when it died


def test_a_server_that_is_away_is_not_in_the_way(prefect: Crashes, tmp_path: Path) -> None:
    """While it is down shards are embedded and committed; when it is back the run ends as Completed."""
    world = World(tmp_path, 60, **SHORT)
    run = prefect.submit(world)
    world.until_version(2)
    prefect.lose_server()
    at = world.version()
    world.until_version(at + 4)
    prefect.serve()
    state = prefect.ended(run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Completed")
    assert state["message"].startswith(f"version {world.version()}: 60 indexed")
    assert world.indexed() == 60 and world.twice() == 0
    for _ in patience():  # what could not be told meanwhile is told late
        if set(prefect.tasks(run)) == {"COMPLETED"}:
            break


def test_a_run_whose_worker_is_killed_finishes_beside_the_next(prefect: Crashes, tmp_path: Path) -> None:
    """It ends truthfully though nobody reads its log any more; a second run of the source waits for it."""
    world = World(tmp_path, 60, **SHORT)
    first = prefect.submit(world)
    world.until_version(2)
    kill(prefect.worker)
    prefect.work()
    second = prefect.submit(world)
    assert prefect.ended(first)["name"] == "Completed"
    assert world.indexed() == 60
    assert prefect.ended(second)["message"].startswith(f"version {world.version()}: 0 indexed, 60 unchanged")
    assert world.twice() == 0


def test_ctrl_c_of_a_recorded_command_is_told(prefect: Crashes, tmp_path: Path) -> None:
    """Exit 1 and the state Stopped: work is left, and the same command goes on."""
    world = World(tmp_path, 160, **LONG)
    before = set(prefect.runs())
    with command(prefect, world) as process:
        world.until_version(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 1, err
    (run,) = set(prefect.runs()) - before
    assert prefect.state(run) == ("COMPLETED", "Stopped")
    goes_on(prefect, world)


def test_a_recorded_command_ends_without_its_server(prefect: Crashes, tmp_path: Path) -> None:
    """It waits a while to tell how it ended, and not longer than the person: Ctrl-C ends it, as the run ended."""
    world = World(tmp_path, 24, **SHORT)
    with command(prefect, world) as process:
        world.until_version(1)
        prefect.lose_server()
        lines = heard(process, "waiting up to")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, "".join(lines) + err
    assert "record of this run is not complete" in err
    assert world.indexed() == 24


def heard(process: subprocess.Popen[str], words: str) -> list[str]:
    """What it says on stderr, up to a line with these words."""
    lines: list[str] = []
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert line, "".join(lines)
        lines.append(line)
    return lines
