"""A home on a disk that takes nothing is read as before, and whoever looks after it is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from penstock.flows import cli, wiring
from penstock.flows.answers import readonly, verdict
from penstock.flows.answers.health import Health
from penstock.flows.answers.recovery import Recovery
from penstock.flows.answers.report import ReplicaStatus
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.metrics import judging
from penstock.flows.metrics.look import Look
from penstock.flows.metrics.watching import Watcher
from penstock.index.commits.delta import Delta
from penstock.index.types import DocState, DocText, Row, SourceState

MOUNT, UNMOUNT = shutil.which("mount"), shutil.which("umount")


def test_a_commit_needs_the_quorum_and_the_catalog(tmp_path: Path) -> None:
    """One of three replicas that takes nothing stops no writer; two of them do, and so does the catalog."""
    assert readonly.stops({"0": "no"}, 3, 2, None) == ""
    assert readonly.stops({"0": "no", "1": "neither"}, 3, 2, None) == "no"
    assert readonly.stops({}, 3, 2, tmp_path / "catalog.db") == ""
    assert readonly.refused(tmp_path) == readonly.refused(tmp_path / "not there") == ""


def test_rights_that_are_lacking_are_seen_below_the_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system answers for the user that asks; it answers root that everything may be written."""
    (tmp_path / "log").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "log")
    assert readonly.refused(tmp_path) == f"{tmp_path / 'log'}: this user may not write there"


def replica(name: str, takes: bool) -> ReplicaStatus:
    problem = "" if takes else "the file system is read-only"
    return ReplicaStatus(name, "s3://b/p", True, 0, 10, problem, takes, readonly=not takes)


def test_reading_goes_on_where_nothing_can_be_written() -> None:
    """With the step that helps; where enough others take the commit, writing goes on too."""
    said, step, healthy = verdict.stopped(
        None,
        [replica("0", False)],
        1,
        Health(readonly="/r: the file system is read-only"),
        "",
        Recovery(),
    ) or ("", "", True)
    assert said == "Read-only: /r: the file system is read-only; nothing can be written, reading goes on."
    assert step.startswith("make it writable again") and not healthy
    both = [replica("0", True), replica("1", False)]
    said, step, healthy = verdict.stopped(None, both, 1, Health(), "", Recovery()) or ("", "", True)
    assert said.startswith("Under-replicated: replica 1 can be read and takes nothing; writing goes on") and not healthy


def test_watch_counts_it_as_a_problem_of_writing() -> None:
    """Searches go on, so that nothing else would say it."""
    limits = judging.Limits(1.0, 1.0, 1.0, 0.0)
    [found] = judging.problems(Look("h", 0.0), Health(readonly="/r: the file system is read-only"), None, limits, "")
    assert (found.kind, found.step) == ("writing", readonly.STEP) and "reading goes on: /r" in found.said


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skipped where none may be mounted."""
    if os.geteuid() != 0 or MOUNT is None or UNMOUNT is None:
        pytest.skip("only root mounts")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run([MOUNT, "-t", "tmpfs", "none", str(place)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run([UNMOUNT, "-l", str(place)], check=True)


def test_a_home_that_is_mounted_read_only_is_served_and_says_so(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` ends with 0 and tells what stops writing; the watch has a problem of writing, and can search."""
    made = homes.create(disk / "home")
    with wiring.open_writer(load(None), made, lambda line: None) as writer:
        state = DocState("docs/a", "docs", "indexed", version="1", chunks=1, tokens=3)
        writer.commit(
            Delta(
                0,
                [state],
                vectors=np.eye(2, dtype=np.float32)[:1],
                rows=lambda: iter([Row("id", "docs/a", "text", 0, 4, 3)]),
                texts=lambda: iter([DocText("docs/a", "sha", "text")]),
                sources={"docs": SourceState("docs", "files", str(disk))},
                identity={"weights": "w"},
                dim=2,
            )
        )
    assert MOUNT is not None
    subprocess.run([MOUNT, "-o", "remount,ro", str(disk)], check=True)
    capsys.readouterr()
    assert cli.main(["status", "--home", str(made.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"].startswith("Read-only: ") and "the file system is read-only" in shown["verdict"]
    assert [shown["documents"], shown["healthy"]] == [1, False]
    assert [(one["reachable"], one["writable"]) for one in shown["replicas"]] == [(True, False)] * 2
    watcher = Watcher(load(None), made, lambda line: None)
    look = watcher.look()
    watcher.close()
    assert look.up and look.version == 1 and "writing" in {problem.kind for problem in look.problems}
    assert msgspec.json.encode(look)
