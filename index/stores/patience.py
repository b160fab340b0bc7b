"""How long a request that may be repeated is repeated: one rule, on a clock that is an argument."""

from __future__ import annotations

from collections.abc import Callable

from penstock.index.errors import Unavailable

BUDGET = 6.0
"""Seconds for all attempts at one request; none is begun that could not end in time if it took as long again."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts; the last one repeats."""


class Patience:
    """Decides whether there is time for another attempt. `turn` counts those that failed."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._clock, self._sleep = clock, sleep
        self._began = self._sent = clock()
        self.turn = 0

    def wait(self, fault: Unavailable) -> None:
        """Pause before another attempt; raise `fault` when there is no time for one."""
        now = self._clock()
        if now - self._began + now - self._sent > BUDGET:
            raise fault
        self._sleep(PAUSES[min(self.turn, len(PAUSES) - 1)])
        self.turn, self._sent = self.turn + 1, self._clock()
