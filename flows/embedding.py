"""The second stage: a shard's token ids through the model, into the spool every few seconds.

The only stage that holds a device slot. What a killed run had embedded is read back, not embedded again: a
vector depends only on its text, so the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoder
from penstock.flows import slots
from penstock.flows.spool import Shard, VectorLog


@dataclass(slots=True)
class Embedded:
    """What one call did. `complete` is False when a stop was requested first. Tokens exclude padding."""

    complete: bool
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0
    read_back: int = 0
    """Chunks whose vectors were in the spool already."""


class Embedder:
    """Embeds shards on one device. `flush_seconds` bounds what a kill can cost."""

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        *,
        slots_directory: Path,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        advanced: Callable[[int], None],
        stage: Callable[[str], None],
        flush_seconds: float = 2.0,
    ) -> None:
        self._encoder, self._slots = encoder, slots_directory
        self._clock, self._sleep, self._stopped = clock, sleep, stopped
        self._note, self._advanced, self._stage = note, advanced, stage
        self._flush_seconds = flush_seconds

    def embed(self, shard: Shard) -> Embedded:
        """Make every vector of the shard, but for those that are there; blocks until the slot is ours."""
        if shard.marker.chunks == 0:
            return Embedded(complete=True)
        encoder = self._encoder()
        self._stage("embedding")
        device = encoder.provenance.get("device", "cpu")
        with slots.hold(
            device,
            where=self._slots,
            sleep=self._sleep,
            stopped=self._stopped,
            waiting=lambda: self._note(f"another run holds {device}; waiting for it"),
        ) as held:
            return self._run(shard, encoder) if held else Embedded(complete=False)

    def _run(self, shard: Shard, encoder: Encoder) -> Embedded:
        started = self._clock()
        log = shard.vectors()
        _, done = log.load(encoder.dim)
        pending = np.flatnonzero(~done)
        result = Embedded(complete=True, read_back=int(done.sum()))
        ids = shard.ids()
        buffer = _Buffer(log, pending)
        last_flush = started
        try:
            for batch in encoder.encode([ids[position] for position in pending]):
                buffer.add(batch.positions, batch.vectors)
                result.tokens += batch.tokens
                result.padded += batch.padded
                self._advanced(batch.tokens)
                if self._clock() - last_flush >= self._flush_seconds:
                    buffer.flush()
                    last_flush = self._clock()
                if self._stopped():
                    result.complete = False
                    break
        finally:
            buffer.flush()
            log.close()
        if result.complete and buffer.written != len(pending):
            raise RuntimeError(
                f"the encoder returned {buffer.written} of {len(pending)} vectors; nothing was committed"
            )
        result.seconds = self._clock() - started
        return result


class _Buffer:
    """Batches on their way to the vector log, `pending` mapping the encoder's positions to the shard's."""

    def __init__(self, log: VectorLog, pending: NDArray[np.int64]) -> None:
        self._log, self._pending = log, pending
        self._positions: list[NDArray[np.int64]] = []
        self._vectors: list[NDArray[np.float32]] = []
        self.written = 0

    def add(self, positions: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._positions.append(self._pending[positions])
        self._vectors.append(vectors)

    def flush(self) -> None:
        if not self._positions:
            return
        positions, vectors = np.concatenate(self._positions), np.concatenate(self._vectors)
        self._positions, self._vectors = [], []
        self._log.append(positions, vectors)
        self.written += len(positions)
