"""Workers around an engine of the tests, and sequences to embed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.embed.types import EncoderSpec
from penstock.embed.worker.process import WorkerEncoder
from penstock.embed.worker.types import Patience

ROOT = Path(__file__).parents[3]
SHORT = Patience(load=20.0, first=20.0, batch=20.0, farewell=5.0)
MakeWorker = Callable[..., WorkerEncoder]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> Iterator[MakeWorker]:
    """Makes workers, and sees to it that none outlives the test."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    made: list[WorkerEncoder] = []

    def worker(spec: EncoderSpec, **options: Any) -> WorkerEncoder:
        options = {"engine": "tests.embed.worker.engines:load", "patience": SHORT, **options}
        made.append(WorkerEncoder(spec, clock=time.monotonic, note=notes.append, **options))
        return made[-1]

    yield worker
    for each in made:
        each.close()
