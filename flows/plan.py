"""What a run would do: the listing of a source compared with what the index knows of it.

Pure, but for the listing itself: nothing is fetched, nothing is written, time does not matter. Cost grows
with the listing; what is kept in memory grows with what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from penstock.connectors.types import Gap, Item
from penstock.index.types import DocState


@dataclass(frozen=True, slots=True)
class Todo:
    """An item to fetch, and what the index knew of it before (None: nothing)."""

    item: Item
    prior: DocState | None


@dataclass(frozen=True, slots=True)
class DeletionGuard:
    """How many documents may vanish from a source at once before a person is asked.

    Withheld when more than `min_count` *and* more than `min_share` of the source are gone, or when the
    listing is empty though documents are known; `confirmed` is a ceiling that a person has set.
    """

    min_count: int = 20
    min_share: float = 0.2
    confirmed: int = 0

    def withholds(self, gone: int, known: int, listed: int) -> bool:
        if gone == 0 or gone <= self.confirmed:
            return False
        if listed == 0:
            return True
        return gone > self.min_count and gone > self.min_share * known


@dataclass(slots=True)
class SourcePlan:
    """The plan for one source. `todo` is sorted by uri."""

    source: str
    complete: bool
    todo: list[Todo] = field(default_factory=list)
    listed: int = 0
    unchanged: int = 0
    still_rejected: Counter[str] = field(default_factory=Counter)
    deferred: int = 0
    gone: list[DocState] = field(default_factory=list)
    withheld: int = 0
    gaps: list[Gap] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    """Content digests that are served now, of the documents to do: equal content is unchanged after all."""
    adopted: frozenset[str] = frozenset()
    """Documents that lie prepared in the spool; they are no longer in `todo`."""

    @property
    def bytes(self) -> int:
        return sum(max(todo.item.size, 0) for todo in self.todo)

    @property
    def idle(self) -> bool:
        return not self.todo and not self.gone


def compare(
    source: str,
    listing: Iterable[Item | Gap],
    known: Iterator[DocState],
    *,
    complete: bool,
    guard: DeletionGuard,
    parsers: Container[str],
) -> SourcePlan:
    """Compare a listing with document state.

    `complete`: the listing covers the whole source, so that what is missing from it is gone; else nothing
    is inferred. `known` are the source's states, `parsers` today's parsers: a document rejected by
    another one is tried again. A listing that raises makes no plan.
    """
    states = {state.uri: state for state in known}
    plan = SourcePlan(source=source, complete=complete)
    total = len(states)
    for entry in listing:
        if isinstance(entry, Gap):
            plan.gaps.append(entry)
            continue
        plan.listed += 1
        prior = states.pop(entry.uri, None)
        match verdict(entry, prior, parsers):
            case "unchanged":
                plan.unchanged += 1
            case "rejected":
                assert prior is not None
                plan.still_rejected[prior.reason] += 1
            case _:
                plan.todo.append(Todo(entry, prior))
                if prior is not None and prior.chunks:
                    plan.contents[entry.uri] = prior.content
    plan.todo.sort(key=lambda todo: todo.item.uri)
    if complete:
        prefixes = tuple(gap.uri_prefix for gap in plan.gaps)
        gone = [state for state in states.values() if not (prefixes and state.uri.startswith(prefixes))]
        if guard.withholds(len(gone), total, plan.listed):
            plan.withheld = len(gone)
        else:
            plan.gone = sorted(gone, key=lambda state: state.uri)
    return plan


def verdict(item: Item, prior: DocState | None, parsers: Container[str]) -> str:
    """`unchanged`, `rejected` (still, by the same parser) or `todo`."""
    if prior is None or prior.version != item.version:
        return "todo"
    match prior.status:
        case "indexed":
            return "unchanged"
        case "rejected":
            return "rejected" if not prior.parser or prior.parser in parsers else "todo"
        case _:
            return "todo"


def defer_beyond(plans: Iterable[SourcePlan], limit: int | None) -> None:
    """Keep the first `limit` items of all plans together; count the rest as deferred."""
    if limit is None:
        return
    left = limit
    for plan in plans:
        kept = plan.todo[:left]
        plan.deferred += len(plan.todo) - len(kept)
        plan.todo = kept
        left -= len(kept)
