"""What `bench/gpu` does to an engine: takes its memory away, kills its process, stops it. All texts must still come."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np

Ids = Sequence[Sequence[int]]


def without_memory(engine: Any, ids: Ids, expected: np.ndarray) -> dict[str, Any]:
    """Every batch larger than an eighth of the budget, and 256 tokens, is refused with torch's own error."""
    import torch

    path, most = engine._path, max(256, int(engine.provenance["budget"]) // 8)
    refused = 0

    class Small:
        def __getattr__(self, name: str) -> Any:
            return getattr(path, name)

        def start(self, rows: Any, work: Any, **options: Any) -> Any:
            nonlocal refused
            if work.padded > most and len(work.positions) > 1:
                refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB (injected by bench/gpu)")
            return path.start(rows, work, **options)

    engine._path = Small()
    try:
        found = judged(engine, ids, expected)
        return found | {"batches_refused": refused}
    finally:
        engine._path = path


def with_little_memory(engine: Any, ids: Ids, expected: np.ndarray, device: str) -> dict[str, Any]:
    """The process may have the weights and two fifths of what its batches took: torch's allocator says no for real."""
    import torch

    total = torch.cuda.get_device_properties(device).total_memory
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    judged(engine, ids, expected)
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.empty_cache()
    allowed = held + 0.4 * (peak - held)
    torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        found = judged(engine, ids, expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    again = judged(engine, ids, expected)
    return found | {"peak_mb": round(peak / 1e6), "allowed_mb": round(allowed / 1e6), "regrown": again}


def of_a_worker(spec: Any, ids: Ids, expected: np.ndarray, number: signal.Signals) -> dict[str, Any]:
    """The engine's process gets a signal after its first batch; it is started again, and the rest comes."""
    from penstock.embed.worker.process import WorkerEncoder
    from penstock.embed.worker.types import Patience

    notes: list[str] = []
    before = set(machine.tree(os.getpid()))
    patience = Patience(first=120.0, batch=5.0, factor=5.0)
    worker = WorkerEncoder(spec, clock=time.monotonic, note=notes.append, patience=patience).ready()
    try:
        children = [pid for pid in machine.tree(os.getpid()) if pid not in before and "penstock" in _command(pid)]
        sent: list[int] = []

        def strike(_: int) -> None:
            if not sent:
                sent.append(children[0])
                os.kill(children[0], number)

        found = judged(worker, ids, expected, after_each=strike)
    finally:
        worker.close()
    return found | {"signal": number.name, "notes": notes}


def judged(encoder: Any, ids: Ids, expected: np.ndarray, after_each: Any = None) -> dict[str, Any]:
    """Whether each position came once, and with the same bits as before."""
    vectors = np.full_like(expected, np.nan)
    times = np.zeros(len(ids), np.int64)
    refused, started = 0, time.perf_counter()
    for batch in encoder.encode(ids):
        vectors[batch.positions] = batch.vectors
        np.add.at(times, batch.positions, 1)
        for one in batch.refused:
            times[one.position] += 1
            refused += 1
        if after_each is not None:
            after_each(len(batch.positions))
    other = int((vectors != expected).any(axis=1).sum())
    return {
        "texts": len(ids),
        "accounted_for": bool((times == 1).all()),
        "refused": refused,
        "other_bits": other,
        "seconds": round(time.perf_counter() - started, 2),
    }


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
