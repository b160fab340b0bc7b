"""How fresh the index is: the moment of a source before which each change is searchable, and how long changes take.

    HOME/freshness.json: source → as_of, since, the last run's lags, told

`as_of` never claims more than is true. It moves to the beginning of a listing (or of a changes feed) of the whole
source, once all of that listing is in the index: nothing failed, deferred, withheld or not listed. Whatever takes
documents out of the index that were in it forgets it (`forget`). A file that cannot be read knows nothing.
"""

from __future__ import annotations

import fcntl
import math
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.flows.config.names import ADHOC
from penstock.flows.config.settings import Settings
from penstock.flows.plans.plan import SourcePlan
from penstock.flows.plans.targets import Target
from penstock.flows.recovery.drill_log import replace
from penstock.flows.runs.accounting import Fresh, IngestRequest
from penstock.flows.runs.events import CommitLanded, Event
from penstock.index.blobs import framed
from penstock.index.errors import IndexFault
from penstock.index.types import DocState

FILE = "freshness.json"
MOST = 200_000
"""Lags of one source that are held in memory; those of further documents do not count."""


class Kept(msgspec.Struct, frozen=True):
    """What is remembered of one source. Times are seconds since 1970, 0: never.

    `version`: that of the index when `as_of` was so. `since`: when the source was first met. `told`: when somebody was
    told that it is stale, 0 while it is not.
    """

    as_of: float = 0.0
    version: int = 0
    since: float = 0.0
    told: float = 0.0
    documents: int = 0
    lag_p50: float = 0.0
    lag_p95: float = 0.0
    lag_max: float = 0.0


class _File(msgspec.Struct, frozen=True):
    format: int
    sources: dict[str, Kept]


@dataclass(frozen=True, slots=True)
class Breach:
    """A source that is staler than its objective allows. Times are seconds since 1970, spans seconds.

    `as_of`: each change before it is searchable, 0 if that is known of none; `since`: when the objective was passed.
    """

    source: str
    as_of: float
    objective: float
    age: float
    since: float


def read(home: Path) -> dict[str, Kept]:
    """What is known by source; nothing where there is no file, or one that cannot be read."""
    path = home / FILE
    try:
        return framed.decode(path.read_bytes(), _File, str(path)).sources
    except (IndexFault, OSError):
        return {}


def figures(settings: Settings, home: Path, now: float) -> dict[str, Fresh]:
    """How fresh each source with an objective is. Looks only."""
    kept = read(home)
    return {name: fresh(kept.get(name, Kept(since=now)), objective, now) for name, objective in objectives(settings)}


def breaches(settings: Settings, home: Path, now: float) -> list[Breach]:
    """The sources that are staler now than they may be. Looks only."""
    return _stale(settings, read(home), now)


def newly_breached(settings: Settings, home: Path, now: float) -> list[Breach]:
    """Those of `breaches` that nobody was told of yet: whoever asks tells. Each breach is given once, to one caller.

    A source that is well again may be given again later. One with an objective is remembered from now on.
    """
    named = dict(objectives(settings))
    if not named:
        return []
    with _changing(home) as kept:
        for name in named:
            kept.setdefault(name, Kept(since=now))
        stale = {breach.source: breach for breach in _stale(settings, kept, now)}
        found = [breach for name, breach in stale.items() if not kept[name].told]
        for name in named:
            told = (kept[name].told or now) if name in stale else 0.0
            kept[name] = msgspec.structs.replace(kept[name], told=told)
    return found


def settle(
    home: Path,
    complete: Mapping[str, float],
    lags: Mapping[str, Collection[float]],
    sources: Sequence[str],
    version: int,
    now: float,
) -> dict[str, Kept]:
    """Remember what a run came to that left the index at `version`; what is known of its `sources` then.

    `complete`: source → the beginning of a listing that is all in the index; `lags`: seconds from a change to when it
    was searchable.
    """
    with _changing(home) as kept:
        for name in sources:
            known = kept.get(name, Kept(since=now))
            if known.version > version:  # a disaster took versions with it, and what was in them
                known = _forgotten(known)
            if name in complete:
                # Of two runs the one that began later knows more, whichever ends first.
                known = msgspec.structs.replace(known, as_of=max(known.as_of, complete[name]), version=version)
            if lags.get(name):
                known = _measured(known, sorted(lags[name]))
            kept[name] = known
        return {name: kept[name] for name in sources}


