"""A running ingest is asked to stop: politely once, at once the second time, and nothing is lost either way."""

from __future__ import annotations

import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.flows.answers.progress import Quiet
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.run import Run
from penstock.flows.runs.stop import Stop
from penstock.index.reading.reader import Reader
from tests.flows.children import ended, running, served, sound, until
from tests.flows.conftest import World
from tests.flows.ingest_child import Child
from tests.flows.test_kill import documents

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def child(world: World) -> Child:
    documents(world.docs, 60)
    return Child(str(world.home), [str(world.docs)], batch_seconds=0.3, shard_tokens=400)


def version(home: Path) -> int:
    """What a reader sees of a home that may be in the making."""
    try:
        with Reader.open(home) as reader:
            return reader.manifest.version
    except Exception:
        return 0


def stopped(process: subprocess.Popen[str], number: int, seconds: float) -> tuple[int, dict[str, Any], str]:
    """Signal it; it has to end within so many seconds."""
    process.send_signal(number)
    return ended(process, timeout=seconds)


@BOTH
def test_the_first_signal_ends_the_run_in_order(world: World, child: Child, tmp_path: Path, number: int) -> None:
    """Exit 1, an account that adds up, what was committed is served, and the same command completes it."""
    with running(child, tmp_path / "slots") as process:
        until(lambda: version(world.home) >= 1)
        code, account, err = stopped(process, number, 10)
    assert (code, account["listed"]) == (1, 60), err
    assert 0 < account["deferred"] < 60
    assert sum(account[state] for state in ("indexed", "rejected", "failed", "unchanged", "deferred")) == 60
    assert account["version"] == version(world.home), "what was acknowledged is what is served"
    assert f"{account['deferred']} documents to go; the same command goes on" in " ".join(account["messages"])
    assert "once more ends at once" in err and "Traceback" not in err
    rest = world.ingest()
    assert rest.exit_code() == 0 and rest.resumed > 0
    assert rest.indexed + rest.rejected == account["deferred"]
    sound(world.home)


def test_the_second_signal_ends_it_at_once(world: World, child: Child, tmp_path: Path) -> None:
    """130 within a moment though a batch takes seconds, and nothing is damaged."""
    child.batch_seconds = 120.0
    with running(child, tmp_path / "slots") as process:
        assert process.stderr is not None
        until(lambda: list((world.home / "spool").glob("shard-*/shard.json")))
        process.send_signal(signal.SIGINT)
        while "once more ends at once" not in process.stderr.readline():
            pass
        assert process.poll() is None, "it waits for its batch"
        code, _, _ = stopped(process, signal.SIGINT, 60)
    assert code == 130
    assert world.ingest().exit_code() == 0
    sound(world.home)
    home = world.home
    world.home = tmp_path / "clean"
    world.ingest()
    assert served(home) == served(world.home)


@BOTH
def test_a_signal_while_the_model_loads_is_answered(world: World, child: Child, tmp_path: Path, number: int) -> None:
    """Nobody waits for a model that is not needed any more: neither the answer nor the end of the process."""
    child.load_seconds = 60.0
    with running(child, tmp_path / "slots") as process:
        until(lambda: list((world.home / "spool").glob("shard-*/shard.json")))
        started = time.monotonic()
        code, account, err = stopped(process, number, 40)
        assert time.monotonic() - started < 30
    assert (code, account["deferred"], account["version"]) == (1, 60, 0), err
    assert world.ingest().exit_code() == 0


@BOTH
def test_a_signal_while_it_lists_is_an_interruption(world: World, child: Child, tmp_path: Path, number: int) -> None:
    """Nothing was begun, so nothing is finished: 130 and one line, no traceback."""
    child.list_seconds = 60.0
    with running(child, tmp_path / "slots") as process:
        until(lambda: (world.home / "catalog.db").exists())
        time.sleep(0.3)
        code, answer, err = stopped(process, number, 20)
    assert (code, answer["error"]["exit"]) == (130, 130)
    assert "same command again goes on" in answer["error"]["message"]
    assert "Traceback" not in err
    assert world.ingest().exit_code() == 0


def test_a_stop_never_leaves_a_complete_account_with_deletions_to_do(world: World) -> None:
    """Gone documents are deleted if nothing else is left to do; else they wait, and the exit code says 1."""
    for name in "abcdef":
        world.write(f"{name}.txt", f"text {name}")
    world.ingest()
    (world.docs / "a.txt").unlink()
    account = _stopped_before_it_began(world)
    assert (account.deleted, account.exit_code()) == (1, 0)
    (world.docs / "b.txt").rename(world.docs / "z.txt")
    account = _stopped_before_it_began(world)
    assert (account.deleted, account.deferred, account.exit_code()) == (0, 1, 1)
    assert ("docs/b.txt", "text b") in world.rows()


def _stopped_before_it_began(world: World) -> Accounting:
    stop = Stop()
    planned = Run(IngestRequest(home=str(world.home), targets=(str(world.docs),)), Quiet(), stop)
    stop.request()
    with ThreadPoolExecutor(3) as pool:
        return planned.execute(lambda pipeline: pipeline(lambda name, number, stage: pool.submit(stage)))
