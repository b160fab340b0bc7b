"""What must always hold, as functions that name each breach in one line. Used by `verify` and by the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from penstock.index.log import LogRecord
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


def wrong_documents(states: Iterable[DocState], live: Mapping[str, Sequence[tuple[int, int]]]) -> Iterator[str]:
    """A document is all there or not there: its live rows are one whole group of `chunks`, or none.

    `live`: for each uri, (live rows, all rows) of each segment in which it has any live row.
    """
    seen = set()
    for state in states:
        seen.add(state.uri)
        groups = live.get(state.uri, ())
        alive = sum(count for count, _ in groups)
        if state.status == "rejected" and state.chunks:
            yield f"{state.uri} is rejected and has {state.chunks} chunks"
        if alive != state.chunks:
            yield f"{state.uri} is {state.status} with {state.chunks} chunks and has {alive} live vectors"
        elif len(groups) > 1 or any(count != whole for count, whole in groups):
            yield f"{state.uri} is served in parts: of two versions, or half of one"
    for uri in sorted(live.keys() - seen):
        yield f"{uri} has {sum(c for c, _ in live[uri])} live vectors and no document state"


def wrong_chain(chain: Sequence[tuple[LogRecord, Manifest]]) -> Iterator[str]:
    """Versions follow one another: parent, lineage and time. `chain` ascends by version."""
    for record, manifest in chain:
        said = (manifest.lineage, manifest.version, manifest.epoch, manifest.txn, manifest.committed_at)
        if said != (record.lineage, record.version, record.epoch, record.txn, record.committed_at):
            yield f"version {record.version}: its log record and its manifest contradict one another"
    for (before, older), (after, newer) in pairwise(chain):
        if newer.parent != before.manifest.name:
            yield f"version {after.version}: its parent is not version {before.version}"
        if newer.committed_at <= older.committed_at:
            yield f"version {after.version}: its time is not after that of version {before.version}"
        if newer.lineage != older.lineage:
            yield f"version {after.version}: it is of another lineage than version {before.version}"


def wrong_continuity(versions: Sequence[int], head: int) -> Iterator[str]:
    """A replica's log holds every version from 1 to the head."""
    missing = sorted(set(range(1, head + 1)) - set(versions))
    if missing:
        yield f"its log lacks version {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
