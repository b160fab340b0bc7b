"""The circuit breaker: a source that only fails is left alone, but for one probe at a time."""

from __future__ import annotations

import msgspec

FAILURES = 8
"""In a row, over all callers: then it opens."""
FIRST_PAUSE, LONGEST_PAUSE, SHORTEST_PAUSE = 1.0, 60.0, 0.1
PROBE_SECONDS = 120.0
"""A probe that said nothing for so long is given up, and another one may be made."""


class Breaker(msgspec.Struct, omit_defaults=True):
    """Closed while `failures` is below the limit. Times are those of the budget's own clock."""

    failures: int = 0
    pauses: int = 0
    next_probe: float = 0.0
    probe: str = ""
    probe_until: float = 0.0

    @property
    def open(self) -> bool:
        """Whether only probes are let through."""
        return self.failures >= FAILURES

    def probing(self, now: float) -> bool:
        """Whether a probe is under way."""
        return self.probe != "" and now < self.probe_until

    def began(self, ticket: str, now: float) -> None:
        """This request is the probe."""
        self.probe, self.probe_until = ticket, now + PROBE_SECONDS

    def succeeded(self) -> None:
        """Any success closes it."""
        self.failures, self.pauses, self.next_probe, self.probe, self.probe_until = 0, 0, 0.0, "", 0.0

    def failed(self, ticket: str, now: float, chance: float) -> None:
        """Count a failure. Once open, only the probe's counts: the others were under way before. `chance`: 0 to 1."""
        if self.open and ticket != self.probe:
            return
        self.failures = min(self.failures + 1, FAILURES)
        if self.open:
            self.put_off(now, chance)

    def put_off(self, now: float, chance: float) -> None:
        """The next probe comes after a pause: full jitter below a bound that doubles each time."""
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.pauses, 16))
        self.next_probe = now + max(SHORTEST_PAUSE, chance * bound)
        self.pauses, self.probe, self.probe_until = self.pauses + 1, "", 0.0

    def abandoned(self, ticket: str) -> None:
        """That request ended without saying anything: if it was the probe, another one may be made at once."""
        if ticket == self.probe:
            self.probe, self.probe_until = "", 0.0
