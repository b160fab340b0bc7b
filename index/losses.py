"""What a version still is without blobs that are good on no replica: the change that makes it consistent again.

Kept is what can be proven. A document is served on if its state is certain and one whole group of its rows is known
to live; otherwise its rows are buried, and its state says that it was lost, so that the next ingest embeds exactly it.

Made again rather than lost: a segment's table of documents and its facets (from its rows); an IVF index or its
quantizer (the segment is flat until the next compaction, with the raw vectors that it has); a bitmap of dead rows
(from document state, while all other segments of the space are there). Lost texts are left out: their documents are
served, and must be read from their sources again should they ever be chunked anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec
import pyroaring

from penstock.index import blob, state, table
from penstock.index.attempt import Attempt
from penstock.index.facets import Gathering
from penstock.index.invariants import counted
from penstock.index.segment import Segment
from penstock.index.types import BlobRef, DocState, Manifest, Row, RunRef, SegmentRef, SourceState, SpaceRef

LOST = "lost"
Places = dict[str, tuple[int, int]]
"""First ordinal and count of each document in a segment."""
_state = msgspec.json.Decoder(DocState)
_row = msgspec.json.Decoder(Row)


class Mend:
    """A change for `Writer.advance`. Afterwards `lost` says in words what went, `documents` which are marked."""

    def __init__(self, gone: Collection[str]) -> None:
        self._gone = frozenset(gone)
        self._places: dict[str, Places] = {}
        self.lost: list[str] = []
        self.documents: list[str] = []

    def __call__(self, attempt: Attempt) -> Manifest | None:
        """The head without what is gone; None if it is whole and consistent without any change."""
        self.lost, self.documents = [], []
        head = attempt.head
        spaces = {name: self._space(name, space, head, attempt) for name, space in head.spaces.items()}
        runs, texts = self._left("state", head.state), self._left("texts", head.texts)
        live = spaces.get(head.live, _Salvage(SpaceRef(0), frozenset(), True))
        with ExitStack() as stack:
            content = _Content(head, live, self._gone, self._places, attempt, stack)
            run, path = state.write_run(attempt.folder, content.marks(), attempt.txn)
            made = {name: salvage.space for name, salvage in spaces.items()}
            if head.live in made:
                made[head.live] = content.buried()
        self.documents = content.documents
        if run.count:
            attempt.files[run.blob.name] = run.blob, path
            runs = (*runs, run)
        counted_wrong = any(head.counts.get(name, 0) != number for name, number in content.counts.items())
        if not (self.lost or self.documents or counted_wrong):
            return None
        sources = _listed_anew(head.sources) if self.documents else head.sources
        return attempt.next(spaces=made, state=runs, texts=texts, sources=sources, counts=content.counts)

    def _left(self, what: str, runs: Sequence[RunRef]) -> tuple[RunRef, ...]:
        for run in runs:
            if run.blob.name in self._gone:
                self.lost.append(f"{what} of up to {run.count} documents (blob {run.blob.name})")
        return tuple(run for run in runs if run.blob.name not in self._gone)

    def _space(self, name: str, space: SpaceRef, head: Manifest, attempt: Attempt) -> _Salvage:
        """What is left of a space's segments, and of which the dead rows are not known."""
        left: list[SegmentRef] = []
        blind: set[str] = set()
        for ref in space.segments:
            kept = self._segment(ref, attempt)
            deadless = kept is not None and kept.dead is not None and kept.dead.name in self._gone
            if kept is None or (deadless and name != head.live):
                self.lost.append(f"segment {ref.id} of space {name}, {ref.count} vectors")
                continue
            if deadless:
                self.lost.append(f"which rows of segment {ref.id} of space {name} are dead")
                kept = msgspec.structs.replace(kept, dead=None, dead_count=0)
                blind.add(kept.id)
            left.append(kept)
        whole = len(left) == len(space.segments)
        changes: dict[str, object] = {"segments": tuple(left)}
        if space.quantizer is not None and space.quantizer.name in self._gone:
            self.lost.append(f"the quantizer of space {name}: the next compaction trains another")
            changes |= {"quantizer": None, "trained_for": 0}
        return _Salvage(msgspec.structs.replace(space, **changes), frozenset(blind), whole)

    def _segment(self, ref: SegmentRef, attempt: Attempt) -> SegmentRef | None:
        """The segment with what could be made again; None if its rows or raw vectors are gone."""
        raw = ref.vectors or ref.index
        if {ref.rows.name, raw.name} & self._gone:
            return None
        quantizer = ref.quantizer.name if ref.quantizer else ""
        if {ref.index.name, quantizer} & self._gone:
            self.lost.append(f"the IVF index of segment {ref.id}: it is flat until the next compaction")
            ref = msgspec.structs.replace(ref, kind="flat", index=raw, vectors=None, quantizer=None)
        facets = ref.facets.name if ref.facets else ""
        if {ref.docs.name, facets} & self._gone:
            self.lost.append(f"tables of segment {ref.id}: they were made again from its rows")
            ref, self._places[ref.id] = _tabled(ref, attempt)
        return ref


@dataclass(frozen=True, slots=True)
class _Salvage:
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


class _Content:
    """The join of state, texts and rows: says which documents are lost, and gathers what is buried and counted."""

    def __init__(
        self,
        head: Manifest,
        live: _Salvage,
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
        part = self._attempt.folder / f"dead.{self._attempt.txn}.part"
        dead.run_optimize()
        part.write_bytes(dead.serialize())
        return _kept(part, self._attempt)


def _tabled(ref: SegmentRef, attempt: Attempt) -> tuple[SegmentRef, Places]:
    """The segment with its table of documents and its facets made again from its rows; and what that table says."""
    places: Places = {}
    facets = Gathering()
    rows = blob.open_blob(attempt.stores, ref.rows, report=attempt.report)
    with closing(rows):
        for ordinal, (_, record) in enumerate(table.Table(rows)):
            row = _row.decode(record)
            first, count = places.get(row.uri, (ordinal, 0))
            places[row.uri] = first, count + 1
            facets.add(ordinal, row)
    docs, looked = (attempt.folder / f"{ref.id}.{name}.part" for name in ("docs", "facets"))
    for part in (docs, looked):
        part.unlink(missing_ok=True)
    table.write(docs, ((uri, msgspec.json.encode(place)) for uri, place in sorted(places.items())))
    table.write(looked, facets.records())
    return msgspec.structs.replace(ref, docs=_kept(docs, attempt), facets=_kept(looked, attempt)), places


def _kept(part: Path, attempt: Attempt) -> BlobRef:
    ref = blob.seal(part, attempt.txn)
    attempt.files[ref.name] = ref, part.rename(attempt.folder / ref.name)
    return ref


def _bare(ref: SegmentRef) -> SegmentRef:
    return msgspec.structs.replace(ref, facets=None)


def _full(count: int) -> pyroaring.BitMap:
    full = pyroaring.BitMap()
    full.add_range(0, count)
    return full


def _listed_anew(sources: Mapping[str, SourceState]) -> dict[str, SourceState]:
    """Sources without their cursors: what was lost must be offered again."""
    return {name: msgspec.structs.replace(source, cursor="") for name, source in sources.items()}
