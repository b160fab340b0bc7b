"""Merging segments: the live rows of several, in order, become one; what died meanwhile is carried over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroaring
from numpy.typing import NDArray

from penstock.index.segments import building
from penstock.index.segments.quantizer import Quantizer
from penstock.index.segments.rawvectors import VectorMemory
from penstock.index.segments.segment import Segment
from penstock.index.stores.store import Store
from penstock.index.types import Row, SegmentRef

_BESIDE = " | "
"""Between the values of a key of provenance in which the inputs differ."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A segment made of others. `files`: the local file of each new blob's name; a quantizer's is not among them.

    `dead`: for each input, in order, the rows that were dead when it was merged, and so are not in `ref`;
    `firsts`: the ordinal in `ref` of each input's first live row.
    """

    ref: SegmentRef
    files: dict[str, Path]
    dead: tuple[pyroaring.BitMap, ...]
    firsts: tuple[int, ...]

    def carry(self, dead_now: Sequence[pyroaring.BitMap]) -> pyroaring.BitMap:
        """Return which ordinals of `ref` are dead, given which ordinals of each input are dead by now.

        Rows never come back to life: `ValueError` where an input has fewer dead than when it was merged, or
        where there are not as many inputs.
        """
        carried = pyroaring.BitMap()
        for before, now, first in zip(self.dead, dead_now, self.firsts, strict=True):
            if not before <= now:
                raise ValueError("rows that were dead when they were merged are alive: these are other segments")
            old = _array(now - before)
            carried.update(first + old - np.searchsorted(_array(before), old))
        return carried


def merge(
    refs: Sequence[SegmentRef],
    stores: Sequence[Store],
    folder: Path,
    txn: str,
    segment_id: str,
    *,
    quantizer: Quantizer | None,
    report: Callable[[str], None],
) -> Merged | None:
    """Write the live rows of `refs`, in order, as one segment below `folder`; None when no row is alive.

    Flat without `quantizer`, else IVF with it. Streams: vectors and rows are never all in memory (`building`
    says what is). The same inputs make the same bytes. Raises `ValueError` when the same document has live
    rows in two inputs, or their widths differ; `NoSpace`; and what reading raises, `Corrupt` or `Unavailable`.
    """
    with contextlib.ExitStack() as stack:
        segments = [
            stack.enter_context(contextlib.closing(Segment(ref, stores, report, VectorMemory(0)))) for ref in refs
        ]
        counts = [int(np.count_nonzero(segment.live)) for segment in segments]
        if not sum(counts):
            return None
        ref, files = building.stream(
            folder,
            segment_id,
            (sum(counts), segments[0].dim),
            _blocks(segments),
            _rows(segments),
            txn,
            provenance=_provenance(refs),
            quantizer=quantizer,
        )
        dead = tuple(segment.dead for segment in segments)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return Merged(ref, files, dead, tuple(int(first) for first in firsts))


def _blocks(segments: Sequence[Segment]) -> Iterator[NDArray[np.float32]]:
    for segment in segments:
        yield from segment.blocks()


def _rows(segments: Sequence[Segment]) -> Iterator[Row]:
    for segment in segments:
        yield from segment.live_rows()


def _provenance(refs: Sequence[SegmentRef]) -> dict[str, str]:
    """For each key every value that any input has, each once, sorted."""
    values: dict[str, set[str]] = {}
    for ref in refs:
        for key, value in ref.provenance.items():
            values.setdefault(key, set()).update(value.split(_BESIDE))
    return {key: _BESIDE.join(sorted(values[key])) for key in sorted(values)}


def _array(bitmap: pyroaring.BitMap) -> NDArray[np.int64]:
    return np.asarray(bitmap.to_array(), dtype=np.int64)
