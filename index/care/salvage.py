"""Which documents of a version are still what their state says, when some of its blobs are good on no replica.

One pass over state, texts and rows, all by uri. A document is kept if its state is certain and one whole group of its
rows is known to live; a state that an unreadable run might hide is certain if the newest text is of its content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter

import msgspec
import pyroaring

from penstock.index.blobs import blob, table
from penstock.index.care.invariants import counted
from penstock.index.commits import state
from penstock.index.commits.attempt import Attempt
from penstock.index.decoding import decoder
from penstock.index.segments.building import dead_blob
from penstock.index.segments.segment import Segment
from penstock.index.types import BlobRef, DocState, Manifest, RunRef, SegmentRef, SpaceRef

LOST = "lost"
"""The reason of a document that was marked."""
Places = dict[str, tuple[int, int]]
"""First ordinal and count of each document in a segment."""
_state = decoder(DocState)


@dataclass(frozen=True, slots=True)
class Salvage:
    """`blind`: ids of segments whose dead rows are not known. `whole`: no segment is lost."""

    space: SpaceRef
    blind: frozenset[str]
    whole: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """A document's rows in one segment. `alive` is None where that is not known."""

    segment: str
    first: int
    count: int
    alive: int | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A document's newest readable state; `sure` if no run that could hold a newer one is gone."""

    state: DocState
    sure: bool


class Content:
    """The join of state, texts and rows: says which documents are lost, and gathers what is buried and counted."""

    def __init__(
        self,
        head: Manifest,
        live: Salvage,
        gone: frozenset[str],
        places: Mapping[str, Places],
        attempt: Attempt,
        stack: ExitStack,
    ) -> None:
        self._head, self._live, self._gone, self._places = head, live, gone, places
        self._attempt, self._stack = attempt, stack
        self._segments = {
            # Without its facets: they may have been made just now, and lie on no replica yet.
            ref.id: stack.enter_context(closing(Segment(_bare(ref), attempt.stores, attempt.report)))
            for ref in live.space.segments
        }
        self._keep: dict[str, pyroaring.BitMap] = {ref.id: pyroaring.BitMap() for ref in live.space.segments}
        self.counts = dict.fromkeys(("documents", "chunks", "failed", "rejected"), 0)
        self.documents: list[str] = []

    def marks(self) -> Iterator[DocState]:
        """The new states of the documents that are lost, by uri. To be read to its end before anything else."""
        streams: list[Iterator[tuple[str, object]]] = [
            self._states(),
            self._texts(),
            *map(self._groups, self._segments),
        ]
        for uri, things in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
            known, text, groups = None, "", []
            for _, thing in things:
                match thing:
                    case _Known():
                        known = thing
                    case _Group():
                        groups.append(thing)
                    case str():
                        text = thing
            served = known is None or self._served(known, text, groups)
            if known is None:
                if any(group.alive for group in groups):
                    self.documents.append(uri)
                continue
            final = known.state if served else self._marked(known.state)
            for name, number in counted(final).items():
                self.counts[name] += number
            if not served:
                self.documents.append(uri)
                yield final

    def buried(self) -> SpaceRef:
        """The live space with everything dead that is not kept."""
        segments = []
        for ref in self._live.space.segments:
            keep = self._keep[ref.id]
            if not keep:
                continue
            dead = _full(ref.count) - keep
            if ref.id in self._live.blind or len(dead) != ref.dead_count:
                changes = {"dead": self._sealed(dead) if dead else None, "dead_count": len(dead)}
                ref = msgspec.structs.replace(ref, **changes)
            segments.append(ref)
        return msgspec.structs.replace(self._live.space, segments=tuple(segments))

    def _served(self, known: _Known, text: str, groups: Sequence[_Group]) -> bool:
        """Whether the document is what its state says; then its rows are kept."""
        if not known.state.chunks:
            return known.sure
        if not (known.sure or (text and text == known.state.content)):
            return False
        living = [group for group in groups if group.alive]
        if not living and self._live.whole:
            living = [group for group in groups if group.alive is None and group.count == known.state.chunks]
        if len(living) != 1 or living[0].count != known.state.chunks:
            return False
        if living[0].alive not in (None, living[0].count):
            return False
        it = living[0]
        self._keep[it.segment].add_range(it.first, it.first + it.count)
        return True

    def _marked(self, state: DocState) -> DocState:
        return DocState(
            state.uri,
            state.source,
            "failed",
            reason=LOST,
            detail="its vectors, rows or state were damaged on every replica",
            changed_at=self._attempt.now,
        )

    def _states(self) -> Iterator[tuple[str, object]]:
        """Each document's newest readable state, unless that says that it was deleted."""
        runs = list(enumerate(self._head.state))
        lost = [age for age, run in runs if run.blob.name in self._gone]
        newest_lost = max(lost, default=-1)
        levels = [self._run(run, age) for age, run in runs if run.blob.name not in self._gone]
        for uri, entries in groupby(merge(*levels), key=itemgetter(0)):
            _, age, record = next(entries)
            found = _state.decode(record)
            if found.status != state.DELETED:
                yield uri, _Known(found, -age > newest_lost)

    def _run(self, run: RunRef, age: int) -> Iterator[tuple[str, int, bytes]]:
        """Entries that sort newest first among equal uris."""
        opened = blob.open_blob(self._attempt.stores, run.blob, report=self._attempt.report)
        self._stack.callback(opened.close)
        return ((uri, -age, record) for uri, record in table.Table(opened))

    def _texts(self) -> Iterator[tuple[str, object]]:
        """The content digest of each document's newest text; nothing if any text is gone, or none is needed."""
        gone = any(run.blob.name in self._gone for run in self._head.texts)
        if gone or not any(run.blob.name in self._gone for run in self._head.state):
            return
        view = state.TextView(self._head.texts, self._attempt.stores, self._attempt.report)
        for text in view.scan():
            yield text.uri, text.content

    def _groups(self, name: str) -> Iterator[tuple[str, object]]:
        segment, blind = self._segments[name], name in self._live.blind
        made = self._places.get(name)
        there = ((uri, *place) for uri, place in sorted(made.items())) if made is not None else segment.documents()
        for uri, first, count in there:
            alive = None if blind else count - segment.dead.range_cardinality(first, first + count)
            yield uri, _Group(name, first, count, alive)

    def _sealed(self, dead: pyroaring.BitMap) -> BlobRef:
        ref, path = dead_blob(self._attempt.folder, dead, self._attempt.txn)
        self._attempt.files[ref.name] = ref, path
        return ref


def _bare(ref: SegmentRef) -> SegmentRef:
    return msgspec.structs.replace(ref, facets=None)


def _full(count: int) -> pyroaring.BitMap:
    full = pyroaring.BitMap()
    full.add_range(0, count)
    return full
