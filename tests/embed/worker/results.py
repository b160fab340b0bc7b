"""What came out of an encoder, by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded, Refused
from tests.embed.worker.engines import DIM, vector


def collected(batches: Iterable[Encoded], count: int, dim: int = DIM) -> tuple[NDArray[np.float32], dict[int, Refused]]:
    """Vectors (NaN where there is none) and refusals; each position has come exactly once."""
    vectors = np.full((count, dim), np.nan, dtype=np.float32)
    seen = np.zeros(count, dtype=int)
    refused = {}
    for batch in batches:
        vectors[batch.positions] = batch.vectors
        np.add.at(seen, batch.positions, 1)
        for one in batch.refused:
            seen[one.position] += 1
            refused[one.position] = one
    assert (seen == 1).all(), f"{np.flatnonzero(seen != 1)[:5]} came {seen[seen != 1][:5]} times"
    return vectors, refused


def expected(ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    return np.stack([vector(sequence) for sequence in ids])


def sequences(count: int) -> list[tuple[int, ...]]:
    """Sequence k begins with the id k; lengths vary."""
    return [(k, *range(k * 7 % 40)) for k in range(count)]
