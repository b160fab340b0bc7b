"""An encoder without a model: vectors are a pure function of the token ids, batches are small, as in life.

Like the real one it refuses what is too long, yields batches longest first, and can be slow or die.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded

DIM = 16


class HashEncoder:
    """`seconds` is the time for a batch of `rows`; `dies_after` batches it raises, as a lost device would."""

    dim = DIM

    def __init__(self, seconds: float = 0.0, rows: int = 4, dies_after: int | None = None) -> None:
        self.identity: dict[str, str] = {}
        self.provenance = {"device": "fake", "dtype": "float32"}
        self._seconds, self._rows, self._left = seconds, rows, dies_after
        self.embedded: list[tuple[int, ...]] = []

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        order = sorted(range(len(ids)), key=lambda position: -len(ids[position]))
        for start in range(0, len(order), self._rows):
            if self._left is not None:
                if self._left == 0:
                    raise RuntimeError("the device is gone")
                self._left -= 1
            if self._seconds:
                time.sleep(self._seconds)
            batch = order[start : start + self._rows]
            for position in batch:
                if len(ids[position]) > 256:
                    raise ValueError("too long")
                self.embedded.append(tuple(map(int, ids[position])))
            tokens = sum(len(ids[position]) for position in batch)
            vectors = np.stack([vector(ids[position]) for position in batch])
            yield Encoded(np.array(batch, dtype=np.int64), vectors, tokens, tokens + 3)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([vector([*text.encode()]) for text in texts])

    def close(self) -> None:
        pass


def vector(ids: Sequence[int]) -> NDArray[np.float32]:
    """Unit norm, float32 (DIM,), different for different ids."""
    digest = hashlib.blake2b(np.asarray(ids, dtype="<u4").tobytes(), digest_size=DIM).digest()
    values = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
    return (values / np.linalg.norm(values)).astype(np.float32)
