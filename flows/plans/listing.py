"""What a source lists, or what its changes feed says, made into a plan.

The feed is an accelerator and never the truth: everything is listed when it was not for `full_every` seconds, when
somebody asks for it, and when the feed does not reach back to the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol, TypeVar, cast

from penstock.connectors.types import CursorExpired, Gap, Incremental, Item, Mark, Source
from penstock.flows.answers.progress import Observer
from penstock.flows.config.names import ADHOC
from penstock.flows.plans import plan as plans
from penstock.flows.plans.plan import Find, Rules, SourcePlan
from penstock.flows.plans.targets import Target
from penstock.flows.runs.accounting import IngestRequest, Retry
from penstock.index.types import DocState

T = TypeVar("T")
_REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Known:
    """What the index knows: the states of a source, those of some uris, and the counts of its manifest."""

    scan: Callable[[str], Iterator[DocState]]
    find: Find
    counts: Mapping[str, int]

    @classmethod
    def nothing(cls) -> Known:
        """Of an index that was never made."""
        return cls(lambda source: iter(()), lambda uris: {}, {})

    def holes(self, source: str) -> Iterator[DocState]:
        """Failed and rejected documents. Costs nothing where the whole index has none."""
        if not self.counts.get("failed") and not self.counts.get(_REJECTED):
            return iter(())
        return (state for state in self.scan(source) if state.status in ("failed", _REJECTED))


def plan(
    request: IngestRequest, target: Target, source: Source, known: Known, rules: Rules, observer: Observer
) -> SourcePlan:
    """The plan for one source. Raises what listing it raises, `SourceError` among it."""
    name = target.source.name
    if request.retry is not None:
        states = list(_meant(known.holes(name), request.retry))
        return plans.again(name, [state for state in states if state.locator], known.find)
    if not request.full and not _due(target, rules.now) and isinstance(source, Incremental):
        try:
            feed = _counted(source.changes(target.source.cursor), observer)
            return plans.compare_changes(
                name, feed, known.holes(name), known.find, lambda: sum(1 for _ in known.scan(name)), rules
            )
        except CursorExpired as expired:
            observer.note(f"{name}: {expired}; everything is listed instead")
    entries = _counted(_entries(target, source), observer)
    return plans.compare(name, entries, known.scan(name), known.find, complete=target.complete, rules=rules)


def _due(target: Target, now: float) -> bool:
    """Whether everything has to be listed: only a part is asked for, there is no cursor, it is too long ago, or the
    configuration says something else of the source now, which no feed tells of."""
    state = target.source
    late = now - state.listed_at >= target.full_every
    return bool(target.under) or not state.cursor or late or state.described != target.described


def _meant(holes: Iterable[DocState], retry: Retry) -> Iterator[DocState]:
    for state in holes:
        if retry.uris and state.uri not in retry.uris:
            continue
        if retry.reason and state.reason != retry.reason:
            continue
        if state.status == _REJECTED and not retry.uris and not retry.reason:
            continue
        yield state


class _Folder(Protocol):
    """What can list a part of itself."""

    def list(self, under: PurePath) -> Iterator[Item | Gap | Mark]: ...


def _entries(target: Target, source: Source) -> Iterator[Item | Gap | Mark]:
    """What the source lists, or the parts of it that the target names: only folders are asked for parts."""
    if not target.under or target.source.name == ADHOC:
        yield from source.list()
        return
    folder = cast(_Folder, source)
    for path in target.under:
        yield from folder.list(path.relative_to(target.source.binding))


def _counted(entries: Iterator[T], observer: Observer) -> Iterator[T]:
    for number, entry in enumerate(entries, start=1):
        if number % 1000 == 0:
            observer.stage(f"listing: {number:,} found")
        yield entry
