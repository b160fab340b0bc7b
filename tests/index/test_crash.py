"""A real process is killed with SIGKILL at every named point; the next open finishes or discards, never half."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.index.commits import commit, epochs, recover
from tests.index.crash_child import CHANGE
from tests.index.world import World, delta, served

ROOT = Path(__file__).parents[2]
BEFORE = {"s/a": ["one", "two"], "s/b": ["three"]}
AFTER = {"s/a": ["uno", "dos"], "s/c": ["new", "one", "here"]}
COMMITTING = [p for p in commit.CRASH_POINTS if p not in recover.CRASH_POINTS]
EPOCH = ("epoch.marked", "epoch.rebuilt", "replica.admitted", "recover.published")
PER_REPLICA = ("blobs.put.one", "published.one")


def killed(home: Path, point: str, what: str, times: int = 1) -> str:
    """Run the child until it dies at `point`; return what it had acknowledged."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.index.crash_child", str(home), point, str(times), what],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == -signal.SIGKILL, (point, ran.stdout, ran.stderr)
    return ran.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    with World(home).create() as writer:
        writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[], World]:
    def fresh() -> World:
        home = tmp_path / "home"
        shutil.copytree(made, home)
        return World(home)

    return fresh


@pytest.mark.parametrize(
    ("point", "times"), [(p, n) for p in COMMITTING for n in ((1, 2) if p in PER_REPLICA else (1,))]
)
def test_a_commit_killed_anywhere_is_there_whole_or_not_at_all(
    copy: Callable[[], World], point: str, times: int
) -> None:
    """Killed between any two steps: before the catalog decided, nothing; after, everything, on every replica."""
    world = copy()
    # One publication per replica belongs to the open itself.
    offset = 2 if point == "published.one" else 0
    assert killed(world.root, point, "commit", times + offset) == "", "nothing was acknowledged yet"
    with world.open() as writer:
        decided = COMMITTING.index(point) >= COMMITTING.index("ratified")
        assert writer.head().version == (2 if decided else 1)
        assert served(writer.head(), world.stores()) == (AFTER if decided else BEFORE)
        assert world.findings() == []
        again = writer.commit(delta(1, CHANGE))
        assert again == commit.Committed(2), "the same delta again lands, or has landed already"
        assert served(writer.head(), world.stores()) == AFTER
    assert world.findings() == []
    assert not list((world.root / "work" / "writers").iterdir()), "nothing is left behind"
    assert writer._catalog.open_transactions() == []


@pytest.mark.parametrize(
    ("point", "times"),
    [("create.catalog", 1)]
    + [(point, n) for point in ("replica.epoch", "replica.marked", "replica.named") for n in (1, 2)],
)
def test_a_creation_killed_anywhere_goes_on(tmp_path: Path, point: str, times: int) -> None:
    """Whoever creates or opens the home next has a whole one."""
    killed(tmp_path, point, "create", times)
    world = World(tmp_path)
    with world.open() as writer:
        assert writer.commit(delta(0, {"s/a": "one"})).version == 1
    assert world.findings() == []


@pytest.mark.parametrize(
    "point", ["replica.copied", "replica.epoch", "replica.marked", "replica.named", "recover.published"]
)
def test_a_rebuild_killed_anywhere_goes_on(copy: Callable[[], World], point: str) -> None:
    """A replica that is being made again is absent until it is whole."""
    world = copy()
    shutil.rmtree(world.folder("1"))
    killed(world.root, point, "open")
    assert not world.folder("1").exists() or (world.folder("1") / "replica.json").exists()
    with world.open() as writer:
        assert served(writer.head(), {"1": world.stores()["1"]}) == BEFORE
    assert world.findings() == []


def test_a_recovery_killed_while_it_aborts_goes_on(copy: Callable[[], World]) -> None:
    """Clearing away after a dead writer may itself be cut short."""
    world = copy()
    killed(world.root, "blobs.put", "commit")
    killed(world.root, "recover.aborted", "open")
    with world.open() as writer:
        assert writer._catalog.open_transactions() == []
        assert writer.commit(delta(1, CHANGE)).version == 2
    assert world.findings() == []


@pytest.mark.parametrize(
    ("point", "times"), [("epoch.marked.one", 1), ("epoch.marked.one", 2), *((p, 1) for p in EPOCH)]
)
def test_a_new_epoch_killed_anywhere_goes_on(copy: Callable[[], World], point: str, times: int) -> None:
    """The catalog is made again by whoever opens next, perhaps in one epoch more; nothing is lost or doubled."""
    world = copy()
    (world.root / "catalog.db").unlink()
    killed(world.root, point, "open", times)
    with world.open() as writer:
        assert served(writer.head(), world.stores()) == BEFORE
        assert writer.commit(delta(writer.head().version, CHANGE)).version == 3
    assert world.findings() == []


def test_processes_at_once_on_one_catalog_all_land(copy: Callable[[], World]) -> None:
    """Each keeps its own documents; the one that all of them change is kept by exactly one."""
    world = copy()
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.index.crash_child", str(world.root), name, "3", "race"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("x", "y", "z")
    ]
    said = sorted(racer.communicate(timeout=120)[0].split() for racer in racers)
    assert [line[0] for line in said] == ["2", "3", "4"]
    assert sorted(line[1:] for line in said) == [[], ["s/a"], ["s/a"]]
    with world.open() as writer:
        found = served(writer.head(), world.stores())
    assert found.keys() == {"s/a", "s/b", *(f"s/{name}.{n}" for name in "xyz" for n in range(3))}
    assert found["s/a"][0] == "by"
    assert world.findings() == []


def test_every_named_point_is_killed_at_above() -> None:
    """A new crash point must get a test: this list fails first."""
    assert set(commit.CRASH_POINTS) == {
        *COMMITTING,
        "create.catalog",
        "replica.epoch",
        "replica.marked",
        "replica.named",
        "replica.copied",
        "replica.admitted",
        "recover.aborted",
        "recover.published",
        *epochs.CRASH_POINTS,
    }
