"""Raw float32 vectors where they lie in a blob: read by row, block by block, never all of them unless asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.index.blobs.blob import Blob
from penstock.index.errors import Corrupt
from penstock.index.segments import faiss_door

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
        ascending, places = np.unique(ordinals, return_inverse=True)
        out = np.empty((len(ascending), self.dim), dtype=np.float32)
        done = 0
        for part, rows in self.visit(ascending):
            out[done : done + len(part)] = rows
            done += len(part)
        return out[places]

    def visit(self, ordinals: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (ordinals, rows) for these strictly ascending ordinals, about a window's worth at a time.

        Where they lie dense, whole windows are read, and none that has none of them; else row by row.
        """
        if len(ordinals) * _DENSE < self.count:
            for at in range(0, len(ordinals), self.window):
                yield ordinals[at : at + self.window], self._picked(ordinals[at : at + self.window])
            return
        numbers = ordinals // self.window
        for part in np.split(ordinals, np.flatnonzero(np.diff(numbers)) + 1):
            start = int(part[0]) // self.window * self.window
            rows = self.rows(start, min(start + self.window, self.count))
            yield part, rows if len(part) == len(rows) else rows[part - start]

    def reach(self, ordinals: NDArray[np.int64], rows: NDArray[np.float32]) -> float:
        """A bound on the norm of the rows of one `visit`; kept for those windows that were visited whole."""
        first, last = int(ordinals[0]), int(ordinals[-1])
        end = min(first + self.window, self.count)
        if first % self.window or last != end - 1 or len(ordinals) != end - first:
            return norm_bound(rows)
        if first not in self._reach:
            self._reach[first] = norm_bound(rows)
        return self._reach[first]

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
        """Rows one by one, those that follow one another together."""
        out = np.empty((len(ordinals), self.dim), dtype=np.float32)
        at = 0
        for end in [*(np.flatnonzero(np.diff(ordinals) > 1) + 1).tolist(), len(ordinals)]:
            first = int(ordinals[at])
            out[at:end] = self.rows(first, first + end - at)
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
