"""What is known of one source's budget, as the ledger keeps it: who is under way, who waits, what was learned.

Times are those of the state's own clock (`pace.SharedClock`). Methods change the state: it is the caller's own copy,
decoded from the ledger's bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.connectors.http.aimd import Concurrency
from penstock.connectors.http.breaker import Breaker
from penstock.connectors.http.pace import DAY, Quota, SharedClock

LEASE = 600.0
"""Seconds that a place is kept for a process of another machine that shows no sign of life."""
LATE = 0.25
"""Seconds after which a caller that did not ask when it was due no longer holds up those behind it."""
FORGOTTEN = 60.0
"""Seconds after which it has left the queue."""
_NONSENSE = 10 * 365 * DAY


class Place(msgspec.Struct, array_like=True):
    """A request under way. `until`: when it is given up if nobody can know whether its holder lives."""

    ticket: str
    holder: str
    began: float
    until: float


class Waiter(msgspec.Struct, array_like=True):
    """A caller in the queue. `due`: when it asks again. `blocked`: since when the source itself was in its way."""

    ticket: str
    holder: str
    due: float
    blocked: float | None = None


class State(msgspec.Struct, omit_defaults=True):
    """`last`: the last grant. `cooldown`: until when everybody waits. `throttles`: round trips in a row that ended in
    one. `unwell`: since when there was trouble and no success."""

    clock: SharedClock = msgspec.field(default_factory=SharedClock)
    quota: Quota = msgspec.field(default_factory=Quota)
    concurrency: Concurrency = msgspec.field(default_factory=Concurrency)
    breaker: Breaker = msgspec.field(default_factory=Breaker)
    places: list[Place] = []
    queue: list[Waiter] = []
    last: float = 0.0
    cooldown: float = 0.0
    throttles: int = 0
    unwell: float | None = None

    def place(self, ticket: str) -> Place | None:
        """The request under way with this ticket."""
        return next((place for place in self.places if place.ticket == ticket), None)

    def enter(self, ticket: str, holder: str, time: float) -> Waiter:
        """The caller's turn in the queue, at its end if it is new."""
        self.queue = [one for one in self.queue if one.due + FORGOTTEN >= time or one.ticket == ticket]
        me = next((one for one in self.queue if one.ticket == ticket), None)
        if me is None:
            me = Waiter(ticket, holder, time)
            self.queue.append(me)
        return me

    def leave(self, ticket: str) -> None:
        """Out of the queue."""
        self.queue = [waiter for waiter in self.queue if waiter.ticket != ticket]

    def ahead(self, me: Waiter, time: float) -> int:
        """How many go first: nobody waits for one who overslept."""
        before = self.queue[: self.queue.index(me)]
        return sum(1 for waiter in before if waiter.due + LATE >= time)

    def free(self, ceiling: int, time: float) -> int:
        """Places for those in the queue."""
        if self.breaker.open:  # those under way since before it opened are no reason not to probe
            return 0 if self.breaker.probing(time) else 1
        return self.concurrency.allowed(ceiling) - len(self.places)

    def show_life(self, holder: str, time: float) -> None:
        """Keep all places of this process for another while."""
        for place in self.places:
            if place.holder == holder:
                place.until = time + LEASE

    def drop_the_dead(self, alive: Callable[[str], bool | None], time: float) -> None:
        """Free the places and the turns of processes that are gone."""
        holders = {place.holder for place in self.places} | {waiter.holder for waiter in self.queue}
        lives = {holder: alive(holder) for holder in holders}
        for place in list(self.places):
            life = lives[place.holder]
            if life is False or (life is None and time >= place.until):
                self.places.remove(place)
                self.breaker.abandoned(place.ticket)
        self.queue = [waiter for waiter in self.queue if lives[waiter.holder] is not False]


_DECODER = msgspec.json.Decoder(State)  # made while importing: threads that make one at once can end the process


def decoded(value: bytes, now: float) -> State:
    """The state that was written. If it cannot be read, a careful one: one request at a time, the first one after the
    usual distance from `now`."""
    if not value:
        return State()
    try:
        state = _DECODER.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _careful(now)
    time = state.clock.time
    sane = abs(time - now) < _NONSENSE and state.last <= time and state.cooldown <= time + 2 * DAY
    return state if sane and state.quota.spent >= 0 else _careful(now)


def _careful(now: float) -> State:
    return State(clock=SharedClock(time=now), quota=Quota(day=int(now // DAY)), last=now)


def encoded(state: State) -> bytes:
    """For `decoded`."""
    return msgspec.json.encode(state)
