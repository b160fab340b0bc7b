"""What a lot of vectors is like, as sums that add up: of a commit, of a run, of all that a space ever got.

A document counts once, by the mean of its vectors: the chunks of a long one are no independent witnesses. Documents
that come together resemble each other, so the sums also say how far commits differ from one another (one-way analysis
of variance with random effects: Searle, Casella and McCulloch, Variance Components, 1992, ch. 3).
Norms are those of finished vectors: what they were before normalisation no encoder tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KIND = "1"
NEAR = 0.99
"""Cosine from which two vectors are near-duplicates."""
BLOCK, BLOCKS = 256, 8
"""Near-duplicates are looked for among so many neighbours, in at most so many places of a commit."""
_ROWS = 4096


class Lot(NamedTuple):
    """`figures` by name, all of them sums; `vector` float64 (dim,): the sum of the documents' mean vectors."""

    figures: dict[str, float]
    vector: NDArray[np.float64]

    def __add__(self, other: object) -> Lot:
        """The lot that both are together, as if it had been gathered from the start, commit by commit."""
        if not isinstance(other, Lot):
            return NotImplemented
        names = [*self.figures, *(name for name in other.figures if name not in self.figures)]
        figures = {name: self.figures.get(name, 0.0) + other.figures.get(name, 0.0) for name in names}
        return Lot(figures, self.vector + other.vector)

    def mean(self, of: str, per: str) -> float:
        """One sum by another; 0 where there is nothing."""
        return self.figures.get(of, 0.0) / (self.figures.get(per, 0.0) or 1.0)


def gathered(vectors: NDArray[np.float32], owners: Sequence[str], tokens: Sequence[int]) -> Lot:
    """The lot of one commit: `vectors` float32 (n, dim), n > 0; of each, its document and its length in tokens.

    A document's chunks follow one another.
    """
    starts = np.array([at for at in range(len(owners)) if not at or owners[at] != owners[at - 1]], dtype=np.int64)
    lengths = np.asarray(tokens, dtype=np.float64)
    means = np.add.reduceat(lengths, starts) / np.diff(starts, append=len(owners))
    total, squares = np.zeros(vectors.shape[1]), 0.0
    for each in _means(vectors, starts):
        total += each.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->i", each, each).sum(dtype=np.float64))
    sampled, near = _near(vectors)
    documents = float(len(starts))
    figures = {
        "vectors": float(len(vectors)),
        "documents": documents,
        "commits": 1.0,
        "documents_squared": documents**2,
        "norms": float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)).sum(dtype=np.float64)),
        "squares": squares,
        "between": float(total @ total) / documents,
        "tokens": float(lengths.sum()),
        "tokens_squared": float((lengths**2).sum()),
        "lengths": float(means.sum()),
        "lengths_squared": float((means**2).sum()),
        "lengths_between": float(means.sum()) ** 2 / documents,
        "sampled": float(sampled),
        "near": float(near),
    }
    return Lot(figures, total)


def _means(vectors: NDArray[np.float32], starts: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Mean vectors of documents, float32 (some, dim), a few thousand chunks at a time."""
    edges = np.append(starts, len(vectors))
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + _ROWS, side="right")) - 1)
        part = vectors[edges[first] : edges[last]]
        means: NDArray[np.float32] = np.add.reduceat(part, starts[first:last] - edges[first], axis=0)
        means /= np.diff(edges[first : last + 1])[:, None]
        yield means
        first = last


def _near(vectors: NDArray[np.float32]) -> tuple[int, int]:
    """How many vectors were looked at, and how many of them have a near-duplicate in their block."""
    blocks = -(-len(vectors) // BLOCK)
    looked = near = 0
    for number in np.unique(np.linspace(0, blocks - 1, min(blocks, BLOCKS)).astype(int)).tolist():
        part = vectors[number * BLOCK : (number + 1) * BLOCK]
        alike = part @ part.T
        np.fill_diagonal(alike, -1)
        looked += len(part)
        near += int((alike.max(axis=1) >= NEAR).sum())
    return looked, near
