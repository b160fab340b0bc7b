"""How many requests in a time: spaced evenly, and so many a day. And whose clock counts."""

from __future__ import annotations

import msgspec

DAY = 86_400.0
MOST_CLOCKS = 64


class SharedClock(msgspec.Struct, omit_defaults=True):
    """A clock that all machines share and that never goes back.

    It follows the clock that is furthest ahead. How far another machine lags behind is learnt when it first shows, and
    kept, so that its own seconds count as seconds from then on. A clock that is set back is one that lags. A clock that
    leaps ahead of all others takes the rest with it: that shortens what is being waited for, once.
    """

    time: float = 0.0
    lag: dict[str, float] = {}

    def read(self, host: str, now: float) -> float:
        """The shared time. `now`: what the clock of `host` says, read while nobody else changes the state."""
        time = now + self.lag.get(host, 0.0)
        if time < self.time:
            if len(self.lag) >= MOST_CLOCKS and host not in self.lag:
                self.lag.pop(next(iter(self.lag)))
            self.lag[host] = self.time - now
            time = self.time
        self.time = time
        return time


class Quota(msgspec.Struct, omit_defaults=True):
    """Requests since midnight UTC. `day` counts from 1970."""

    day: int = 0
    spent: int = 0

    def turn(self, now: float) -> None:
        """Begin a new day if it is one. `now` is the machine's own clock.

        A machine whose clock is a little behind counts for the day that the others are in; a day further ahead than
        the next one was written by a clock that was wrong, and what was spent counts for today.
        """
        today = int(now // DAY)
        if today > self.day:
            self.day, self.spent = today, 0
        elif today < self.day - 1:
            self.day = today

    def until_midnight(self, now: float) -> float:
        """Seconds until it begins anew."""
        return max((self.day + 1) * DAY - now, 1.0)


def spacing(requests_per_second: float | None) -> float:
    """Seconds from one request to the next: the generic cell rate algorithm (ITU-T I.371) without any burst, so that
    no window of any length holds more than its share and one."""
    return 1 / requests_per_second if requests_per_second else 0.0
