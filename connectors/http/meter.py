"""Requests and tokens that one endpoint is given, counted by all threads, runs and processes over one ledger.

Beside the `SharedBudget` of the same endpoint, which knows places, cooldowns and the breaker: this counts what a
request weighs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from penstock.connectors.http import meter_state
from penstock.connectors.http.allowances import UNITS, Allowance, allowances
from penstock.connectors.http.budget import LEDGER_AGAIN, instant
from penstock.connectors.http.meter_state import Flow, State
from penstock.connectors.http.types import Ledger
from penstock.connectors.types import StopSource

T = TypeVar("T")

SHORTEST_WAIT, LONGEST_WAIT = 0.001, 1.0
SETTLING_WAIT = 0.2
"""Seconds between two looks whether requests under way have come back."""


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """What an endpoint is given. None: no limit that we know of; the server may still tell one.

    `tokens_per_day`: from midnight UTC. `tokens_per_run`: by this process's meter alone. `window`: seconds that
    "per minute" means; shorter in tests. `patience`: seconds that a caller waits for its turn.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokens_per_day: int | None = None
    tokens_per_run: int | None = None
    window: float = 60.0
    patience: float = 300.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What one request was granted: `tokens`, at `time` of the state's clock."""

    tokens: int
    time: float


class Meter:
    """Counts one endpoint, `name`. Thread-safe.

    `clock`: seconds since 1970. `sleep` is called for a second at most at a time, and may raise to stop waiting.
    `host` tells clocks apart. `faults`: what the ledger raises when it cannot be reached.
    """

    def __init__(
        self,
        name: str,
        limits: MeterLimits,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        host: str,
        faults: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        self.name, self.limits = name, limits
        self._ledger, self._clock, self._sleep, self._host, self._faults = ledger, clock, sleep, host, faults
        self._lock = threading.Lock()
        self._spent = self._reserved_tokens = self._under_way = 0

    @property
    def spent(self) -> int:
        """Tokens that this meter gave out and that were used, or may have been."""
        return self._spent

    def take(self, tokens: int) -> Taken:
        """Wait until a request of so many tokens may go. It is counted from now on; `settle` says what it really was.

        What a day or the run has no tokens left for waits until the requests under way are settled, as their answers
        cost less than was thought, mostly. Raises `StopSource` when there are none left then, or when its turn is
        beyond patience.
        """
        waited = self._reserve(tokens)
        try:
            while not isinstance(answer := self._asked(tokens, waited), Taken):
                if waited + answer > self.limits.patience:
                    raise self._stopped("its limit for each minute is used up, by others as well", answer)
                pause = min(max(answer, SHORTEST_WAIT), LONGEST_WAIT)
                self._sleep(pause)
                waited += pause
            return answer
        except BaseException:
            with self._lock:
                self._spent -= tokens
                self._reserved_tokens -= tokens
            raise

    def settle(self, taken: Taken, used: int | None, headers: Mapping[str, str]) -> None:
        """The request is over. `used`: tokens that are paid for; None where nobody knows: then all of them count.

        `headers` of the answer, lower-case names: what they say of the limits is learnt.
        """
        spare = 0 if used is None else taken.tokens - used
        said = allowances(headers)
        try:
            if spare or said:
                self._change(lambda state: self._over(state, taken, spare, said))
        except StopSource:
            pass  # the answer in hand is not lost for that; the next request says it
        finally:
            with self._lock:  # last: who waits for this looks at what the ledger has then
                self._spent -= spare
                self._reserved_tokens -= taken.tokens
                self._under_way -= 1

    def _reserve(self, tokens: int) -> float:
        """Set so many of the run's aside, once they are there. Gives the seconds that were waited."""
        waited, most = 0.0, self.limits.tokens_per_run
        while True:
            with self._lock:
                if most is None or self._spent + tokens <= most:
                    self._spent += tokens
                    self._reserved_tokens += tokens
                    return waited
                if not self._reserved_tokens or waited >= self.limits.patience:
                    raise StopSource(
                        f"{self.name}: the {most:,} tokens that one run may spend would be passed ({self._spent:,} are "
                        f"spent, the next request needs {tokens:,}); nothing is lost, the same command goes on with "
                        "as many again"
                    )
            self._sleep(SETTLING_WAIT)
            waited += SETTLING_WAIT

    def _asked(self, tokens: int, waited: float) -> Taken | float:
        """What is granted, or seconds to wait."""
        with self._lock:
            patient = self._under_way > 0 and waited < self.limits.patience
        answer = self._change(lambda state: self._ask(state, tokens, patient))
        if isinstance(answer, Taken):
            with self._lock:
                self._under_way += 1
        return answer

    def _ask(self, state: State, tokens: int, patient: bool) -> Taken | float:
        """What is granted, or seconds to wait. `patient`: what is under way may leave something of the day."""
        now, limits = self._clock(), self.limits
        time = state.clock.read(self._host, now)
        state.day.turn(now)
        if limits.tokens_per_day is not None and state.day.spent + tokens > limits.tokens_per_day:
            if patient:
                return SETTLING_WAIT
            left = state.day.until_midnight(now)
            said = (
                f"the {limits.tokens_per_day:,} tokens that it is allowed a day would be passed "
                f"({state.day.spent:,} are spent, the next request needs {tokens:,})"
            )
            raise self._stopped(said, left)
        parts = [(state.requests, 1.0, limits.requests_per_minute), (state.tokens, tokens, limits.tokens_per_minute)]
        allowed = [flow.allowed(most, limits.window, time) for flow, _, most in parts]
        ways = zip(parts, allowed, strict=True)
        wait = max(flow.wait(amount, most, limits.window, time) for (flow, amount, _), most in ways)
        if wait > 0:
            return wait
        for (flow, amount, _), most in zip(parts, allowed, strict=True):
            flow.grant(amount, most, limits.window, time)
        state.day.spent += tokens
        return Taken(tokens, time)

    def _over(self, state: State, taken: Taken, spare: int, said: Mapping[str, Allowance]) -> None:
        now, limits = self._clock(), self.limits
        time = state.clock.read(self._host, now)
        state.day.turn(now)
        state.day.spent = max(0, state.day.spent - spare)
        flows: dict[str, Flow] = {"requests": state.requests, "tokens": state.tokens}
        most = state.tokens.allowed(limits.tokens_per_minute, limits.window, time)
        state.tokens.credit(spare, taken.time, most, limits.window)
        for unit in UNITS:
            if unit in said:
                amount = 1.0 if unit == "requests" else taken.tokens - spare
                flows[unit].hear(said[unit], taken.time, amount, limits.window, time)

    def _change(self, step: Callable[[State], T]) -> T:
        def act(value: bytes) -> tuple[bytes, T]:
            state = meter_state.decoded(value)
            answer = step(state)
            return meter_state.encoded(state), answer

        try:
            return self._ledger.change(f"{self.name} meter", act)
        except self._faults as error:
            raise StopSource(
                f"{self.name}: what it was given cannot be counted ({error}); mend that and run again, nothing is lost",
                after=LEDGER_AGAIN,
            ) from error

    def _stopped(self, said: str, seconds: float) -> StopSource:
        until = instant(self._clock() + seconds)
        return StopSource(f"{self.name}: {said}; nothing is lost, run again after {until}", after=seconds)
