"""What a delta does to the head: who keeps, who is dropped, which rows die. Reads blobs, writes only locally."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyroaring

from penstock.index.care.invariants import counted
from penstock.index.commits import delta as deltas
from penstock.index.commits import manifest as manifests
from penstock.index.commits import state
from penstock.index.commits.attempt import Attempt, Files
from penstock.index.commits.delta import Delta
from penstock.index.commits.replicas import Report
from penstock.index.errors import Conflict
from penstock.index.segments import segment
from penstock.index.types import BlobRef, DocState, Manifest, Row, RunRef, SegmentRef, SourceState

Places = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Built:
    """A delta's segment, None when it has no vectors; where each document's rows are; and its blobs."""

    segment: SegmentRef | None
    places: Places
    files: Files


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of each document of a delta. `kept` and `old` are by uri; `kept` is what will be written."""

    kept: dict[str, DocState]
    old: dict[str, DocState]
    dropped: tuple[str, ...]


def held_since(base: Manifest, head: Manifest) -> frozenset[str]:
    """The sources that were held after `base`: what was planned against it must not come into them any more."""
    before = {name: source.held for name, source in base.sources.items()}
    return frozenset(name for name, source in head.sources.items() if source.held not in ("", before.get(name)))


def decide(
    delta: Delta, base: state.StateView | None, head: state.StateView, held: Container[str] = frozenset()
) -> Fate:
    """Drop what changed between base and head (base None: they are the same), and what is of a source that was
    `held` meanwhile; skip what is done already."""
    uris = [doc.uri for doc in delta.states]
    old = head.find(uris)
    was = old if base is None else base.find(uris)
    kept, dropped = {}, []
    for doc in sorted(delta.states, key=lambda doc: doc.uri):
        now = old.get(doc.uri)
        wanted = _carried(doc, now)
        gone = doc.status == "deleted" and now is None
        if was.get(doc.uri) != now or doc.source in held:
            # The same delta, committed before by a writer that never heard of it, is no conflict.
            if not gone and wanted != now:
                dropped.append(doc.uri)
        elif not gone:
            kept[doc.uri] = wanted
    return Fate(kept, old, tuple(dropped))


def _carried(new: DocState, now: DocState | None) -> DocState:
    """A failed document goes on serving what it has; a rejected or deleted one serves nothing."""
    if new.status == "failed":
        chunks, tokens = (now.chunks, now.tokens) if now else (0, 0)
        return msgspec.structs.replace(new, chunks=chunks, tokens=tokens)
    if new.status in ("rejected", "deleted"):
        return msgspec.structs.replace(new, chunks=0, tokens=0)
    return new


def check_kept_rows(fate: Fate, places: Places) -> None:
    """Raise `ValueError` for an indexed document without rows that is not what the index serves already."""
    for uri, new in fate.kept.items():
        if new.status == "indexed" and new.chunks and uri not in places:
            old = fate.old.get(uri)
            if old is None or (old.content, old.chunks) != (new.content, new.chunks):
                raise ValueError(f"{uri} comes without rows, and is not what the index serves")


def sources(
    delta: Delta, base: Manifest, head: Manifest, view: state.StateView, report: Report
) -> dict[str, SourceState | None]:
    """The sources to change: those that nobody else changed since `base`. Raises `Conflict`."""
    changed: dict[str, SourceState | None] = {}
    deleted = {doc.uri for doc in delta.states if doc.status == "deleted"}
    for name, wanted in delta.sources.items():
        now = head.sources.get(name)
        if now == wanted:
            continue
        if now != base.sources.get(name):
            report(f"source {name} was changed by another run meanwhile; its newer state stays")
            continue
        if wanted is None and any(doc.uri not in deleted for doc in view.scan(name)):
            raise Conflict(f"source {name} has documents that its removal does not name: plan again")
        changed[name] = wanted
    for name in {doc.source for doc in delta.states if doc.status != "deleted"}:
        if name in base.sources and changed.get(name, head.sources.get(name)) is None:
            raise Conflict(f"source {name} was removed meanwhile: plan again")
    return changed


