"""What every batch of vectors must be, whoever made it: a microsecond or less for each vector.

One that is not is refused and its document quarantined. A batch of different texts that all got one vector says
something of the encoder, not of the texts: nothing that it makes can be believed any more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import TokenIds

NORM = 1e-3
"""How far a norm may be from 1."""
CONSTANT = 1e-12
"""The variance of a unit vector over its components is about 1/dim; below this they are all the same."""
SAME = 1e-6
"""Two vectors whose components differ by no more than this are one."""
COLLAPSED_FROM = 4
"""So many different texts with one vector are no accident: two near-equal ones may be."""
COLLAPSED = (
    "the encoder gives different texts the same vector: the model, the device or the endpoint is broken; "
    "what was embedded before is kept. Look at the device, then run the same command again"
)


def unsound(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of `vectors`, float32 (n, dim), are no vectors: not finite, not of unit norm, or constant. (n,)."""
    norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    means = vectors.mean(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # what is not finite compares as not sound
        unit = np.abs(np.sqrt(norms) - 1) < NORM
        varies = norms / max(1, vectors.shape[1]) - means * means > CONSTANT
    sound: NDArray[np.bool_] = unit & (varies if vectors.shape[1] > 1 else True)
    return ~sound


def why(vector: NDArray[np.float32]) -> str:
    """In words, what is wrong with a vector that is unsound."""
    if not np.isfinite(vector).all():
        return f"{int((~np.isfinite(vector)).sum())} of {len(vector)} components of its vector are not finite"
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(norm - 1) >= NORM:
        return f"its vector has norm {norm:.4g}, not 1"
    return "all components of its vector are the same"


def collapsed(vectors: NDArray[np.float32], ids: Sequence[TokenIds] | Sequence[str]) -> bool:
    """Whether `COLLAPSED_FROM` or more different inputs of a batch, and all of it, got one vector.

    `vectors`: float32 (n, dim). `ids`: what they were made of, in the same order (texts do as well).
    """
    if len(vectors) < COLLAPSED_FROM or not np.abs(vectors[1] - vectors[0]).max() <= SAME:
        return False
    if not (np.abs(vectors - vectors[0]) <= SAME).all():
        return False
    return len({_key(each) for each in ids}) >= COLLAPSED_FROM


def _key(ids: TokenIds | str) -> bytes | str:
    return ids if isinstance(ids, str) else np.asarray(ids, dtype=np.uint32).tobytes()
