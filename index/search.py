"""The k best vectors of any number of segments: exact, deterministic, the same whoever computes it.

FAISS proposes candidates in float32; one fixed kernel scores them in float64; (-score, chunk id) orders
them. The candidates of a segment are complete when the last of them, in float32, lies further below the
exact k-th score than float32 can err; until then more are fetched, in the end all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.index import faiss_door
from penstock.index.types import Row

_SPARE = 16
"""Candidates fetched beyond k at first: enough for ordinary near-ties, too few to cost anything."""
_BLOCK = 4096
"""Vectors scored in one go: bounds the float64 copies."""
_LARGEST = 1e37
"""Scores that may pass this could overflow in float32, and then it proves nothing."""


class Searchable(Protocol):
    """What `top_k` needs of a segment. `live`: bool (n,); `reach`: the largest norm; `row`: by ordinals."""

    @property
    def index(self) -> Any: ...
    @property
    def vectors(self) -> NDArray[np.float32]: ...
    @property
    def live(self) -> NDArray[np.bool_]: ...
    @property
    def reach(self) -> float: ...
    def row(self, ordinals: Sequence[int]) -> list[Row]: ...


class Match(msgspec.Struct, frozen=True):
    """One answer: the row, and the score that the fixed kernel gave it."""

    score: float
    row: Row


def score(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """The kernel: inner products of float32 `vectors` (n, d) with `query` (d,), in float64, shape (n,).

    Each row is multiplied and summed by itself, pairwise along d, so that its score never depends on
    which others are scored with it. (A matrix product gives no such promise.)
    """
    wide = np.ascontiguousarray(vectors, dtype=np.float64)
    products: NDArray[np.float64] = wide * query.astype(np.float64)
    total: NDArray[np.float64] = np.add.reduce(products, axis=1)
    return total


def top_k(segments: Sequence[Searchable], queries: NDArray[np.float32], k: int) -> list[list[Match]]:
    """Return for each query, float32 (q, d), its k best live rows, best first; fewer if there are fewer.

    Equal to scoring every live vector with `score` and sorting by (-score, chunk id). Raises `ValueError`
    for k < 1, for queries that are not finite float32 (q, d), and where d is not that of the segments.
    """
    _check(segments, queries, k)
    pools = [_Pool(segment, queries, k) for segment in segments if segment.live.any()]
    answers = []
    for number, query in enumerate(queries):
        candidates = _complete(pools, number, query, k)
        answers.append(_order(pools, candidates, k))
    return answers


_Found = list[tuple[NDArray[np.int64], NDArray[np.float64]]]


def _complete(pools: list[_Pool], number: int, query: NDArray[np.float32], k: int) -> _Found:
    """Return (ordinals, exact scores) for each pool, with every row that could be among the k best."""
    found = [pool.first(number) for pool in pools]
    while True:
        kth = _kth(found, k)
        open_pools = [at for at, pool in enumerate(pools) if not pool.proves(number, kth)]
        if not open_pools:
            return found
        for at in open_pools:
            found[at] = pools[at].more(number, query)


def _kth(found: _Found, k: int) -> float:
    """The k-th best exact score so far: no row below it can be an answer."""
    scores = np.concatenate([scores for _, scores in found]) if found else np.empty(0)
    return float(np.partition(scores, len(scores) - k)[len(scores) - k]) if len(scores) >= k else -np.inf


def _order(pools: list[_Pool], found: _Found, k: int) -> list[Match]:
    """Fetch rows only for those that can be answers, ties at the end included; order and cut."""
    kth = _kth(found, k)
    matches = []
    for pool, (ordinals, scores) in zip(pools, found, strict=True):
        kept = scores >= kth
        rows = pool.segment.row(ordinals[kept].tolist())
        matches += [Match(float(s), row) for s, row in zip(scores[kept], rows, strict=True)]
    matches.sort(key=lambda match: (-match.score, match.row.chunk_id))
    return matches[:k]


class _Pool:
    """One segment's candidates for each query of a batch."""

    def __init__(self, segment: Searchable, queries: NDArray[np.float32], k: int) -> None:
        self.segment = segment
        self._queries = queries
        self._live = int(np.count_nonzero(segment.live))
        self._want = [k + _SPARE] * len(queries)
        everything = self._live == len(segment.live)
        self._bits = None if everything else np.packbits(segment.live, bitorder="little")
        self._last = np.full(len(queries), -np.inf)
        self._ids: NDArray[np.int64] | None = None
        norms = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
        width = queries.shape[1]
        # |fl(x.y) - x.y| <= d u / (1 - d u) |x||y| for any order of summation, u = eps / 2 (Higham, 3.1);
        # four times that bound, in eps, and what underflow can take.
        self._error = 4 * width * np.finfo(np.float32).eps * norms * segment.reach
        self._error += width * float(np.finfo(np.float32).tiny)
        self._provable = norms * segment.reach < _LARGEST
        if not self._all(k + _SPARE):
            self._fetch_first(k + _SPARE)

    def first(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Candidates from the one FAISS call for the whole batch; all live rows if they are few."""
        if self._ids is None or not self._provable[number]:
            self._last[number] = -np.inf
            return self._everything(self._queries[number])
        return self._scored(self._ids[number], self._queries[number])

    def more(self, number: int, query: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Twice as many candidates as before."""
        self._want[number] *= 2
        want = self._want[number]
        if self._all(want):
            self._last[number] = -np.inf
            return self._everything(query)
        scores, ids = faiss_door.search(self.segment.index, query[None], want, self._bits)
        self._last[number] = scores[0, -1]
        return self._scored(ids[0], query)

    def proves(self, number: int, kth: float) -> bool:
        """True if nothing that was not fetched can score `kth` or more."""
        return bool(self._last[number] == -np.inf or self._last[number] + self._error[number] < kth)

    def _all(self, want: int) -> bool:
        """A heap for so many costs more than scoring all."""
        return want * 4 >= self._live

    def _fetch_first(self, want: int) -> None:
        scores, self._ids = faiss_door.search(self.segment.index, self._queries, want, self._bits)
        self._last = scores[:, -1].astype(np.float64)

    def _everything(self, query: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self._scored(np.flatnonzero(self.segment.live), query)

    def _scored(
        self, ids: NDArray[np.int64], query: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        vectors = self.segment.vectors
        blocks = [score(vectors[ids[at : at + _BLOCK]], query) for at in range(0, len(ids), _BLOCK)]
        return ids, np.concatenate(blocks)


def _check(segments: Sequence[Searchable], queries: NDArray[np.float32], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise ValueError(f"queries must be float32 (q, d), not {queries.dtype} {queries.shape}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite: some components are NaN or infinite")
    for segment in segments:
        if segment.vectors.shape[1] != queries.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} dimensions, the index has {segment.vectors.shape[1]}")
