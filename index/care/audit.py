"""One version's content against itself: document state, rows, vectors and bitmaps. Streams; reads, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from itertools import groupby, zip_longest
from operator import attrgetter, itemgetter

import msgspec
import xxhash

from penstock.index.blobs import table
from penstock.index.blobs.blob import open_blob
from penstock.index.care import invariants
from penstock.index.commits.state import StateView
from penstock.index.decoding import decode, decoder
from penstock.index.errors import Corrupt, IndexFault
from penstock.index.segments import faiss_door
from penstock.index.segments.facets import Gathering
from penstock.index.segments.rawvectors import RawVectors
from penstock.index.segments.segment import Segment
from penstock.index.stores.store import Store
from penstock.index.types import DocState, DocText, Manifest, Row, RunRef, SegmentRef

Group = tuple[str, int, int]
"""A document's rows in one segment: uri, how many of them live, how many there are."""


def audit(head: Manifest, stores: Sequence[Store]) -> Iterator[str]:
    """Yield, in a line each, what contradicts itself in this version.

    Memory grows with the number of segments and runs and with the facets of one segment, not with what they hold;
    the codes of one IVF index at a time are read into it.
    """
    for name, space in sorted(head.spaces.items()):
        for ref in space.segments:
            yield from (
                f"space {name}: {what}" for what in _guarded(f"segment {ref.id}", wrong_segment(ref, space.dim, stores))
            )
    for run in head.texts:
        yield from _guarded(f"texts {run.blob.name}", _wrong_texts(run, stores))
    yield from _guarded("its documents", wrong_content(head, stores))


def _guarded(what: str, found: Iterator[str]) -> Iterator[str]:
    """What cannot be read is one line more, not the end."""
    try:
        yield from found
    except (IndexFault, OSError) as error:
        yield f"{what} cannot be checked: {error}"


def wrong_content(head: Manifest, stores: Sequence[Store]) -> Iterator[str]:
    """Document state, joined with the rows of the live space; and the counts."""
    total: dict[str, int] = dict.fromkeys(("documents", "chunks", "failed", "rejected"), 0)
    with ExitStack() as stack:
        for uri, state, groups in joined(head, stores, stack):
            yield from invariants.wrong_document(uri, state, groups)
            for name, number in invariants.counted(state).items():
                total[name] += number
    for name, number in total.items():
        if head.counts.get(name, 0) != number:
            yield f"counts say {head.counts.get(name, 0)} {name}, document state has {number}"


def joined(
    head: Manifest, stores: Sequence[Store], stack: ExitStack
) -> Iterator[tuple[str, DocState | None, list[tuple[int, int]]]]:
    """Every uri that has a state or live rows in the live space, ascending, with both."""
    space = head.spaces.get(head.live)
    opened = [stack.enter_context(closing(Segment(ref, stores, _quiet))) for ref in (space.segments if space else ())]
    rows: Iterator[tuple[str, object]] = ((uri, (alive, count)) for uri, alive, count in _alive(opened))
    states: Iterator[tuple[str, object]] = ((s.uri, s) for s in StateView(head.state, stores, _quiet).scan())
    for uri, both in groupby(merge(states, rows, key=itemgetter(0)), key=itemgetter(0)):
        state, groups = None, []
        for _, thing in both:
            if isinstance(thing, DocState):
                state = thing
            elif isinstance(thing, tuple):
                groups.append(thing)
        yield uri, state, groups


def _alive(segments: Iterable[Segment]) -> Iterator[Group]:
    """The groups that have any live row, by uri."""
    return merge(*(_alive_in(segment) for segment in segments))


def _alive_in(segment: Segment) -> Iterator[Group]:
    for uri, first, count in segment.documents():
        alive = count - segment.dead.range_cardinality(first, first + count)
        if alive:
            yield uri, alive, count


def wrong_segment(ref: SegmentRef, dim: int, stores: Sequence[Store]) -> Iterator[str]:
    """The parts of one segment, against its ref and one another. Each record of its rows is read."""
    by_rows, by_docs, facets = _Census(), _Census(), Gathering()
    with closing(Segment(ref, stores, _quiet)) as segment:
        if len(segment.dead) != ref.dead_count:
            yield f"segment {ref.id} says {ref.dead_count} dead rows and has {len(segment.dead)}"
        for uri, same in groupby(_rows(segment, facets if ref.facets else None), key=attrgetter("uri")):
            by_rows.add(uri, by_rows.rows, *_measured(same))
        for uri, first, count in segment.documents():
            by_docs.add(uri, first, count, 0)
    if by_rows.rows != ref.count:
        yield f"segment {ref.id} says {ref.count} rows and has {by_rows.rows}"
    if by_rows.tokens != ref.tokens:
        yield f"segment {ref.id} says {ref.tokens} tokens and its rows have {by_rows.tokens}"
    if (by_docs.rows, by_docs.groups, by_docs.sum) != (by_rows.rows, by_rows.groups, by_rows.sum):
        yield f"segment {ref.id}: its table of documents is not what its rows say"
    if ref.facets is not None:
        with closing(open_blob(stores, ref.facets, report=_quiet)) as stored:
            if any(one != other for one, other in zip_longest(table.Table(stored), facets.records())):
                yield f"segment {ref.id}: its facets are not what its rows say"
    yield from _wrong_vectors(ref, dim, stores)


def _wrong_vectors(ref: SegmentRef, dim: int, stores: Sequence[Store]) -> Iterator[str]:
    with closing(RawVectors(open_blob(stores, ref.vectors or ref.index, report=_quiet), ref.count)) as raw:
        if raw.dim != dim:
            yield f"segment {ref.id} has vectors of {raw.dim} components in a space of {dim}"
    if ref.vectors is not None:
        with closing(open_blob(stores, ref.index, report=_quiet)) as stored:
            index = faiss_door.open_ivf(stored.read, stored.size)
            if (index.ntotal, index.d) != (ref.count, dim):
                yield f"segment {ref.id}: its index has {index.ntotal} vectors of {index.d} components"


def _rows(segment: Segment, facets: Gathering | None) -> Iterator[Row]:
    rows = decoder(Row)
    for ordinal, (_, record) in enumerate(segment.rows):
        try:
            row = rows.decode(record)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"segment {segment.ref.id}: a row is none ({error})") from error
        if facets is not None:
            facets.add(ordinal, row)
        yield row


def _measured(rows: Iterable[Row]) -> tuple[int, int]:
    count = tokens = 0
    for row in rows:
        count, tokens = count + 1, tokens + row.tokens
    return count, tokens


class _Census:
    """Groups of rows, counted, and summed up so that two orders of the same groups have the same sum."""

    def __init__(self) -> None:
        self.rows = self.groups = self.tokens = self.sum = 0

    def add(self, uri: str, first: int, count: int, tokens: int) -> None:
        self.sum += xxhash.xxh3_128_intdigest(f"{first} {count} {uri}".encode())
        self.rows, self.groups, self.tokens = self.rows + count, self.groups + 1, self.tokens + tokens


def _wrong_texts(run: RunRef, stores: Sequence[Store]) -> Iterator[str]:
    with closing(open_blob(stores, run.blob, report=_quiet)) as blob:
        texts = table.Table(blob)
        if len(texts) != run.count or not texts.keyed:
            yield f"texts {run.blob.name}: is not the run of {run.count}"
        for uri, record in texts:
            try:
                if decode(record, DocText).uri == uri:
                    continue
            except msgspec.MsgspecError:
                pass
            yield f"texts {run.blob.name}: what it has of {uri} is no text of it"


def _quiet(_: str) -> None:
    return
