"""What a run would do: the listing of a source compared with what the index knows of it.

Pure, but for the listing itself: nothing is fetched, nothing is written, time does not matter. Cost grows
with the listing; what is kept in memory grows with what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from penstock.connectors.types import Gap, Gone, Item, Mark
from penstock.flows.plans.estimate import Known, kind_of
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


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a document is to be done. Times are seconds since 1970.

    `parsers` are today's parsers: a document rejected by another one is tried again. `carried` digests the labels and
    metadata that the configuration gives this source: where they changed, documents are made again. `since` and
    `until` bound `Item.modified`; an item that does not say when it changed is not left out.
    """

    guard: DeletionGuard
    parsers: Container[str]
    now: float = 0.0
    carried: str = ""
    since: float | None = None
    until: float | None = None

    def wants(self, item: Item) -> bool:
        """Whether the item changed within the time that was asked for."""
        if item.modified is None:
            return True
        return (self.since is None or item.modified >= self.since) and (
            self.until is None or item.modified < self.until
        )


@dataclass(slots=True)
class SourcePlan:
    """The plan for one source. `todo` is sorted by uri."""

    source: str
    complete: bool
    todo: list[Todo] = field(default_factory=list)
    listed: int = 0
    unchanged: int = 0
    filtered: int = 0
    still_rejected: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    """Documents that failed and whose next try has not come yet, by reason."""
    next_try: float = 0.0
    """When the first of those is due; 0 if there is none."""
    deferred: int = 0
    put_off: set[str] = field(default_factory=set)
    """Version tokens of new documents that this run leaves out: what is gone may be one of them under its old name."""
    gone: list[DocState] = field(default_factory=list)
    withheld: int = 0
    gaps: list[Gap] = field(default_factory=list)
    unlisted: str = ""
    """Why the source could not be listed at all."""
    held: str = ""
    """Why nothing is to come into the source: it is not listed, and stays as it is."""
    asked: bool = False
    """Of a source that is held: somebody asked for this one."""
    lost: int = 0
    """Of a source that is held: documents that were good on no replica, and stay out until it goes on."""
    cursor: str | None = None
    """Where the changes feed goes on, once all of this plan is in the index."""
    contents: dict[str, str] = field(default_factory=dict)
    """Content digests that are served now, of the documents to do: equal content is unchanged after all."""
    adopted: frozenset[str] = frozenset()
    """Documents that lie prepared in the spool; they are no longer in `todo`."""
    began: float = 0.0
    """When listing began: each change before it is in the plan."""
    known: dict[str, Known] = field(default_factory=dict)
    """The source's indexed documents by kind: how many tokens a byte makes there."""

    @property
    def bytes(self) -> int:
        return sum(max(todo.item.size, 0) for todo in self.todo)

    @property
    def idle(self) -> bool:
        return not self.todo and not self.gone

    @property
    def settled(self) -> bool:
        """Whether nothing was left out on purpose, so that a cursor may pass all of it."""
        return not (self.deferred or self.filtered or self.withheld or self.gaps or self.unlisted or self.held)


Find = Callable[[Iterable[str]], Mapping[str, DocState]]
"""The states that the index has of some uris."""


def compare(
    source: str,
    listing: Iterable[Item | Gap | Mark],
    known: Iterable[DocState],
    find: Find,
    *,
    complete: bool,
    rules: Rules,
) -> SourcePlan:
    """Compare a listing with document state.

    `complete`: the listing covers the whole source, so that what is missing from it is gone; else nothing
    is inferred. `known` are the source's states. Of a document that is as it should be, only the version token is
    held in memory. A listing that raises makes no plan.
    """
    plan = SourcePlan(source=source, complete=complete)
    light = {state.uri: _light(state, plan, rules) for state in known}
    total = len(light)
    seen: set[str] = set()
    wanted: list[Item] = []
    for entry in listing:
        match entry:
            case Gap():
                plan.gaps.append(entry)
            case Mark():
                plan.cursor = entry.cursor
            case Item() if entry.uri not in seen and light.get(entry.uri) is not _SEEN:
                prior = light.get(entry.uri)
                if prior is None:
                    seen.add(entry.uri)
                else:
                    light[entry.uri] = _SEEN
                plan.listed += 1
                if prior == entry.version:
                    plan.unchanged += 1
                elif _to_do(plan, entry, prior if isinstance(prior, DocState) else None, rules):
                    wanted.append(entry)
    _todo(plan, wanted, find)
    if complete:
        prefixes = tuple(gap.uri_prefix for gap in plan.gaps)
        gone = [uri for uri, prior in light.items() if prior is not _SEEN]
        _gone(plan, [uri for uri in gone if not (prefixes and uri.startswith(prefixes))], total, find, rules)
    return plan


