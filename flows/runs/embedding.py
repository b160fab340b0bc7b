"""The second stage: a shard's token ids through the model, into the spool every few seconds.

The only stage that holds a device slot. What a killed run had embedded is read back, not embedded again: a
vector depends only on its text, so the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.embed.cache import Cache, NoCache, key_of
from penstock.embed.types import Encoder
from penstock.flows.runs import slots
from penstock.flows.runs.moved import Donors, nobody
from penstock.flows.spools.spool import Shard, VectorLog


@dataclass(slots=True)
class Embedded:
    """What one call did. `complete` is False when a stop was requested first. Tokens exclude padding."""

    complete: bool
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0
    read_back: int = 0
    """Chunks whose vectors were in the spool already."""
    reused_tokens: int = 0
    """Tokens of chunks whose text was embedded before: by another run, or elsewhere in this shard."""


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
        cache: Cache | None = None,
        donors: Donors = nobody,
    ) -> None:
        self._encoder, self._slots = encoder, slots_directory
        self._clock, self._sleep, self._stopped = clock, sleep, stopped
        self._note, self._advanced, self._stage = note, advanced, stage
        self._flush_seconds = flush_seconds
        self._cache, self._donors = cache or NoCache(), donors

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
        keys, uris = _texts(shard, pending, key_of(encoder.identity))
        buffer = _Buffer(log, self._cache, keys)
        buffer.fill(self._cache.get(buffer.lacking, encoder.dim))
        if buffer.lacking:
            buffer.fill(self._donors(buffer.lacking, uris))
        result.reused_tokens = sum(len(ids[position]) for position in buffer.filled)
        pending = buffer.first_of_equals(pending)
        last_flush = started
        try:
            for batch in encoder.encode([ids[position] for position in pending]):
                buffer.add(pending[batch.positions], batch.vectors)
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
        if result.complete:
            if missing := len(done) - result.read_back - buffer.written:
                raise RuntimeError(f"the encoder returned {missing} vectors too few; nothing was committed")
            result.reused_tokens += sum(len(ids[position]) for position in buffer.copied)
        result.seconds = self._clock() - started
        return result


def _texts(shard: Shard, pending: NDArray[np.int64], key: Callable[[str], bytes]) -> tuple[dict[int, bytes], set[str]]:
    """The key of the text at each pending position, and the uris that these are of."""
    wanted, keys, uris = set(pending.tolist()), dict[int, bytes](), set[str]()
    for position, row in enumerate(shard.rows()):
        if position in wanted:
            keys[position] = key(row.text)
            uris.add(row.uri)
    return keys, uris


class _Buffer:
    """Vectors on their way to the log and the cache; each goes to every position with the same text."""

    def __init__(self, log: VectorLog, cache: Cache, keys: Mapping[int, bytes]) -> None:
        self._log, self._cache, self._keys = log, cache, keys
        self._equals: dict[bytes, list[int]] = {}
        for position, key in keys.items():
            self._equals.setdefault(key, []).append(position)
        self._positions: list[int] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._fresh: dict[bytes, NDArray[np.float32]] = {}
        self.filled: list[int] = []
        """Positions whose vectors were there before."""
        self.copied: list[int] = []
        """Positions that got the vector of an equal text of this shard."""
        self.written = 0

    @property
    def lacking(self) -> list[bytes]:
        """The keys of texts without a vector so far."""
        return list(self._equals)

    def fill(self, found: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Give these vectors to the positions that they are of."""
        for key, vector in found.items():
            positions = self._equals.pop(key)
            self._positions += positions
            self._vectors += [vector] * len(positions)
            self.filled += positions
        self.flush()

    def first_of_equals(self, pending: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions that the device has to do: of equal texts, the first."""
        first = {positions[0] for positions in self._equals.values()}
        return np.asarray([position for position in pending.tolist() if position in first], dtype=np.int64)

    def add(self, positions: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        for position, vector in zip(positions.tolist(), vectors, strict=True):
            key = self._keys[position]
            same = self._equals[key]
            self._fresh[key] = vector
            self._positions += same
            self._vectors += [vector] * len(same)
            self.copied += same[1:]

    def flush(self) -> None:
        """The log first: the cache is only for cost."""
        if not self._positions:
            return
        self._log.append(np.asarray(self._positions, dtype=np.int64), np.stack(self._vectors))
        self.written += len(self._positions)
        self._cache.put(self._fresh)
        self._positions, self._vectors, self._fresh = [], [], {}
