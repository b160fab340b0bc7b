"""Raw float32 vectors where they lie in a blob: read by row, block by block, never all of them unless asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.index import faiss_door
from penstock.index.blob import Blob
from penstock.index.errors import Corrupt

_WINDOW = 1 << 20
"""Bytes read in one go: what fits a core's own cache is searched fastest, and fewer cost too many calls."""
_DENSE = 8
"""Where one row in so many is wanted, reading all of them at once is cheaper than picking."""


class VectorMemory:
    """How many bytes of vectors the segments of one reader may hold, all together. Shared by threads."""

    def __init__(self, limit_bytes: int = 256 << 20) -> None:
        self.limit, self.held = limit_bytes, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Count `size` bytes more as held; False, and nothing counted, when that is over the limit."""
        with self._lock:
            fits = self.held + size <= self.limit
            self.held += size if fits else 0
            return fits

    def give(self, size: int) -> None:
        """Count `size` bytes as free again."""
        with self._lock:
            self.held -= size


class RawVectors:
    """The rows of an IndexFlatIP file, float32 (count, dim), by position. Raises `Corrupt` for another file.

    Each read is one `Blob.read`: verified at the first touch of its 4 MiB block.
    """

    def __init__(self, blob: Blob, count: int) -> None:
        self._blob = blob
        head = blob.read(0, min(faiss_door.HEADER, blob.size))
        there, self.dim = faiss_door.flat_shape(head, blob.size)
        if there != count:
            raise Corrupt(f"blob {blob.ref.name}: has not {count} vectors; run penstock verify")
        self.count = count
        self.window = max(1, _WINDOW // (4 * self.dim))
        """Rows that are read in one go."""
        self._reach: dict[int, float] = {}

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop), read-only."""
        width = 4 * self.dim
        data = self._blob.read(faiss_door.HEADER + start * width, faiss_door.HEADER + stop * width)
        return np.frombuffer(data, dtype="<f4").reshape(stop - start, self.dim)

    def take(self, ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of these ordinals, in this order: float32 (n, dim)."""
        out = np.empty((len(ordinals), self.dim), dtype=np.float32)
        order = np.argsort(ordinals, kind="stable")
        ascending = ordinals[order]
        if len(ordinals) * _DENSE < self.count:
            out[order] = self._picked(ascending)
            return out
        done = 0
        for part, rows in self.visit(ascending):
            out[order[done : done + len(part)]] = rows
            done += len(part)
        return out

    def visit(self, ordinals: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (ordinals, rows) for these ascending ordinals, a window at a time; windows without any are not read."""
        numbers = ordinals // self.window
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for part in np.split(ordinals, cuts) if len(ordinals) else ():
            start = int(part[0]) // self.window * self.window
            stop = min(start + self.window, self.count)
            if len(part) == stop - start:
                yield part, self.rows(start, stop)
            elif len(part) * _DENSE >= stop - start:
                yield part, self.rows(start, stop)[part - start]
            else:
                yield part, self._picked(part)

    def reach(self, ordinals: NDArray[np.int64], rows: NDArray[np.float32]) -> float:
        """A bound on the norm of the rows of one `visit`; kept for those windows that were visited whole."""
        number = int(ordinals[0]) // self.window
        if number not in self._reach:
            bound = norm_bound(rows)
            if len(ordinals) < min(self.window, self.count - number * self.window):
                return bound
            self._reach[number] = bound
        return self._reach[number]

    def all(self) -> NDArray[np.float32]:
        """Every row in memory, float32 (count, dim)."""
        out = np.empty((self.count, self.dim), dtype=np.float32)
        for start in range(0, self.count, self.window):
            stop = min(start + self.window, self.count)
            out[start:stop] = self.rows(start, stop)
        return out

    def close(self) -> None:
        self._blob.close()

    def _picked(self, ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of ascending ordinals one by one, those that follow one another together."""
        out = np.empty((len(ordinals), self.dim), dtype=np.float32)
        ends = [*(np.flatnonzero(np.diff(ordinals) > 1) + 1).tolist(), len(ordinals)]
        wanted = ordinals.tolist()
        at = 0
        for end in ends if wanted else ():
            start, stop = wanted[at], wanted[end - 1] + 1
            rows = self.rows(start, stop)
            out[at:end] = rows if stop - start == end - at else rows[ordinals[at:end] - start]
            at = end
        return out


def norm_bound(rows: NDArray[np.float32]) -> float:
    """A number that no Euclidean norm of `rows` (n, d), n > 0, exceeds; at most a little more than the largest.

    Squares are summed in float32: each sum errs by at most d eps of itself and by what underflow took.
    """
    limits = np.finfo(np.float32)
    with np.errstate(over="ignore"):
        largest = float(np.einsum("ij,ij->i", rows, rows).max())
    width = rows.shape[1]
    return float(np.sqrt(largest * (1 + 2 * width * float(limits.eps)) + 2 * width * float(limits.tiny)))
