"""Threads are as many as there are cores to run them."""

import os
from pathlib import Path

import pytest

from penstock.embed.engine.cores import cores


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def put(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(("said", "expected"), [("200000 100000", 2), ("250000 100000", 3), ("max 100000", 8), ("", 8)])
def test_a_quota_of_version_2_counts(tmp_path: Path, said: str, expected: int) -> None:
    """A share of a core is a core; no quota is none."""
    put(tmp_path, "cpu.max", said)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("-1", 8), ("1600000", 8)])
def test_a_quota_of_version_1_counts(tmp_path: Path, quota: str, expected: int) -> None:
    """At least one, and never more than the process is pinned to."""
    put(tmp_path, "cpu/cpu.cfs_quota_us", quota)
    put(tmp_path, "cpu/cpu.cfs_period_us", "100000")
    assert cores(tmp_path) == expected


def test_without_a_container_all_that_the_process_may_use(tmp_path: Path) -> None:
    """Nothing is said there."""
    assert cores(tmp_path / "absent") == 8