def after(
    settings: Settings,
    request: IngestRequest,
    plans: Sequence[SourcePlan],
    targets: Iterable[Target],
    landed: Mapping[str, DocState],
    lags: Mapping[str, Collection[float]],
    version: int,
    now: float,
) -> dict[str, Fresh]:
    """What is known of the sources of a run that left the index at `version`, which is remembered. Raises `OSError`."""
    named = [plan.source for plan in plans if plan.source != ADHOC]
    if request.dry_run or not named:
        return {}
    kept = settle(Path(request.home), complete(request, plans, targets, landed), lags, named, version, now)
    wanted = dict(objectives(settings))
    return {name: fresh(one, wanted.get(name), now) for name, one in kept.items()}


def forget(home: Path, sources: Collection[str] | None = None) -> None:
    """What was searchable may be so no more, of these sources, or of all: nothing is claimed before the next complete
    listing. Does nothing where nothing is known."""
    if not (home / FILE).exists():
        return
    with _changing(home) as kept:
        for name in list(kept) if sources is None else sources:
            if name in kept:
                kept[name] = _forgotten(kept[name])


def complete(
    request: IngestRequest, plans: Iterable[SourcePlan], targets: Iterable[Target], landed: Mapping[str, DocState]
) -> dict[str, float]:
    """Source → when its listing began, of those that are in the index as they were listed. `landed`: uri → what this
    run committed."""
    if request.dry_run or request.retry is not None or request.since is not None or request.until is not None:
        return {}
    parts = {target.source.name for target in targets if target.under}
    return {plan.source: plan.began for plan in plans if plan.source not in parts and _all_in(plan, landed)}


def _all_in(plan: SourcePlan, landed: Mapping[str, DocState]) -> bool:
    whole = plan.complete or plan.cursor is not None
    if not (whole and plan.began and plan.settled) or plan.waiting.total():
        return False
    wanted = {todo.item.uri for todo in plan.todo} | plan.adopted | {state.uri for state in plan.gone}
    return all(uri in landed and landed[uri].status != "failed" for uri in wanted)


class Lags:
    """A listener: how long changes took from their source to the index, by source, in seconds.

    A document that changed before the index was as fresh as `kept` says is no news (it came to the source with its old
    date), and of a source that was never complete nothing is news yet: neither says how long a change takes.
    """

    def __init__(self, kept: Callable[[], Mapping[str, Kept]], clock: Callable[[], float]) -> None:
        self._read, self._clock = kept, clock
        self._kept: Mapping[str, Kept] | None = None
        self.found: dict[str, array[float]] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, CommitLanded) or not event.fresh:
            return
        if self._kept is None:
            self._kept = self._read()
        known, now = self._kept.get(event.source, Kept()), self._clock()
        found = self.found.setdefault(event.source, array("d"))
        if known.as_of:
            found.extend([lag for lag in event.fresh if now - lag >= known.as_of][: max(0, MOST - len(found))])


def objectives(settings: Settings) -> list[tuple[str, float]]:
    """(source, seconds) of each source that has an objective."""
    return [(name, one.freshness) for name, one in settings.sources.items() if one.freshness is not None]


def fresh(kept: Kept, objective: float | None, now: float) -> Fresh:
    """What is known of a source as an account shows it."""
    since = _base(kept) + objective if objective is not None else None
    return Fresh(
        as_of=kept.as_of,
        objective=objective,
        breached_since=since if since is not None and since < now else 0.0,
        documents=kept.documents,
        lag_p50=kept.lag_p50,
        lag_p95=kept.lag_p95,
        lag_max=kept.lag_max,
    )


def quantile(ordered: Collection[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the ordered ones do not exceed. Raises on none."""
    values = list(ordered)
    return values[max(0, math.ceil(share * len(values)) - 1)]


def _forgotten(known: Kept) -> Kept:
    return msgspec.structs.replace(known, as_of=0.0, version=0, since=known.as_of or known.since)


def _base(kept: Kept) -> float:
    """What age is counted from: a source that was never complete is as old as our acquaintance."""
    return kept.as_of or kept.since


def _stale(settings: Settings, kept: Mapping[str, Kept], now: float) -> list[Breach]:
    found = []
    for name, objective in objectives(settings):
        known = kept.get(name, Kept(since=now))
        age = now - _base(known)
        if age > objective:
            found.append(Breach(name, known.as_of, objective, age, now - age + objective))
    return found


def _measured(known: Kept, ordered: list[float]) -> Kept:
    p50, p95 = quantile(ordered, 0.5), quantile(ordered, 0.95)
    return msgspec.structs.replace(
        known, documents=len(ordered), lag_p50=round(p50, 3), lag_p95=round(p95, 3), lag_max=round(ordered[-1], 3)
    )


@contextmanager
def _changing(home: Path) -> Iterator[dict[str, Kept]]:
    """What is known, to be changed: one at a time on this machine. Raises `OSError`."""
    with (home / f"{FILE}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read(home)
        kept = dict(before)
        yield kept
        if kept != before:
            replace(home / FILE, framed.encode(_File(framed.FORMAT, kept)))
