"""The trained, empty IVF index that the segments of a space share, so that merging them is reproducible.

Its blob is content-addressed and named by `SpaceRef.quantizer`. The figures behind the rules here are in
docs/decisions/0007-index-types.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.index.blobs.blob import open_blob, seal
from penstock.index.segments import faiss_door
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, SpaceRef

IVF_FROM = 50_000
"""Live rows from which a merged segment is made IVF. Below, a flat one answers in a few milliseconds, exactly."""
GROWTH = 8
"""A space that grew so many times since its quantizer was trained gets another one."""
_PER_LIST = 64
"""Vectors sampled for each list; more changed recall by less than it varies with the seed."""
_ROUNDS = 8
_BITS = 6
"""Of each component. 4 find a few in a hundred less, 8 need more than a fifth of the index in memory."""
_SEED = 20261121


class Sampled(Protocol):
    """What is sampled of a segment: bool (count,), and rows by ordinal."""

    @property
    def live(self) -> NDArray[np.bool_]: ...
    def take(self, ordinals: NDArray[np.int64]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A trained empty index: its blob, and the bytes of the blob's content."""

    ref: BlobRef
    data: bytes

    def index(self) -> Any:
        """A fresh, empty FAISS index to add vectors to. Raises `Corrupt`."""
        return faiss_door.open_ivf(lambda start, end: self.data[start:end], len(self.data))


def lists(count: int) -> int:
    """How many lists for a space of `count` vectors: the power of two next to 2 sqrt(count), 16 to 65,536."""
    wanted = 2 * max(1, count) ** 0.5
    return int(min(65_536, max(16, 2 ** round(np.log2(wanted)))))


def outgrown(space: SpaceRef, count: int) -> bool:
    """Whether a space that has `count` live vectors now needs a quantizer, or another one."""
    return space.quantizer is None or count >= GROWTH * max(1, space.trained_for)


def sample_size(count: int) -> int:
    """How many of `count` vectors `train` wants to see."""
    return min(count, lists(count) * _PER_LIST)


def sample(segments: Sequence[Sampled], size: int) -> NDArray[np.float32]:
    """Return `size` live vectors of `segments` (all, if there are fewer), float32 (n, dim): the same each time."""
    live = [np.flatnonzero(segment.live) for segment in segments]
    total = sum(len(ordinals) for ordinals in live)
    drawn = np.random.default_rng(_SEED).choice(total, min(size, total), replace=False, shuffle=False)
    drawn.sort()
    parts, start = [], 0
    for segment, ordinals in zip(segments, live, strict=True):
        inside = drawn[(drawn >= start) & (drawn < start + len(ordinals))] - start
        parts.append(segment.take(ordinals[inside]))
        start += len(ordinals)
    return np.concatenate(parts)


def train(vectors: NDArray[np.float32], count: int, folder: Path, txn: str) -> tuple[Quantizer, Path]:
    """Train on `vectors`, float32 (n, dim), for a space of `count`; return it with the sealed blob's file in `folder`.

    The same vectors give the same bytes. One thread: about 20 s for a million vectors of 384 components.
    `ValueError` for fewer vectors than lists; `NoSpace` when the disk is full.
    """
    if len(vectors) < lists(count):
        raise ValueError(f"{len(vectors)} vectors are too few to train {lists(count)} lists")
    index = faiss_door.train_ivf(vectors, lists(count), seed=_SEED, rounds=_ROUNDS, bits=_BITS)
    part = folder / f"quantizer.{txn}.part"
    faiss_door.write(index, part)
    data = part.read_bytes()
    ref = seal(part, txn)
    return Quantizer(ref, data), part.rename(folder / ref.name)


def read(stores: Sequence[Store], ref: BlobRef, *, report: Callable[[str], None]) -> Quantizer:
    """Read a quantizer, every byte verified. Raises as `open_blob`."""
    blob = open_blob(stores, ref, report=report)
    try:
        return Quantizer(ref, blob.read(0, blob.size))
    finally:
        blob.close()
