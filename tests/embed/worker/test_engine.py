"""The real model in a process of its own."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from penstock.embed import models
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import EncoderSpec
from penstock.embed.worker.process import WorkerEncoder
from tests import processes
from tests.embed.worker.results import collected

TEXTS = [" ".join(f"word{k} about wings and boundary layers," for k in range(n % 23)) + f" {n}" for n in range(60)]


def test_a_kill_in_the_middle_changes_no_bit(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the vectors from one process, half from the next: the same as all from one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ids = [ids[:256] for ids in tokenizer.encode_batch(TEXTS)]
    notes: list[str] = []
    worker = WorkerEncoder(EncoderSpec(model=models.DEFAULT, threads=1), clock=time.monotonic, note=notes.append)
    try:
        worker.ready()
        whole, _ = collected(worker.encode(ids), len(ids), worker.dim)
        batches = worker.encode(ids)
        came = [next(batches)]
        (pid,) = _children()
        os.kill(pid, signal.SIGKILL)
        broken, _ = collected([*came, *batches], len(ids), worker.dim)
    finally:
        worker.close()
    assert np.array_equal(whole, broken)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert len(notes) == 1 and "SIGKILL" in notes[0]


def _children() -> set[int]:
    """The embedding processes of this one."""
    commands = {pid: processes.read(processes.PROC / str(pid) / "cmdline") for pid in processes.children()}
    return {pid for pid, command in commands.items() if b"embed.worker.child" in command}
