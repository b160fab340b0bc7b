"""The vectors of one shard, from wherever they come to its log; each goes to every position with the same text."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.cache import Cache, key_of
from penstock.embed.types import Encoded, Encoder, Refused
from penstock.flows.runs.moved import Donors
from penstock.flows.spools.row_texts import RowTexts
from penstock.flows.spools.spool import Shard


class Filling:
    """A shard's log being filled. One thread at a time; writes on a thread of its own, so that no device waits."""

    def __init__(self, shard: Shard, encoder: Encoder, cache: Cache) -> None:
        self._shard, self._cache, self._dim = shard, cache, encoder.dim
        self.ids = shard.ids()
        self._log = shard.vectors()
        _, done = self._log.load(encoder.dim)
        self.read_back = int(done.sum())
        self.read_back_tokens = sum(len(self.ids[position]) for position in np.flatnonzero(done))
        self._keys: dict[int, bytes] = {}
        self._equals: dict[bytes, list[int]] = {}
        """Key → the positions that lack its vector."""
        self._uris: set[str] = set()
        self._look(done, encoder)
        self._positions: list[int] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._fresh: dict[bytes, NDArray[np.float32]] = {}
        self._refused: list[Refused] = []
        self.reused = self.reused_tokens = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="vectors")
        self._writing: Future[None] | None = None

    @property
    def keys(self) -> Collection[bytes]:
        """Of the texts that lack a vector."""
        return self._equals.keys()

    def cached(self, keys: Iterable[bytes]) -> None:
        """Take what the cache has of these, as far as they are lacking."""
        if wanted := [key for key in keys if key in self._equals]:
            self._fill(self._cache.get(wanted, self._dim))

    def donated(self, donors: Donors) -> None:
        """Take what `donors` have of all that is lacking."""
        if self._equals:
            self._fill(donors(list(self._equals), self._uris))

    def pending(self, but: Container[bytes] = ()) -> NDArray[np.int64]:
        """The positions that a device has to do, `but` these keys: of equal texts, the first. In order of rows."""
        return np.asarray(sorted(same[0] for key, same in self._equals.items() if key not in but), dtype=np.int64)

    def texts(self, positions: NDArray[np.int64]) -> RowTexts:
        """The texts at these positions, read as they are asked for."""
        return self._shard.row_texts(positions)

    def add(self, positions: NDArray[np.int64], batch: Encoded) -> None:
        """Take what came out for `positions`, which the batch counts from 0."""
        for position, vector in zip(positions[batch.positions].tolist(), batch.vectors, strict=True):
            key = self._keys[position]
            self._fresh[key] = vector
            self._give(self._equals.pop(key), vector, elsewhere=1)
        for refused in batch.refused:
            same = self._equals.pop(self._keys[int(positions[refused.position])])
            self._refused += [msgspec.structs.replace(refused, position=position) for position in same]

    def flush(self) -> None:
        """Everything that was added is durable on return."""
        self.flush_beside()
        self._wait()

    def flush_beside(self) -> None:
        """As `flush`, on the thread that writes; waits only for what it was given before."""
        self._wait()
        if self._positions or self._refused:
            taken = self._positions, self._vectors, self._fresh, self._refused
            self._positions, self._vectors, self._fresh, self._refused = [], [], {}, []
            self._writing = self._writer.submit(self._write, *taken)

    def close(self) -> None:
        """Let go of the files. What was not flushed is lost."""
        self._writer.shutdown(wait=True)
        self._log.close()

    def _look(self, done: NDArray[np.bool_], encoder: Encoder) -> None:
        if done.all():
            return
        key = key_of(encoder.identity)
        for position, row in enumerate(self._shard.rows()):
            if not done[position]:
                self._keys[position] = name = key(row.text)
                self._equals.setdefault(name, []).append(position)
                self._uris.add(row.uri)

    def _fill(self, found: Mapping[bytes, NDArray[np.float32]]) -> None:
        for key, vector in found.items():
            self._give(self._equals.pop(key), vector, elsewhere=0)
        self.flush_beside()

    def _give(self, same: list[int], vector: NDArray[np.float32], elsewhere: int) -> None:
        """The vector of equal texts; `elsewhere`: how many of them the device had to do."""
        self._positions += same
        self._vectors += [vector] * len(same)
        reused = same[elsewhere:]
        self.reused += len(reused)
        self.reused_tokens += sum(len(self.ids[position]) for position in reused)

    def _write(
        self,
        positions: list[int],
        vectors: list[NDArray[np.float32]],
        fresh: dict[bytes, NDArray[np.float32]],
        refused: list[Refused],
    ) -> None:
        """The log first: the cache is only for cost."""
        if positions:
            self._log.append(np.asarray(positions, dtype=np.int64), np.stack(vectors))
        if refused:
            self._log.refuse(refused)
        self._cache.put(fresh)

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
