"""Chunks found by their document or their id, not by their meaning: where each lies and what its vector is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.index.segments.segment import Segment
from penstock.index.types import Row, SegmentRef


@dataclass(frozen=True, slots=True)
class Passage:
    """One served chunk: its row, the segment that holds it, its ordinal there, its vector (float32 (dim,))."""

    row: Row
    segment: SegmentRef
    ordinal: int
    vector: NDArray[np.float32]


def of_documents(segments: Sequence[Segment], uris: Iterable[str]) -> Iterator[Passage]:
    """The chunks of these documents, segment by segment. Cost grows with them and the number of segments."""
    wanted = sorted(set(uris))
    for segment in segments:
        for _, (first, count) in sorted(segment.locate(wanted).items()):
            live = segment.live[first : first + count]
            yield from _taken(segment, [first + int(n) for n in np.flatnonzero(live)])


def of_chunks(segments: Sequence[Segment], beginning: str) -> Iterator[Passage]:
    """The chunks whose ids begin so. Reads every row: rows are not kept by chunk id."""
    for segment in segments:
        live = segment.live
        for ordinal, (_, record) in enumerate(segment.rows):
            if live[ordinal] and beginning.encode() in record:
                for found in _taken(segment, [ordinal]):
                    if found.row.chunk_id.startswith(beginning):
                        yield found


def spread(segments: Sequence[Segment], most: int) -> list[Passage]:
    """At most so many chunks, evenly spaced over all live ones."""
    live = [np.flatnonzero(segment.live) for segment in segments]
    total = sum(len(ordinals) for ordinals in live)
    wanted = [(2 * n + 1) * total // (2 * most) for n in range(most)] if total > most else list(range(total))
    found: list[Passage] = []
    before = 0
    for segment, ordinals in zip(segments, live, strict=True):
        mine = [int(ordinals[at - before]) for at in wanted if before <= at < before + len(ordinals)]
        found += _taken(segment, mine)
        before += len(ordinals)
    return found


def _taken(segment: Segment, ordinals: list[int]) -> Iterator[Passage]:
    if not ordinals:
        return
    vectors = segment.take(np.asarray(ordinals, dtype=np.int64))
    for row, ordinal, vector in zip(segment.row(ordinals), ordinals, vectors, strict=True):
        yield Passage(row, segment.ref, ordinal, vector)
