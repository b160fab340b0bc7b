"""The one place where requests are repeated."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import tenacity

from penstock.connectors.http.faults import Fault
from penstock.connectors.http.types import NetworkRules

T = TypeVar("T")

FIRST, LONGEST = 0.5, 60.0
"""Seconds: before the first repetition at most, and before any."""
PROGRESS = 1 << 20
"""A download that came this many bytes further has not used up an attempt."""
THROTTLED = 4
"""A source that asks us to slow down is no fault of its answers: such attempts count a fourth."""


class Retries:
    """Repeats what raises `Fault`, and nothing else; bounded by attempts and by time, with full jitter. Counts each
    repetition by reason. Thread-safe."""

    def __init__(
        self,
        rules: NetworkRules,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """Repetitions so far by reason."""
        with self._lock:
            return dict(self._counts)

    def run(self, act: Callable[[], T], *, reached: Callable[[], int] = lambda: 0) -> tuple[T, int]:
        """What `act` returns, and how often it was repeated for that. `reached`: bytes on disk, of a download.

        Raises what the last fault becomes (`Fault.final`), and at once whatever is no fault.
        """
        patience = Patience(self._rules, self._monotonic, self._random, reached)
        repeat = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Fault),
            wait=patience.wait,
            stop=patience.stop,
            sleep=self._sleep,
            before_sleep=lambda state: self._count(fault_of(state)),
            reraise=True,
        )
        try:
            return repeat(act), patience.repeated
        except Fault as fault:
            raise fault.final(patience.repeated) from None

    def _count(self, fault: Fault) -> None:
        with self._lock:
            self._counts[fault.reason] += 1


class Patience:
    """How long one request is worth repeating."""

    def __init__(
        self,
        rules: NetworkRules,
        monotonic: Callable[[], float],
        random: Callable[[], float],
        reached: Callable[[], int],
    ) -> None:
        self._rules, self._monotonic, self._random, self._reached = rules, monotonic, random, reached
        self._since = monotonic()
        self._mark = reached()
        self._faults = 0
        self._throttled = 0
        self.repeated = 0

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: 0 where the budget waits already, or where there is nothing to wait for."""
        fault = fault_of(state)
        if self._reached() >= self._mark + PROGRESS:
            self._mark, self._faults, self._throttled, self._since = self._reached(), 0, 0, self._monotonic()
        if fault.reason == "throttled":
            self._throttled += 1
        else:
            self._faults += 1
        if fault.cooldown > 0 or fault.reason == "token":
            return 0.0
        most = min(LONGEST, FIRST * 2.0 ** min(self._faults + self._throttled - 1, 16))
        return self._random() * most

    def stop(self, state: tenacity.RetryCallState) -> bool:
        """Asked after `wait`."""
        spent = self._faults + self._throttled / THROTTLED >= self._rules.attempts
        late = self._monotonic() - self._since + state.upcoming_sleep > self._rules.retry_seconds
        if not (spent or late):
            self.repeated += 1
        return spent or late


def fault_of(state: tenacity.RetryCallState) -> Fault:
    """The fault that ended an attempt."""
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, Fault)
    return error
