"""What may happen to a budget: a caller asks for its turn, a request ends.

Nothing here waits or looks around. A caller that may not go yet is told how long to sleep before it asks again, and
keeps its turn in the queue meanwhile: first come, first served.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from penstock.connectors.http.breaker import LONGEST_PAUSE
from penstock.connectors.http.budget_state import LEASE, Place, State, Waiter
from penstock.connectors.http.pace import DAY, spacing
from penstock.connectors.http.types import BudgetLimits, Outcome

SHORTEST_WAIT, LONGEST_WAIT = 0.0005, 1.0
REPEATED = 3
"""Throttled so often in a row, without being told for how long: everybody pauses, longer each time."""
FIRST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `clock` is read while nobody else changes the state. `alive`: None where nobody here can know."""

    ticket: str
    holder: str
    host: str
    clock: Callable[[], float]
    alive: Callable[[str], bool | None]
    chance: Callable[[], float]
    """Between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Go:
    """The place is yours."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after `seconds`, at most one. `left`: how long nobody may ask, as far as is known now."""

    seconds: float
    why: Literal["place", "rate", "cooldown", "down"]
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """It makes no sense to wait: `seconds` until it may."""

    seconds: float
    why: Literal["quota", "cooldown", "down"]


def ask(state: State, limits: BudgetLimits, caller: Caller) -> Go | Wait | Stop:
    """Ask for a place, for the first time or again. After `Go` the request is made, and ends by `ended`."""
    now = caller.clock()
    time = state.clock.read(caller.host, now)
    state.quota.turn(now)
    if state.place(caller.ticket) is not None:
        return Go()
    state.show_life(caller.holder, time)
    if limits.per_day is not None and state.quota.spent >= limits.per_day:
        state.leave(caller.ticket)
        return Stop(state.quota.until_midnight(now), "quota")
    me = state.enter(caller.ticket, caller.holder, time)
    answer = _in_the_way(state, limits, caller, me, time) or _turn(state, limits, caller, me, time)
    if isinstance(answer, Wait):
        me.due = time + answer.seconds
        return answer
    state.leave(caller.ticket)
    if isinstance(answer, Go):
        _grant(state, limits, caller, time)
    return answer


def ended(state: State, limits: BudgetLimits, caller: Caller, outcome: Outcome) -> None:
    """The request is over, or the caller waits no longer (`cancelled`). Harmless if its place was given up before."""
    time = state.clock.read(caller.host, caller.clock())
    seconds = max(0.0, outcome.seconds) if math.isfinite(outcome.seconds) else 0.0
    place, in_flight = state.place(caller.ticket), len(state.places)
    began = time - seconds if place is None else place.began
    state.leave(caller.ticket)
    if place is not None:
        state.places.remove(place)
    match outcome.verdict:
        case "ok":
            state.breaker.succeeded()
            state.concurrency.answered(seconds, in_flight, limits.concurrency)
            state.throttles, state.unwell = 0, None
        case "throttled":
            state.unwell = time if state.unwell is None else state.unwell
            news = state.concurrency.overloaded(began, time, limits.concurrency)
            _throttled(state, caller, outcome, news, time)
        case "failed":
            state.unwell = time if state.unwell is None else state.unwell
            state.breaker.failed(caller.ticket, time, _chance(caller))
            # Where no head ever came, it took as long as the place was held.
            if state.concurrency.hung(seconds or time - began):
                state.concurrency.overloaded(began, time, limits.concurrency)
        case _:
            state.breaker.abandoned(caller.ticket)
    _cool(state, time, outcome.cooldown)


def _throttled(state: State, caller: Caller, outcome: Outcome, news: bool, time: float) -> None:
    if news:
        state.throttles += 1
        if state.throttles >= REPEATED and not outcome.cooldown > 0:
            bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(state.throttles - REPEATED, 16))
            _cool(state, time, _chance(caller) * bound)
    if state.breaker.open and caller.ticket == state.breaker.probe:
        state.breaker.put_off(time, _chance(caller))


def _cool(state: State, time: float, seconds: float) -> None:
    """Everybody waits; never shortened by a later, smaller wish."""
    if seconds > 0:  # false for what is no number
        state.cooldown = max(state.cooldown, time + min(seconds, DAY))


def _in_the_way(state: State, limits: BudgetLimits, caller: Caller, me: Waiter, time: float) -> Wait | Stop | None:
    """What the source itself has against a request now."""
    why: Literal["cooldown", "down"] = "cooldown"
    remaining, probing = state.cooldown - time, False
    if remaining <= 0 and state.breaker.open:
        why = "down"
        if state.breaker.probing(time):
            state.drop_the_dead(caller.alive, time)
        probing = state.breaker.probing(time)
        remaining = LONGEST_WAIT / 10 if probing else state.breaker.next_probe - time
    if remaining <= 0:
        return None
    me.blocked = time if me.blocked is None else me.blocked
    # While a probe is under way only the caller's own waiting counts: the probe may yet succeed.
    since = me.blocked if probing or state.unwell is None else min(state.unwell, me.blocked)
    if time - since + (0.0 if probing else remaining) > limits.patience:
        return Stop(remaining, why)
    return Wait(_bounded(remaining), why, remaining)


def _turn(state: State, limits: BudgetLimits, caller: Caller, me: Waiter, time: float) -> Go | Wait:
    ahead, free = state.ahead(me, time), state.free(limits.concurrency, time)
    if ahead >= free:
        state.drop_the_dead(caller.alive, time)
        ahead, free = state.ahead(me, time), state.free(limits.concurrency, time)
    if ahead >= free:
        pause = min(max(state.concurrency.latency / 8, 0.002), 0.1)
        return Wait(_bounded(pause * (1 + ahead - max(free, 0))), "place")
    gap = spacing(limits.requests_per_second)
    if gap and (ahead or time < state.last + gap):
        return Wait(_bounded(max(state.last + gap - time, 0.0) + ahead * gap), "rate")
    return Go()


def _grant(state: State, limits: BudgetLimits, caller: Caller, time: float) -> None:
    if state.unwell is not None and time - state.last > limits.patience + LONGEST_PAUSE:
        # Nobody tried for long: what comes now is another story.
        state.unwell, state.throttles, state.breaker.pauses = None, 0, 0
    state.places.append(Place(caller.ticket, caller.holder, time, time + LEASE))
    state.last = time
    state.quota.spent += 1
    if state.breaker.open:
        state.breaker.began(caller.ticket, time)


def _bounded(seconds: float) -> float:
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


def _chance(caller: Caller) -> float:
    return min(max(caller.chance(), 0.0), 1.0)
