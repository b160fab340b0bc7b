"""The budget of one source, shared by all threads, runs and processes that open it over the same ledger."""

from __future__ import annotations

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

LEDGER_AGAIN = 60.0
"""Seconds until it may be worth trying again when the ledger itself could not be written."""


class SharedBudget:
    """The `Budget` of the source `name`. Thread-safe; opens nothing until it is asked.

    `clock`: seconds since 1970; it may be wrong, or be set while this runs. `sleep` is called for a second at most at
    a time, and may raise to stop waiting. `random` is between 0 and 1. `token` makes fresh random ids. `limits` are
    those of this caller alone: another process may still go by older ones. `faults`: what the ledger raises when it
    cannot be reached; it becomes a `StopSource`.
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
    ) -> None:
        self.name, self.limits = name, limits
        self._ledger, self._clock, self._sleep = ledger, clock, sleep
        self._random, self._token = random, token
        self._holders, self._faults = holders or Holders(token), faults

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
            while True:
                match self._change(lambda state: turns.ask(state, self.limits, caller)):
                    case turns.Go():
                        return
                    case turns.Wait(seconds):
                        self._sleep(seconds)
                    case turns.Stop(seconds, why):
                        raise self._stopped(seconds, why)
        except StopSource:
            raise
        except BaseException:
            with suppress(Exception):  # what is already being raised matters more; the queue forgets us anyway
                self._change(lambda state: turns.gave_up(state, caller))
            raise

    def _end(self, caller: turns.Caller, outcome: Outcome) -> None:
        self._change(lambda state: turns.ended(state, self.limits, caller, outcome))

    def _change(self, step: Callable[[State], T]) -> T:
        def act(value: bytes) -> tuple[bytes, T]:
            state = decoded(value, self._clock())
            answer = step(state)
            return encoded(state), answer

        try:
            return self._ledger.change(self.name, act)
        except self._faults as error:
            raise StopSource(
                f"{self.name}: its request budget cannot be kept ({error}); mend that and run again, nothing is lost",
                after=LEDGER_AGAIN,
            ) from error

    def _stopped(self, seconds: float, why: str) -> StopSource:
        until = datetime.fromtimestamp(min(self._clock() + seconds, 4e9), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        limits = self.limits
        what = {
            "quota": f"the {limits.per_day} requests that it allows a day are spent until {until}",
            "cooldown": f"it asks everybody to wait until {until}, beyond the patience of {limits.patience:g} s",
            "down": f"it keeps failing and was given {limits.patience:g} s to recover; the next try may be at {until}",
        }[why]
        return StopSource(f"{self.name}: {what}; nothing is lost, run again then", after=seconds)


class SharedPermit:
    """As `Permit`: only the first `done` counts."""

    def __init__(self, end: Callable[[Outcome], None]) -> None:
        self._end, self._over = end, False

    def done(self, outcome: Outcome) -> None:
        """Give the place back, with what is to be learnt. Raises `StopSource` if the ledger cannot be written."""
        if not self._over:
            self._over = True
            self._end(outcome)
