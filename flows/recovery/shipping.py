"""Shipping as runs and commands have it: to all DR stores at the same time, beside what commits, never in its way.

What a DR store lacks at the end is said, and shipped by the next run or by `penstock ship`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.flows import wiring
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE
from penstock.flows.answers.render import count, size
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import fences
from penstock.flows.recovery.lane import Lane, Site
from penstock.flows.runs.accounting import Shipment
from penstock.index.errors import Unavailable

if TYPE_CHECKING:
    from penstock.index.recovery.lag import Lag

BESIDE_A_RUN, FOLLOWING = 15.0, 5.0
"""Seconds between two looks that nobody asks for."""
PATIENCE = 5.0
"""Seconds that a DR store has to say how far it is."""
_QUIET, _AGAIN = 2.0, 10.0
_LETTING_GO = 2.0


class Shipping:
    """Ships to each of `places` until `finish` or `close`, which it is given up by when it is left as a context."""

    def __init__(
        self, places: Sequence[StorePlace], site: Site, *, every: float, eager: bool = False, anew: bool = False
    ) -> None:
        self._note = site.note
        self._lanes = [Lane(place, site, every, eager=eager, anew=anew) for place in places]
        for lane in self._lanes:
            lane.start()

    def __enter__(self) -> Shipping:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def kick(self) -> None:
        """A version was acknowledged: look now."""
        for lane in self._lanes:
            lane.kick()

    def going(self) -> bool:
        """Whether there is a place that is still shipped to."""
        return any(lane.going() for lane in self._lanes)

    def finish(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """Ship what is left, for so many seconds at most and until `stopped`. What has a fault is tried once more.

        A DR store that had one already, and still does not answer after a moment, is not waited for.
        """
        started = time.monotonic()
        say, doubtful = started + _QUIET, [lane for lane in self._lanes if lane.problem]
        for lane in self._lanes:
            lane.end()
        while (going := [lane for lane in self._lanes if lane.going()]) and not stopped():
            now = time.monotonic()
            if now >= started + seconds:
                break
            if now >= say:
                say = now + _AGAIN
                self._say_what_is_left(going)
            if doubtful and now >= started + PATIENCE:
                answered = {name for name, lag in _lags(doubtful, _QUIET).items() if lag.reachable}
                for lane in doubtful:
                    if lane.name not in answered:
                        lane.cut()
                doubtful = []
            going[0].ended(0.1)
        self.close()

    def close(self) -> None:
        """Stop where it is; nothing is lost by that. A store that hangs is left behind."""
        until = time.monotonic() + _LETTING_GO
        for lane in self._lanes:
            lane.cut()
        for lane in self._lanes:
            lane.ended(max(0.0, until - time.monotonic()))

    def figures(self) -> dict[str, Shipment]:
        """How far each place is now, and what was shipped there."""
        lags = _lags(self._lanes, PATIENCE)
        return {lane.name: lane.figures(lags.get(lane.name)) for lane in self._lanes}

    def code(self, figures: Mapping[str, Shipment]) -> int:
        """The exit code of a command that shipped: the worst fault's, 1 where something is behind without one."""
        behind = any(one.versions_behind != 0 for one in figures.values())
        return max([INCOMPLETE if behind else COMPLETE, *(lane.code for lane in self._lanes)])

    def _say_what_is_left(self, lanes: Sequence[Lane]) -> None:
        for name, lag in _lags(lanes, _QUIET).items():
            if lag.versions:
                self._note(f"shipping to {name}: {count(lag.versions, 'version')}, {size(lag.bytes)} to go")


def beside(settings: Settings, home: Home, lineage: str, note: Callable[[str], None]) -> Shipping | None:
    """What goes on beside a run; None where no DR store is configured, or `during_runs` is off."""
    places = settings.snapshots.places
    if not places or not settings.snapshots.during_runs:
        return None
    return Shipping(places, Site(settings, home, lineage, note, os.environ), every=BESIDE_A_RUN)


def catch_up(
    settings: Settings,
    home: Home,
    note: Callable[[str], None],
    *,
    stopped: Callable[[], bool],
    follow: bool = False,
    anew: bool = False,
) -> tuple[dict[str, Shipment], int]:
    """Ship to every DR store what is not there; with `follow`, go on until `stopped`. (how far each is, the exit code).

    `anew`: begin anew where all that was shipped is gone. Raises `Unavailable` where nobody says which index this is;
    with `follow` that is waited for.
    """
    lineage = wiring.lineage(settings, home, wiring.stores(settings, home))
    if lineage is None and follow:
        note(f"{home.path}: neither the catalog nor a replica says which index this is; waiting for one that does")
        while lineage is None and not stopped():
            wiring.sleep(FOLLOWING / 10)
            lineage = wiring.lineage(settings, home, wiring.stores(settings, home))
        if lineage is None:
            return {}, COMPLETE
    if lineage is None:
        raise Unavailable(
            f"{home.path}: neither the catalog nor a replica says which index this is; run penstock status"
        )
    fences.check_met(home.path, lineage)
    fences.renew(home.path, lineage, os.environ, note)
    site = Site(settings, home, lineage, note, os.environ, note if follow else lambda _: None)
    with Shipping(settings.snapshots.places, site, every=FOLLOWING, eager=True, anew=anew) as shipping:
        while follow and shipping.going() and not stopped():
            wiring.sleep(0.1)
        shipping.finish(float("inf"), stopped)
        figures = shipping.figures()
        return figures, shipping.code({} if follow else figures)


def told(figures: Mapping[str, Shipment]) -> list[str]:
    """A line for each DR store that lacks something, with what helps."""
    lines = []
    for name, one in figures.items():
        if one.problem:
            lines.append(f"NOT shipped to {name}: {one.problem}; once that is mended, `penstock ship` catches up")
        elif one.versions_behind:
            left = f"{count(one.versions_behind, 'version')} ({size(one.bytes_behind or 0)})"
            lines.append(f"shipped to {name} up to version {one.version}; {left} to go: `penstock ship` catches up")
    return lines


def _lags(lanes: Sequence[Lane], seconds: float) -> dict[str, Lag]:
    """How far each place is; what does not say it in time is left out."""
    from penstock.index.blobs.deadline import gather

    work = {lane.name: lane.measured for lane in lanes}
    found = gather(work, lambda _: False, grace=0.0, limit=seconds, clock=time.monotonic)
    return {name: lag for name, lag in found.items() if lag is not None and not isinstance(lag, Exception)}
