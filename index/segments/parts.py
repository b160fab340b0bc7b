"""What a segment offers to a search: vectors in memory, a window of those on disk, or an IVF index to probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.index.segments import faiss_door
from penstock.index.segments.rawvectors import RawVectors

_PROBED = 32
"""One list in so many is looked into, and at least `_LISTS`. docs/decisions/0007-index-types.md has the figures."""
_LISTS = 48


class Exact(Protocol):
    """Rows that can all be scored; positions 0..n name them. Only rows that may be found are offered."""

    count: int
    """How many rows may be found."""
    reach: float
    """No norm of theirs is larger."""

    def everything(self) -> NDArray[np.int64]:
        """The positions of all that may be found."""
        ...

    def nearest(self, queries: NDArray[np.float32], want: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Float32 scores and positions, both (q, want), best first, for want <= count: candidates, never answers."""
        ...

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Their vectors, float32 (n, d)."""
        ...

    def ordinals(self, positions: NDArray[np.int64]) -> NDArray[np.int64]: ...


class Held:
    """A flat index in memory. `live`: bool (n,); `bits` the same, packed, None when all are live."""

    def __init__(
        self, index: Any, live: NDArray[np.bool_], bits: NDArray[np.uint8] | None, count: int, reach: float
    ) -> None:
        self._index, self._live, self._bits = index, live, bits
        self._vectors = faiss_door.vectors(index)
        self.count, self.reach = count, reach

    def everything(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._live)

    def nearest(self, queries: NDArray[np.float32], want: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return faiss_door.search(self._index, queries, want, self._bits)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._vectors[positions]

    def ordinals(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions


class Window:
    """Some rows that were just read: `ordinals` (n,), `vectors` (n, d)."""

    def __init__(self, ordinals: NDArray[np.int64], vectors: NDArray[np.float32], reach: float) -> None:
        self._ordinals, self._vectors = ordinals, vectors
        self.count, self.reach = len(ordinals), reach

    def everything(self) -> NDArray[np.int64]:
        return np.arange(self.count, dtype=np.int64)

    def nearest(self, queries: NDArray[np.float32], want: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return faiss_door.nearest(queries, self._vectors, want)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._vectors[positions]

    def ordinals(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._ordinals[positions]


class Probed:
    """An IVF index whose codes are in memory, with the raw vectors on disk beside it.

    Finds most of what is near, not all. What it finds for a query depends on nothing but that query, the
    segment and the rows that may be found. The fewer may be found, the more lists are looked into, so that a
    filter does not starve the answer.
    """

    def __init__(self, index: Any, raw: RawVectors, bits: NDArray[np.uint8] | None, count: int) -> None:
        self._index, self._raw, self._bits = index, raw, bits
        share = max(1, count) / index.ntotal
        self._lists = min(index.nlist, max(_LISTS, int(np.ceil(index.nlist / _PROBED / share))))

    def candidates(self, query: NDArray[np.float32], most: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Estimated scores and ordinals, both (n,), n <= `most`, best first."""
        return faiss_door.probe(self._index, query, most, self._lists, self._bits)

    def rows(self, ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._raw.take(ordinals)


Part = Exact | Probed
Parts = Sequence[Part]
