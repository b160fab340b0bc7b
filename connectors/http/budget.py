"""The budget of one source, shared by all threads, runs and processes that open it over the same ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TypeVar

from penstock.connectors.http import turns
from penstock.connectors.http.budget_state import State, decoded, encoded
from penstock.connectors.http.holders import Holders
from penstock.connectors.http.types import BudgetLimits, Ledger, Outcome
from penstock.connectors.types import StopSource

T = TypeVar("T")

Waits = Callable[[str, float], object]
"""Told why nobody may ask the source (`cooldown`, `down`, `quota`), and for how many seconds as far as is known; told
again at each look while it lasts, from any thread. Must not raise."""

LEDGER_AGAIN = 60.0
"""Seconds until it may be worth trying again when the ledger itself could not be written."""


class SharedBudget:
    """The `Budget` of the source `name`. Thread-safe; opens nothing until it is asked.

    `clock`: seconds since 1970; it may be wrong, or be set while this runs. `sleep` is called for a second at most at
    a time, and may raise to stop waiting. `random` is between 0 and 1. `token` makes fresh random ids. `limits` are
    those of this caller alone: another process may still go by older ones. `faults`: what the ledger raises when it
    cannot be reached; it becomes a `StopSource`. `waits` is told whenever nobody may ask the source.
    """

    def __init__(
        self,
        name: str,
        limits: BudgetLimits,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        token: Callable[[], str],
        holders: Holders | None = None,
        faults: tuple[type[Exception], ...] = (OSError,),
        waits: Waits = lambda why, seconds: None,
    ) -> None:
        self.name, self.limits = name, limits
        self._ledger, self._clock, self._sleep = ledger, clock, sleep
        self._random, self._token = random, token
        self._owed: deque[tuple[turns.Caller, Outcome]] = deque()
        self._holders, self._faults, self._waits = holders or Holders(token), faults, waits

    @contextmanager
    def request(self) -> Iterator[SharedPermit]:
        """As `Budget.request`. What `sleep` raises passes through, and the turn in the queue is given back."""
        holders = self._holders
        caller = turns.Caller(self._token(), holders.me(), holders.host, self._clock, holders.alive, self._random)
        self._wait(caller)
        permit = SharedPermit(lambda outcome: self._end(caller, outcome))
        try:
            yield permit
        finally:
            permit.done(Outcome("cancelled"))

    def _wait(self, caller: turns.Caller) -> None:
        try:
            answer = self._ask(caller)
            while isinstance(answer, turns.Wait):
                if answer.why in ("cooldown", "down"):
                    self._waits(answer.why, answer.left)
                self._sleep(answer.seconds)
                answer = self._ask(caller)
        except BaseException:
            # The turn is given back, and the place that was perhaps granted without our learning of it.
            self._end(caller, Outcome("cancelled"))
            raise
        if isinstance(answer, turns.Stop):
            self._waits(answer.why, answer.seconds)
            raise self._stopped(answer.seconds, answer.why)

    def _ask(self, caller: turns.Caller) -> turns.Go | turns.Wait | turns.Stop:
        return self._change(lambda state: turns.ask(state, self.limits, caller))

    def _end(self, caller: turns.Caller, outcome: Outcome) -> None:
        # If the ledger cannot be written now, the next change tells it: the answer in hand is not lost for that.
        self._owed.append((caller, outcome))
        with suppress(StopSource):
            self._change(lambda state: None)

    def _change(self, step: Callable[[State], T]) -> T:
        over = self._all_owed()

        def act(value: bytes) -> tuple[bytes, T]:
            state = decoded(value, self._clock())
            for caller, outcome in over:
                turns.ended(state, self.limits, caller, outcome)
            answer = step(state)
            return encoded(state), answer

        try:
            return self._ledger.change(self.name, act)
        except BaseException as error:
            self._owed.extend(over)
            if not isinstance(error, self._faults):
                raise
            raise StopSource(
                f"{self.name}: its request budget cannot be kept ({error}); mend that and run again, nothing is lost",
                after=LEDGER_AGAIN,
            ) from error

    def _all_owed(self) -> list[tuple[turns.Caller, Outcome]]:
        found = []
        with suppress(IndexError):  # one by one: other threads take from it as well
            while True:
                found.append(self._owed.popleft())
        return found

    def _stopped(self, seconds: float, why: str) -> StopSource:
        until = instant(self._clock() + seconds)
        limits = self.limits
        what = {
            "quota": f"the {limits.per_day} requests that it allows a day are spent until {until}",
            "cooldown": f"it asks everybody to wait until {until}, beyond the patience of {limits.patience:g} s",
            "down": f"it keeps failing and was given {limits.patience:g} s to recover; the next try may be at {until}",
        }[why]
        return StopSource(f"{self.name}: {what}; nothing is lost, run again then", after=seconds)


def instant(time: float) -> str:
    """A moment, seconds since 1970, as a message says it."""
    return datetime.fromtimestamp(min(time, 4e9), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def hindrance(name: str, ledger: Ledger, now: float) -> tuple[str, float] | None:
    """What keeps everybody from asking the source `name` for more than a moment: (why, seconds since 1970 until when).

    For people who look; changes nothing. None if nothing does. Raises what the ledger raises.
    """

    def look(value: bytes) -> tuple[bytes, State | None]:
        return value, decoded(value, now) if value else None

    state = ledger.change(name, look)
    if state is None:
        return None
    waits = {"it asks everybody to wait": state.cooldown}
    if state.breaker.open:
        waits["it kept failing, and is left alone but for a probe"] = state.breaker.next_probe
    why, until = max(waits.items(), key=lambda pair: pair[1])
    left = until - max(state.clock.time, now)
    return (why, now + left) if left > 1 or state.breaker.open else None


class SharedPermit:
    """As `Permit`: only the first `done` counts."""

    def __init__(self, end: Callable[[Outcome], None]) -> None:
        self._end, self._over = end, False

    def done(self, outcome: Outcome) -> None:
        """Give the place back, with what is to be learnt; later, if the ledger cannot be written now."""
        if not self._over:
            self._over = True
            self._end(outcome)