def compare_changes(
    source: str,
    feed: Iterable[Item | Gone | Gap | Mark],
    holes: Iterable[DocState],
    find: Find,
    count: Callable[[], int],
    rules: Rules,
) -> SourcePlan:
    """Compare what a changes feed says with document state. Cost grows with the feed, not with the source.

    `holes` are the source's failed and rejected documents: those that are due are done again, listed or not.
    `count` says how many documents the source has, for the guard; it is asked only where many are gone.
    """
    plan = SourcePlan(source=source, complete=False)
    items: dict[str, Item] = {}
    gone: set[str] = set()
    for entry in feed:
        match entry:
            case Gap():
                plan.gaps.append(entry)
            case Mark():
                plan.cursor = entry.cursor
            case Gone():
                gone.add(entry.uri)
            case Item():
                items[entry.uri] = entry
    for hole in holes:
        if hole.uri not in items and hole.uri not in gone and hole.locator:
            items[hole.uri] = item_of(hole)
    plan.listed = len(items)
    priors = find(items)
    wanted = [item for uri, item in items.items() if _to_do(plan, item, priors.get(uri), rules)]
    _todo(plan, wanted, find)
    vanished = list(find(gone - items.keys()))
    few = len(vanished) <= rules.guard.min_count
    _gone(plan, vanished, 0 if few else count(), find, rules)
    return plan


def again(source: str, states: Iterable[DocState], find: Find) -> SourcePlan:
    """The plan to do exactly these documents again, without a listing and whatever their schedule says."""
    plan = SourcePlan(source=source, complete=False)
    wanted = [item_of(state) for state in states]
    plan.listed = len(wanted)
    _todo(plan, wanted, find)
    return plan


def item_of(state: DocState) -> Item:
    """The item that a document was made of, or should have been, as far as the index knows it."""
    return Item(state.uri, state.locator, state.version, state.size, state.modified or None)


_SEEN = object()


def _light(state: DocState, plan: SourcePlan, rules: Rules) -> object:
    """Its version token if nothing else matters, so that a large source fits in memory; else the state itself."""
    if state.status != "indexed":
        return state
    kind = kind_of(state.uri)
    if (known := plan.known.get(kind)) is None:
        known = plan.known[kind] = Known()
    known.add(state.size, state.tokens)
    return state.version if state.carried.partition(".")[0] == rules.carried else state


def _to_do(plan: SourcePlan, item: Item, prior: DocState | None, rules: Rules) -> bool:
    """Whether the item is to be done; otherwise it is counted where it belongs."""
    match verdict(item, prior, rules):
        case "unchanged":
            plan.unchanged += 1
        case "rejected":
            assert prior is not None
            plan.still_rejected[prior.reason] += 1
        case "waiting":
            assert prior is not None
            plan.waiting[prior.reason] += 1
            plan.next_try = min(plan.next_try or prior.next_try, prior.next_try)
        case _ if not rules.wants(item):
            plan.filtered += 1
            if prior is None:
                plan.put_off.add(item.version)
        case _:
            return True
    return False


def _todo(plan: SourcePlan, wanted: Iterable[Item], find: Find) -> None:
    items = sorted(wanted, key=lambda item: item.uri)
    priors = find([item.uri for item in items])
    for item in items:
        prior = priors.get(item.uri)
        plan.todo.append(Todo(item, prior))
        if prior is not None and prior.chunks:
            plan.contents[item.uri] = prior.content


def _gone(plan: SourcePlan, uris: list[str], known: int, find: Find, rules: Rules) -> None:
    listed = plan.listed if plan.complete else 1  # a feed may say of everything that it is gone
    if rules.guard.withholds(len(uris), known, listed):
        plan.withheld = len(uris)
        return
    plan.gone = sorted(find(uris).values(), key=lambda state: state.uri)


def verdict(item: Item, prior: DocState | None, rules: Rules) -> str:
    """`unchanged`, `rejected` (still, by the same parser), `waiting` (failed, not due yet) or `todo`."""
    if prior is None or prior.version != item.version:
        return "todo"
    match prior.status:
        case "indexed":
            return "unchanged" if prior.carried.partition(".")[0] == rules.carried else "todo"
        case "rejected":
            return "rejected" if not prior.parser or prior.parser in rules.parsers else "todo"
        case _:
            return "waiting" if prior.next_try > rules.now else "todo"


def defer_beyond(plans: Iterable[SourcePlan], limit: int | None) -> None:
    """Keep the first `limit` items of all plans together; count the rest as deferred."""
    if limit is None:
        return
    left = limit
    for plan in plans:
        kept = plan.todo[:left]
        plan.put_off |= {todo.item.version for todo in plan.todo[left:] if todo.prior is None}
        plan.deferred += len(plan.todo) - len(kept)
        plan.todo = kept
        left -= len(kept)
