"""How many requests at once a source takes: found out, not configured.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681): up by one for each answer until the first
trouble and by one for each round trip afterwards, down by half. Only a limit that was in use is evidence that more
would work, and answers that grow slow say that the source is full before it says so itself.
"""

from __future__ import annotations

import msgspec

SLOWER = 2.0
"""No increase while answers take this many times as long as they used to ..."""
JITTER = 0.05
"""... and this many seconds more: below that it is noise."""
_QUICK, _SLOW, _FALLING = 0.2, 0.01, 0.1


class Concurrency(msgspec.Struct, omit_defaults=True):
    """What was learned so far. `latency` and `baseline`: seconds until an answer lately, and over a long time."""

    limit: float = 1.0
    latency: float = 0.0
    baseline: float = 0.0
    cut_at: float = 0.0
    was_cut: bool = False

    def allowed(self, ceiling: int) -> int:
        """Requests at once, between 1 and the ceiling."""
        return max(1, min(int(self.limit), ceiling))

    def answered(self, seconds: float, in_flight: int, ceiling: int) -> None:
        """A request ended well, one of `in_flight` at that moment."""
        if self.baseline <= 0:
            self.latency = self.baseline = seconds
        self.latency += _QUICK * (seconds - self.latency)
        self.baseline += (_FALLING if seconds < self.baseline else _SLOW) * (seconds - self.baseline)
        full = self.latency > SLOWER * self.baseline + JITTER
        if in_flight >= self.allowed(ceiling) and not full:
            self.limit += 1 / self.limit if self.was_cut else 1
        self.limit = max(1.0, min(self.limit, float(ceiling)))

    def overloaded(self, began: float, now: float, ceiling: int) -> bool:
        """A request that `began` then was refused or left without an answer: half as many from now on.

        False, and no change, if that was known already: those that were under way when it was cut say nothing new.
        """
        if self.was_cut and began <= self.cut_at:
            return False
        self.limit = max(1.0, min(self.limit, float(ceiling)) / 2)
        self.was_cut, self.cut_at = True, now
        return True

    def hung(self, seconds: float) -> bool:
        """Whether a request that failed after so long failed because the source is full: it hung, and did not
        refuse."""
        return seconds >= max(1.0, 2 * SLOWER * self.baseline)
