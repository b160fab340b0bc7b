"""What a version still is without blobs that are good on no replica: the change that makes it consistent again.

Kept is what can be proven. A document is served on if its state is certain and one whole group of its rows is known
to live; otherwise its rows are buried, and its state says that it was lost, so that the next ingest embeds exactly it.

Made again rather than lost: a segment's table of documents and its facets (from its rows); an IVF index or its
quantizer (the segment is flat until the next compaction, with the raw vectors that it has); a bitmap of dead rows
(from document state, while all other segments of the space are there). Lost texts are left out: their documents are
served, and must be read from their sources again should they ever be chunked anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from penstock.index.blobs import blob, table
from penstock.index.care.salvage import Content, Places, Salvage
from penstock.index.commits import state
from penstock.index.commits.attempt import Attempt
from penstock.index.decoding import decoder
from penstock.index.segments.facets import Gathering
from penstock.index.types import BlobRef, Manifest, Row, RunRef, SegmentRef, SourceState, SpaceRef

_row = decoder(Row)


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
        live = spaces.get(head.live, Salvage(SpaceRef(0), frozenset(), True))
        with ExitStack() as stack:
            content = Content(head, live, self._gone, self._places, attempt, stack)
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

    def _space(self, name: str, space: SpaceRef, head: Manifest, attempt: Attempt) -> Salvage:
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
        return Salvage(msgspec.structs.replace(space, **changes), frozenset(blind), whole)

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


def _listed_anew(sources: Mapping[str, SourceState]) -> dict[str, SourceState]:
    """Sources without their cursors: what was lost must be offered again."""
    return {name: msgspec.structs.replace(source, cursor="") for name, source in sources.items()}
