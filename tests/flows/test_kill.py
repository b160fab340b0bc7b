"""Real processes die by SIGKILL in the middle of an ingest; the next run ends where a clean build does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from penstock.index.commits import commit, recover
from tests import processes
from tests.flows.children import ended, killed_at, running, served, sound
from tests.flows.conftest import World
from tests.flows.ingest_child import FLOW_POINTS, Child

KILLS = 8
BATCH_SECONDS, FLUSH_SECONDS, BATCH_ROWS = 0.01, 0.05, 4
COMMIT_POINTS = [point for point in commit.CRASH_POINTS if point not in recover.CRASH_POINTS]
MAKING_POINTS = ["create.catalog", "replica.epoch", "replica.marked"]


def documents(folder: Path, count: int) -> None:
    """Small documents in folders, some of several chunks, some that are rejected."""
    for number in range(count):
        path = folder / f"{number % 5}" / f"{number:03d}.{('txt', 'md')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = (f"Document {number} says that part {part} is kept in place {part * number}." for part in range(30))
        path.write_text("" if number % 25 == 24 else " ".join([f"number {number}", *words][: 3 + number % 25]))


@pytest.fixture
def seed() -> int:
    """PENSTOCK_KILL_SEED replays the moments of a failure."""
    said = os.environ.get("PENSTOCK_KILL_SEED")
    return int(said) if said else random.SystemRandom().randrange(1 << 32)


def test_killed_at_random_moments_it_ends_where_a_clean_build_does(world: World, tmp_path: Path, seed: int) -> None:
    """Same rows, ids and scores; nothing is wrong, nothing left over, nothing embedded that no kill explains."""
    documents(world.docs, 150)
    slots, log = tmp_path / "slots", tmp_path / "embedded"
    child = Child(str(world.home), [str(world.docs)], batch_seconds=BATCH_SECONDS, flush_seconds=FLUSH_SECONDS)
    clean = Child(str(tmp_path / "clean"), child.targets, batch_seconds=BATCH_SECONDS)
    with running(clean, slots) as process:
        started = time.monotonic()
        assert ended(process)[0] == 0
        whole = time.monotonic() - started
    child.embedded = str(log)
    dice, killed, moments = random.Random(seed), 0, []
    for _ in range(KILLS):
        moments.append(round(dice.uniform(0.0, whole * 0.8), 3))
        killed += _killed_after(moments[-1], child, slots)
    with running(child, slots) as process:
        code, account, err = ended(process)
    replay = f"PENSTOCK_KILL_SEED={seed}, killed after {moments} s"
    assert (code, account["listed"]) == (0, 150), (replay, account, err)
    assert served(world.home) == served(tmp_path / "clean"), replay
    sound(world.home)
    assert killed, "no kill came while a run was under way"
    often = Counter(log.read_text().split())
    lost = killed * BATCH_ROWS * (2 + int(FLUSH_SECONDS / BATCH_SECONDS))
    assert len(often) <= often.total() <= len(often) + lost, replay


def _killed_after(seconds: float, child: Child, slots: Path) -> bool:
    """Whether it was still running."""
    with running(child, slots) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("point", [*MAKING_POINTS, *COMMIT_POINTS, *FLOW_POINTS])
def test_killed_at_each_point_of_a_first_ingest(world: World, tmp_path: Path, point: str) -> None:
    """Between any two steps, from making the index to emptying the spool: the next run is as a clean build."""
    documents(world.docs, 12)
    child = Child(str(world.home), [str(world.docs)], die_at=point)
    killed_at(child, tmp_path / "slots")
    _same_as_clean(world)


@pytest.mark.parametrize("point", ["blobs.put.one", "ratified", "published.one", "shard.committed"])
def test_killed_while_it_replaces_and_deletes(world: World, tmp_path: Path, point: str) -> None:
    """Changed documents are there in one version and removed ones not at all, wherever an update was killed."""
    documents(world.docs, 12)
    world.ingest()
    for number, path in enumerate(sorted(world.docs.rglob("*.*"))):
        if number % 3 == 0:
            path.write_text(f"it was changed, says {number}")
        elif number % 3 == 1:
            path.unlink()
    killed_at(Child(str(world.home), [str(world.docs)], die_at=point), tmp_path / "slots")
    _same_as_clean(world)


def _same_as_clean(world: World) -> None:
    account = world.ingest()
    assert account.exit_code() == 0
    after, home = served(world.home), world.home
    sound(home)
    world.home = home.with_name("clean")
    world.ingest()
    assert after == served(world.home)


def test_a_parser_process_never_outlives_the_run(world: World, tmp_path: Path) -> None:
    """SIGKILL leaves nobody behind to tidy up: the kernel does."""
    documents(world.docs, 60)
    child = Child(str(world.home), [str(world.docs)], batch_seconds=0.2)
    with running(child, tmp_path / "slots") as process:
        workers = _children_of(process.pid)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while not all(map(processes.gone, workers)):
        assert time.monotonic() < deadline, "a parser process is an orphan"
        time.sleep(0.02)


def _children_of(pid: int) -> set[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := processes.children(pid):
            return found
        time.sleep(0.02)
    raise AssertionError("no parser process was started")


def test_two_ingests_at_the_same_time_both_land_whole(world: World, tmp_path: Path) -> None:
    """Two folders into one new home: neither waits for the other to finish, and neither loses anything."""
    other = tmp_path / "other"
    documents(world.docs, 40)
    documents(other, 30)
    slots = tmp_path / "slots"
    children = [Child(str(world.home), [str(folder)], batch_seconds=0.005) for folder in (world.docs, other)]
    with running(children[0], slots) as one, running(children[1], slots) as two:
        first, second = ended(one), ended(two)
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert (first[1]["listed"], second[1]["listed"]) == (40, 30)
    both, home = served(world.home), world.home
    sound(home)
    world.home = home.with_name("clean")
    world.ingest(world.docs, other)
    assert both == served(world.home)
