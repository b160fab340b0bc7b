"""What would be lost, and from where it would come back: the DR stores as they are right now. Looks only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers.render import count, duration, size
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import drill_log, remedies
from penstock.flows.recovery.drill_log import Drilled
from penstock.index.errors import Fenced

if TYPE_CHECKING:
    from penstock.index.stores.store import Store

FRESH = 600.0
"""Seconds after the first commit in which nobody is told that nothing was shipped yet."""
SECONDS = 5.0
"""So long a DR store has to say how far it is."""
LATE = 3600.0
"""Seconds behind from which on somebody has to look: whatever ships is not running."""


Ask = Callable[[Mapping[str, Callable[[], "StoreStatus"]], float], dict[str, "StoreStatus | Exception"]]
"""Does all of the work at once, waits so many seconds at most, and returns what came of each."""


class StoreStatus(msgspec.Struct, frozen=True):
    """One DR store. `version`: up to which it has everything, or, where it cannot be reached, had when last shipped to.

    What is behind is None where nobody can tell. `fenced`: why this index must not be written any more. `problem`: why
    it cannot be shipped there, or could not the last time, "" if it can; `step`: what helps. `shares`: the replicas on
    the same disk or in the same bucket, which fail together with it.
    """

    place: str
    reachable: bool
    version: int = 0
    versions_behind: int | None = None
    bytes_behind: int | None = None
    seconds_behind: float | None = None
    problem: str = ""
    fenced: str = ""
    shares: list[str] = []
    step: str = remedies.SHIP

    @property
    def left(self) -> str:
        """What it lacks, as people say it; "" if it lacks nothing that is known of."""
        if not self.versions_behind:
            return ""
        versions = f"{count(self.versions_behind, 'version')} ({size(self.bytes_behind or 0)})"
        return f"{versions} and {duration(self.seconds_behind or 0.0)} behind"

    @property
    def warning(self) -> str:
        """What somebody has to look at, "" if nothing is."""
        if self.fenced:
            return f"DR store {self.place}: {self.fenced}"
        if self.problem:
            return f"DR store {self.place}: {self.problem}" + (f" (it is {self.left})" if self.left else "")
        if not self.version and (self.seconds_behind or 0.0) > FRESH:
            return f"DR store {self.place}: nothing was shipped there yet (it is {self.left})"
        return f"DR store {self.place} is {self.left}" if (self.seconds_behind or 0.0) > LATE else ""

    @property
    def misplaced(self) -> str:
        """That it is lost together with what it is to replace, "" if it is not."""
        if not self.shares:
            return ""
        with_whom = f"replica{'s' * (len(self.shares) > 1)} {' and '.join(self.shares)}"
        return f"DR store {self.place} fails together with {with_whom}: put it on another disk, best in another region"


class Recovery(msgspec.Struct, frozen=True):
    """What stands ready for the day on which all replicas are lost. `drills`: the last one of each DR store.

    `fenced`: why this index must not be written any more, as its home remembers.
    """

    stores: list[StoreStatus] = []
    drills: list[Drilled] = []
    fenced: str = ""

    def drilled(self, now: float) -> str:
        """What the drills have shown, in a line; "" where there is no DR store."""
        from penstock.flows.answers.drill import row

        return row(self.drills, len(self.stores), now) if self.stores else ""

    @property
    def unproven(self) -> list[str]:
        """DR stores whose last drill did not pass, and why not."""
        return [
            f"the last drill with {one.store} {'failed' if one.result == 'failed' else 'could not be held'}"
            + (f": {one.reasons[0]}" if one.reasons else "")
            for one in self.drills
            if one.result != "passed"
        ]


def look(
    settings: Settings,
    home: Home,
    replicas: Mapping[str, Store],
    lineage: str | None,
    now: float,
    environ: Mapping[str, str],
    seconds: float = SECONDS,
    ask: Ask | None = None,
) -> Recovery:
    """Ask all DR stores of the configuration at the same time; one that does not answer costs `seconds`, once.

    `ask`: how, for whoever looks again and again; what it leaves out is late.
    `lineage` None: of the index itself nothing can be read, so nobody knows what they lack.
    """
    from penstock.index.blobs.deadline import gather

    places = settings.snapshots.places
    had = {place.url: _last(home, place, lineage) for place in places}
    work = {place.url: partial(_one, home, place, had[place.url], replicas, lineage, now, environ) for place in places}
    if ask is not None:
        found = ask(work, seconds)
    else:
        found = gather(work, lambda _: False, grace=0.0, limit=seconds, clock=time.monotonic)
    stores = []
    for place in places:
        one = found.get(place.url, TimeoutError(f"no answer within {seconds:g} s"))
        said = str(one).removeprefix(f"{place.url}: ")
        one = StoreStatus(place.url, False, problem=said) if isinstance(one, Exception) else one
        stores.append(one if one.version else msgspec.structs.replace(one, version=had[place.url]))
    drills = drill_log.read(home.path, _unsaid)
    return Recovery(stores, drill_log.latest(drills, [place.url for place in places]), _met(home, lineage))


def _met(home: Home, lineage: str | None) -> str:
    from penstock.flows.recovery import fences

    try:
        fences.check_met(home.path, lineage)
    except Fenced as fault:
        return str(fault)
    return ""


def _last(home: Home, place: StorePlace, lineage: str | None) -> int:
    from penstock.flows.recovery import seen

    known = seen.last(home, place.url, lineage) if lineage else None
    return known.version if known else 0


def _one(
    home: Home,
    place: StorePlace,
    had: int,
    replicas: Mapping[str, Store],
    lineage: str | None,
    now: float,
    environ: Mapping[str, str],
) -> StoreStatus:
    from penstock.flows.recovery import archives, seen
    from penstock.index.recovery.lag import Obstacle, measure
    from penstock.index.stores.stores import same_failure_domain

    archive = archives.archive(place, environ, _unsaid)
    folder: Path | None = getattr(archive.store, "root", None)
    trouble = seen.trouble(home, place.url, lineage) if lineage else None
    problem, step = (f"not shipped the last time: {trouble.problem}", trouble.step) if trouble else ("", remedies.SHIP)
    gone = folder is not None and not folder.exists()
    if not had and gone and folder is not None and folder.parent.is_dir():
        return StoreStatus(place.url, False, problem=problem or "nothing was shipped there yet", step=step)
    if lineage is None:
        versions = archive.versions()
        return StoreStatus(place.url, True, versions[-1][0] if versions else 0)
    shares = [name for name, replica in replicas.items() if same_failure_domain({"": archive.store, name: replica})]
    lag = measure(list(replicas.values()), archive, lineage, now, _unsaid)
    helps = remedies.EMPTIED if had and gone else remedies.of_obstacle(lag.obstacle)
    fenced = lag.reason if lag.obstacle in (Obstacle.SHUT_OUT, Obstacle.FENCE) else ""
    if not lag.reachable:
        problem = lag.reason.removeprefix(f"{place.url}: ")
        answers = lag.obstacle is not None
        return StoreStatus(place.url, answers, problem=problem, fenced=fenced, shares=shares, step=helps)
    if fenced:
        step = helps
    elif had and not lag.version:
        problem, step = f"is empty, and had version {had}", remedies.EMPTIED
    left = lag.versions, lag.bytes, round(lag.seconds, 3)
    return StoreStatus(place.url, True, lag.version, *left, problem, fenced, shares, step)


def _unsaid(_: str) -> None:
    return
