"""The k best vectors of any number of segments: deterministic, the same whoever computes it.

FAISS proposes candidates in float32; one fixed kernel scores them in float64; (-score, chunk id) orders
them. Of a flat segment the candidates are complete when the last of them, in float32, lies further below the
exact k-th score than float32 can err; until then more are fetched, in the end all. Of an IVF segment they are
most of what is near, scored by the same kernel from the raw vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.index.segments.facets import Filter
from penstock.index.segments.parts import Exact, Part, Probed
from penstock.index.types import Row

_SPARE = 16
"""Candidates fetched beyond k at first: enough for ordinary near-ties, too few to cost anything."""
_BLOCK = 4096
"""Vectors scored in one go: bounds the float64 copies."""
_LARGEST = 1e37
"""Scores that may pass this could overflow in float32, and then it proves nothing."""


class Searchable(Protocol):
    """What `top_k` needs of a segment.

    `parts`: what may be found, dead rows and what `where` does not let through left out; with `exact`, only
    parts that can be searched exactly. `row`: the rows of these ordinals, in this order.
    """

    @property
    def dim(self) -> int: ...
    def parts(self, where: Filter | None, exact: bool) -> Iterable[Part]: ...
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


def top_k(
    segments: Sequence[Searchable],
    queries: NDArray[np.float32],
    k: int,
    *,
    where: Filter | None = None,
    exact: bool = False,
) -> list[list[Match]]:
    """Return for each query, float32 (q, d), its k best live rows, best first; fewer if there are fewer.

    Equal to scoring every live vector that `where` lets through with `score` and sorting by (-score, chunk
    id): always with `exact`, and where no segment is IVF. An IVF segment may miss some, never adds any, and
    is searched exactly where few of its rows may be found. Raises `ValueError` for k < 1, for queries that
    are not finite float32 (q, d), and where d is not that of the segments.
    """
    _check(segments, queries, k)
    norms = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    best = [_Best(k) for _ in queries]
    for number, segment in enumerate(segments):
        for part in segment.parts(where if where else None, exact):
            if isinstance(part, Probed):
                for query, so_far in zip(queries, best, strict=True):
                    _probe(part, number, query, so_far, k)
            else:
                _scan(part, number, queries, norms, best, k)
    return [_order(segments, so_far, k) for so_far in best]


class _Best:
    """What may still be an answer to one query: (segment, ordinals, exact scores), and the k-th best score."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._top = np.empty(0)
        self._found: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]] = []
        self._size = 0

    @property
    def kth(self) -> float:
        """No row that scores below it can be an answer."""
        return float(self._top[0]) if len(self._top) == self._k else -np.inf

    def kth_with(self, scores: NDArray[np.float64]) -> float:
        """What `kth` would be with these added."""
        top = self._with(scores)
        return float(top[0]) if len(top) == self._k else -np.inf

    def add(self, number: int, ordinals: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Keep of these rows of a segment what can be an answer, ties with the k-th included."""
        self._top = self._with(scores)
        kept = scores >= self.kth
        self._found.append((number, ordinals[kept], scores[kept]))
        self._size += int(np.count_nonzero(kept))
        if self._size > 8 * self._k:
            self._found = self.found()
            self._size = sum(len(scores) for _, _, scores in self._found)

    def found(self) -> list[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
        kept = [(number, ordinals, scores, scores >= self.kth) for number, ordinals, scores in self._found]
        return [(number, ordinals[mask], scores[mask]) for number, ordinals, scores, mask in kept if mask.any()]

    def _with(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The k best scores, the smallest of them first, the others in any order."""
        every = np.concatenate([self._top, scores[scores > self.kth]])
        out = len(every) - self._k
        return np.partition(every, out)[out:] if out > 0 else np.partition(every, 0) if len(every) else every


def _scan(
    part: Exact,
    number: int,
    queries: NDArray[np.float32],
    norms: NDArray[np.float64],
    best: list[_Best],
    k: int,
) -> None:
    """Add to `best` every row of one part that could be an answer."""
    width = queries.shape[1]
    # |fl(x.y) - x.y| <= d u / (1 - d u) |x||y| for any order of summation, u = eps / 2 (Higham, 3.1);
    # four times that bound, in eps, and what underflow can take.
    errors = 4 * width * np.finfo(np.float32).eps * norms * part.reach + width * float(np.finfo(np.float32).tiny)
    provable = norms * part.reach < _LARGEST
    first = None if _all(part, k + _SPARE) else part.nearest(queries, k + _SPARE)
    for at, (query, so_far) in enumerate(zip(queries, best, strict=True)):
        if first is None or not provable[at]:
            positions = part.everything()
            exact = _scored(part.rows, positions, query)
        else:
            positions, exact = _complete(part, query, first[0][at], first[1][at], float(errors[at]), so_far)
        so_far.add(number, part.ordinals(positions), exact)


def _complete(
    part: Exact,
    query: NDArray[np.float32],
    scores: NDArray[np.float32],
    positions: NDArray[np.int64],
    error: float,
    best: _Best,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (positions, exact scores) with every row of the part that could be an answer."""
    while True:
        near = positions[scores.astype(np.float64) + error >= best.kth]
        exact = _scored(part.rows, near, query)
        if float(scores[-1]) + error < best.kth_with(exact):
            return near, exact
        want = 2 * len(scores)
        if _all(part, want):
            return part.everything(), _scored(part.rows, part.everything(), query)
        found = part.nearest(query[None], want)
        scores, positions = found[0][0], found[1][0]


def _all(part: Exact, want: int) -> bool:
    """A heap for so many costs more than scoring all."""
    return want * 4 >= part.count


def _probe(part: Probed, number: int, query: NDArray[np.float32], best: _Best, k: int) -> None:
    """Add what an IVF index finds, as far down its list as an answer is likely.

    How far its estimates err is seen from those that were scored so far (those at the top are mostly too high, so
    either sign counts). Never looks at other segments' scores: the same rows are found whatever else is searched.
    """
    estimates, ordinals = part.candidates(query, 16 * k + 240)
    step, done = 4 * k + 24, 0
    exact = np.empty(0)
    while done < len(ordinals):
        fresh = ordinals[done : done + step]
        exact = np.concatenate([exact, _scored(part.rows, fresh, query)])
        done += len(fresh)
        slack = float(np.abs(exact - estimates[:done]).max())
        kth = np.partition(exact, done - k)[done - k] if done >= k else -np.inf
        if done < len(ordinals) and estimates[done] + slack < kth:
            break
    best.add(number, ordinals[:done], exact)


class _Rows(Protocol):
    def __call__(self, positions: NDArray[np.int64], /) -> NDArray[np.float32]: ...


def _scored(rows: _Rows, positions: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
    blocks = [score(rows(positions[at : at + _BLOCK]), query) for at in range(0, len(positions), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _order(segments: Sequence[Searchable], best: _Best, k: int) -> list[Match]:
    """Fetch rows only for those that can be answers, ties at the end included; order and cut."""
    matches = []
    for number, ordinals, scores in best.found():
        rows = segments[number].row(ordinals.tolist())
        matches += [Match(float(s), row) for s, row in zip(scores, rows, strict=True)]
    matches.sort(key=lambda match: (-match.score, match.row.chunk_id))
    return matches[:k]


def _check(segments: Sequence[Searchable], queries: NDArray[np.float32], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise ValueError(f"queries must be float32 (q, d), not {queries.dtype} {queries.shape}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite: some components are NaN or infinite")
    for segment in segments:
        if segment.dim != queries.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} dimensions, the index has {segment.dim}")