def build_segment(delta: Delta, folder: Path, txn: str) -> Built:
    """Write the delta's vectors and rows as a segment. Raises `ValueError`, `NoSpace`."""
    places: Places = {}
    if delta.vectors is None or not len(delta.vectors):
        deltas.check_places(delta, {row.uri: 1 for row in delta.rows()})
        return Built(None, places, {})
    ref, paths = segment.build(
        folder, txn, delta.vectors, _noting(delta.rows(), places), txn, provenance=delta.provenance
    )
    deltas.check_places(delta, {uri: count for uri, (_, count) in places.items()})
    return Built(ref, places, {blob.name: (blob, paths[blob.name]) for blob in manifests.blobs_of(ref)})


def _noting(rows: Iterable[Row], places: Places) -> Iterator[Row]:
    for ordinal, row in enumerate(rows):
        first, count = places.get(row.uri, (ordinal, 0))
        places[row.uri] = (first, count + 1)
        yield row


def born(built: Built, fate: Fate, attempt: Attempt) -> SegmentRef | None:
    """The segment with the rows of documents that are not kept dead at birth; None if none is alive."""
    ref = built.segment
    if ref is None:
        return None
    dead = _ranges(place for uri, place in built.places.items() if uri not in fate.kept)
    if len(dead) == ref.count:
        return None
    if not dead:
        return ref
    return msgspec.structs.replace(ref, dead=write_dead(dead, attempt), dead_count=len(dead))


def bury(attempt: Attempt, space: str, fate: Fate, places: Places) -> manifests.Dead:
    """New dead bitmaps for the segments that hold old chunks of what changed; by space, by segment id."""
    served = {uri for uri in fate.kept if uri in fate.old and fate.old[uri].chunks}
    gone = {uri for uri in served if fate.kept[uri].status in ("deleted", "rejected")}
    renewed = {uri for uri in served if fate.kept[uri].status == "indexed" and uri in places}
    dead: dict[str, dict[str, tuple[BlobRef, int]]] = {}
    for name, at in attempt.head.spaces.items():
        leaving = gone | renewed if name == space else gone
        for ref in at.segments if leaving else ():
            opened = segment.Segment(ref, attempt.stores, attempt.report)
            try:
                bitmap = _ranges(opened.locate(leaving).values())
                if bitmap:
                    bitmap |= opened.dead
            finally:
                opened.close()
            if len(bitmap) > ref.dead_count:
                dead.setdefault(name, {})[ref.id] = write_dead(bitmap, attempt), len(bitmap)
    return dead


def state_runs(attempt: Attempt, view: state.StateView, fate: Fate) -> tuple[RunRef, ...]:
    """The head's runs with the kept states added, the newest runs merged in as the plan says."""
    fresh = [fate.kept[uri] for uri in sorted(fate.kept)]
    return add_states(attempt, view, fresh)


def add_states(attempt: Attempt, view: state.StateView, fresh: Sequence[DocState]) -> tuple[RunRef, ...]:
    """The head's runs with `fresh` states (ascending by uri) added."""
    runs = attempt.head.state
    if not fresh:
        return runs
    merge = state.merge_plan(runs, len(fresh))
    stay, into = runs[: len(runs) - merge], runs[len(runs) - merge :]
    run, path = state.write_run(attempt.folder, view.merged(into, fresh, last_level=not stay), attempt.txn)
    attempt.files[run.blob.name] = run.blob, path
    return (*stay, run) if run.count else stay


def text_runs(attempt: Attempt, delta: Delta, fate: Fate) -> tuple[RunRef, ...]:
    """The head's texts and those of the kept documents: a dropped one's text must not hide the winner's."""
    kept = (text for text in delta.texts() if text.uri in fate.kept)
    run, path = state.write_texts(attempt.folder, kept, attempt.txn)
    if not run.count:
        return attempt.head.texts
    attempt.files[run.blob.name] = run.blob, path
    return (*attempt.head.texts, run)


def counts(head: Manifest, fate: Fate) -> dict[str, int]:
    """The head's counts, less what the kept documents were, plus what they are."""
    total = Counter(head.counts)
    for uri, new in fate.kept.items():
        total.update(counted(new))
        total.subtract(counted(fate.old.get(uri)))
    return dict(total)


def _ranges(places: Iterable[tuple[int, int]]) -> pyroaring.BitMap:
    bitmap = pyroaring.BitMap()
    for first, count in places:
        bitmap.add_range(first, first + count)
    return bitmap


def write_dead(bitmap: pyroaring.BitMap, attempt: Attempt) -> BlobRef:
    """Build the blob of a dead bitmap for this attempt."""
    ref, path = segment.dead_blob(attempt.folder, bitmap, attempt.txn)
    attempt.files[ref.name] = ref, path
    return ref
