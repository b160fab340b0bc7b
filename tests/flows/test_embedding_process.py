"""A run whose model is in a process of its own, as in life: that process may die, and never outlives the run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import processes
from tests.flows.children import ROOT, ended, running, served, sound, until
from tests.flows.conftest import World
from tests.flows.ingest_child import Child
from tests.flows.test_kill import documents

PATHS = {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def child(world: World, tmp_path: Path) -> Child:
    documents(world.docs, 40)
    (tmp_path / "workers").mkdir()
    return Child(str(world.home), [str(world.docs)], worker=str(tmp_path / "workers"), batch_seconds=0.1)


def workers(child: Child) -> list[int]:
    return [int(path.name) for path in Path(child.worker).iterdir()]


def test_a_process_that_is_killed_costs_no_document(world: World, child: Child, tmp_path: Path) -> None:
    """Another one goes on; what comes out is what would have come out anyway."""
    with running(child, tmp_path / "slots", PATHS) as process:
        until(lambda: workers(child) and list((world.home / "spool").glob("shard-*/vectors.log")))
        os.kill(workers(child)[0], signal.SIGKILL)
        code, account, err = ended(process)
    assert (code, account["deferred"], account["listed"]) == (0, 0, 40), err
    assert len(workers(child)) == 2 and all(map(processes.gone, workers(child)))
    sound(world.home)
    found = served(world.home)
    world.home = tmp_path / "other"
    world.ingest()
    assert served(world.home) == found


@pytest.mark.parametrize("loading", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_process_never_outlives_the_run(
    child: Child, world: World, tmp_path: Path, number: int, loading: bool
) -> None:
    """However the run ends, and whatever the process does at that moment."""
    child.load_seconds = 60.0 if loading else 0.0
    with running(child, tmp_path / "slots", PATHS) as process:
        until(lambda: workers(child) and (loading or list((world.home / "spool").glob("shard-*/vectors.log"))))
        process.send_signal(number)
        process.wait(60)
        assert process.returncode == (1 if number == signal.SIGINT else -number)
    until(lambda: all(map(processes.gone, workers(child))), 20)
    assert world.ingest().exit_code() == 0
    sound(world.home)
