"""How many requests and tokens an endpoint is given in a time, as the ledger keeps it. Pure: nothing waits here.

Three rules hold at once for each unit, and the strictest counts:

- *window*: no stretch of one window (a minute) holds more than the limit. Sums are kept in slices of a sixtieth, and
  two slices more than the window count, because what leaves evenly arrives unevenly.
- *pace*: the limit is spread over the window, but for a twentieth that may go at once (GCRA, ITU-T I.371): services
  enforce a minute's limit by the second.
- *the server's word*: what it says is left, filling up evenly until its reset, less what was granted since. That is how
  others who use the same key are seen.
"""

from __future__ import annotations

import math

import msgspec

from penstock.connectors.http.allowances import Allowance
from penstock.connectors.http.pace import Quota, SharedClock

SLICES = 60
SPARE = 2
BURST = 0.05
FORGOTTEN = 10
"""Windows after which a limit that the server no longer repeats is no longer believed."""


class Flow(msgspec.Struct, omit_defaults=True):
    """One unit. `slices`: (number of the slice, amount granted in it). `next`: when what was granted is paid off at the
    even pace. `limit`, `remaining`, `reset`: what the server said at `told`; `since`: granted after that."""

    slices: list[tuple[int, float]] = []
    next: float = 0.0
    limit: float = 0.0
    remaining: float = 0.0
    reset: float = 0.0
    told: float = 0.0
    since: float = 0.0

    def allowed(self, configured: float | None, window: float, time: float) -> float:
        """The limit in force: the smaller one of what is configured and what was learned. Infinite without any."""
        learned = self.limit if self.limit > 0 and time - self.told < FORGOTTEN * window else math.inf
        return min(learned, configured if configured is not None else math.inf)

    def wait(self, amount: float, limit: float, window: float, time: float) -> float:
        """Seconds until `amount` may go; 0 now. More than the limit goes when all of the limit is free."""
        if not math.isfinite(limit):
            return self._by_word(amount, time)
        amount = min(amount, limit)
        return max(
            self._by_window(amount, limit, window, time), self._by_pace(window, time), self._by_word(amount, time)
        )

    def grant(self, amount: float, limit: float, window: float, time: float) -> None:
        """It goes now."""
        number = _slice(time, window)
        self.slices = [one for one in self.slices if one[0] > number - SLICES - SPARE]
        if self.slices and self.slices[-1][0] == number:
            self.slices[-1] = (number, self.slices[-1][1] + amount)
        else:
            self.slices.append((number, amount))
        if math.isfinite(limit):
            self.next = max(self.next, time) + amount * window / limit
        self.since += amount

    def credit(self, amount: float, granted: float, limit: float, window: float) -> None:
        """So much less (or more, where negative) of what was granted then was used."""
        number = _slice(granted, window)
        self.slices = [(at, max(0.0, sum_ - amount) if at == number else sum_) for at, sum_ in self.slices]
        if math.isfinite(limit):
            self.next -= amount * window / limit
        if granted >= self.told:
            self.since = max(0.0, self.since - amount)

    def hear(self, said: Allowance, granted: float, amount: float, window: float, time: float) -> None:
        """What the answer to a request says, that was granted `amount` then. Those granted after it may not have been
        counted in it yet."""
        if said.limit is not None and said.limit > 0:
            self.limit, self.told = said.limit, time
        if said.remaining is not None:
            number = _slice(granted, window)
            later = sum(sum_ for at, sum_ in self.slices if at >= number)
            self.remaining, self.since = said.remaining, max(0.0, later - amount)
            self.reset, self.told = said.reset if said.reset is not None else window, time

    def _by_window(self, amount: float, limit: float, window: float, time: float) -> float:
        number = _slice(time, window)
        live = [one for one in self.slices if one[0] > number - SLICES - SPARE]
        over = sum(sum_ for _, sum_ in live) + amount - limit
        for at, sum_ in live:
            if over <= 1e-9:
                break
            over -= sum_
            number = at + SLICES + SPARE
        return max(0.0, number * window / SLICES - time)

    def _by_pace(self, window: float, time: float) -> float:
        return max(0.0, self.next - BURST * window - time)

    def _by_word(self, amount: float, time: float) -> float:
        elapsed = time - self.told
        if self.reset <= 0 or elapsed >= self.reset:
            return 0.0
        full = max(self.limit, self.remaining)
        lacking = min(amount, full) + self.since - self.remaining
        if lacking <= 0:
            return 0.0
        if full <= self.remaining:
            return self.reset - elapsed
        return min(self.reset, lacking * self.reset / (full - self.remaining)) - elapsed


class State(msgspec.Struct, omit_defaults=True):
    """`day`: tokens since midnight UTC."""

    clock: SharedClock = msgspec.field(default_factory=SharedClock)
    requests: Flow = msgspec.field(default_factory=Flow)
    tokens: Flow = msgspec.field(default_factory=Flow)
    day: Quota = msgspec.field(default_factory=Quota)


_DECODER = msgspec.json.Decoder(State)  # made while importing: threads that make one at once can end the process


def decoded(value: bytes) -> State:
    """The state that was written. One that cannot be read begins anew: the server's own words mend it soon."""
    if not value:
        return State()
    try:
        return _DECODER.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return State()


def encoded(state: State) -> bytes:
    """For `decoded`."""
    return msgspec.json.encode(state)


def _slice(time: float, window: float) -> int:
    return math.floor(time * SLICES / window)
