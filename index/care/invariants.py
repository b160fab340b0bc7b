"""What must always hold, as functions that name each breach in one line. Used by `verify` and by the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from penstock.index.commits.log import LogRecord
from penstock.index.types import DocState, Manifest


def counted(state: DocState | None) -> dict[str, int]:
    """What one document adds to the manifest's counts; a deleted or unknown one adds nothing.

    A document is served when it is indexed, or failed while an older version of it is still there.
    """
    if state is None or state.status == "deleted":
        return {}
    served = state.status == "indexed" or state.chunks > 0
    return {
        "documents": int(served),
        "chunks": state.chunks,
        "failed": int(state.status == "failed"),
        "rejected": int(state.status == "rejected"),
    }


def counts(states: Iterable[DocState]) -> dict[str, int]:
    """The manifest's counts, from document state."""
    total = {"documents": 0, "chunks": 0, "failed": 0, "rejected": 0}
    for state in states:
        for name, number in counted(state).items():
            total[name] += number
    return total


def wrong_counts(manifest: Manifest, states: Iterable[DocState]) -> Iterator[str]:
    """The manifest's counts are those of its document state."""
    for name, number in counts(states).items():
        if manifest.counts.get(name, 0) != number:
            yield f"counts say {manifest.counts.get(name, 0)} {name}, document state has {number}"


def wrong_document(uri: str, state: DocState | None, groups: Sequence[tuple[int, int]]) -> Iterator[str]:
    """A document is all there or not there: its live rows are one whole group of `chunks`, or none.

    `groups`: (live rows, all rows) of each segment in which it has any live row.
    """
    alive = sum(count for count, _ in groups)
    if state is None:
        if alive:
            yield f"{uri} has {alive} live vectors and no document state"
        return
    if state.status == "rejected" and state.chunks:
        yield f"{uri} is rejected and has {state.chunks} chunks"
    if alive != state.chunks:
        yield f"{uri} is {state.status} with {state.chunks} chunks and has {alive} live vectors"
    elif len(groups) > 1 or any(count != whole for count, whole in groups):
        yield f"{uri} is served in parts: of two versions, or half of one"


def wrong_documents(states: Iterable[DocState], live: Mapping[str, Sequence[tuple[int, int]]]) -> Iterator[str]:
    """As `wrong_document`, of all of them; `live` is by uri."""
    seen = set()
    for state in states:
        seen.add(state.uri)
        yield from wrong_document(state.uri, state, live.get(state.uri, ()))
    for uri in sorted(live.keys() - seen):
        yield from wrong_document(uri, None, live[uri])


def wrong_chain(chain: Iterable[tuple[LogRecord, Manifest]]) -> Iterator[str]:
    """Versions follow one another: parent, lineage and time. `chain` ascends by version; it may have gaps."""
    before: tuple[LogRecord, Manifest] | None = None
    for record, newer in chain:
        said = (newer.lineage, newer.version, newer.epoch, newer.txn, newer.committed_at)
        if said != (record.lineage, record.version, record.epoch, record.txn, record.committed_at):
            yield f"version {record.version}: its log record and its manifest contradict one another"
        if before is not None and before[0].version == record.version - 1:
            yield from _wrong_step(*before, record, newer)
        before = record, newer


def _wrong_step(before: LogRecord, older: Manifest, after: LogRecord, newer: Manifest) -> Iterator[str]:
    if newer.parent != before.manifest.name:
        yield f"version {after.version}: its parent is not version {before.version}"
    if newer.committed_at <= older.committed_at:
        yield f"version {after.version}: its time is not after that of version {before.version}"
    if newer.lineage != older.lineage:
        yield f"version {after.version}: it is of another lineage than version {before.version}"


def wrong_continuity(versions: Iterable[int], head: int, floor: int = 0) -> Iterator[str]:
    """A log holds every version after the floor, up to the head."""
    missing = sorted(set(range(floor + 1, head + 1)) - set(versions))
    if missing:
        yield f"its log lacks version {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
