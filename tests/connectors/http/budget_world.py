"""A source and its callers on a clock of their own: every grant is checked against what was promised."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from penstock.connectors.http import turns
from penstock.connectors.http.budget_state import State, decoded, encoded
from penstock.connectors.http.types import BudgetLimits, Outcome

NOON = 20_000 * 86_400 + 43_200.0
ROUNDING = 2e-6
"""Seconds: what numbers as large as the time since 1970 lose."""


@dataclass
class World:
    """Callers ask, wait and make requests until each made its own. `judge` says how a request that begins now ends:
    (verdict, seconds, cooldown). `clocks`: by how much the clock of each machine is wrong."""

    limits: BudgetLimits
    seed: int
    judge: Callable[[Random, float], Outcome]
    clocks: dict[str, float] = field(default_factory=lambda: {"here": 0.0})
    time: float = NOON
    grants: list[float] = field(default_factory=list)
    outcomes: list[tuple[float, Outcome]] = field(default_factory=list)
    stops: list[turns.Stop] = field(default_factory=list)
    stored: bytes = b""
    flying: set[str] = field(default_factory=set)
    quiet_until: float = 0.0
    dead: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def caller(self, ticket: str, host: str, process: str = "1") -> turns.Caller:
        def alive(holder: str) -> bool | None:
            return holder not in self.dead if holder.startswith(host + "/") else None

        clock = lambda: self.time + self.clocks[host]  # noqa: E731
        return turns.Caller(ticket, f"{host}/{process}", host, clock, alive, self.random.random)

    def _shared(self, state: State) -> float:
        return max(state.clock.time, self.time)

    def state(self) -> State:
        return decoded(self.stored, self.time)

    def ask(self, caller: turns.Caller) -> turns.Go | turns.Wait | turns.Stop:
        state = self.state()
        was_open, probe = state.breaker.open, state.place(state.breaker.probe)
        probing = probe is not None and probe.holder not in self.dead and state.breaker.probing(self._shared(state))
        answer = turns.ask(state, self.limits, caller)
        if isinstance(answer, turns.Go) and caller.ticket not in self.flying:
            self.flying.add(caller.ticket)
            self._check_grant(state, was_open, probing)
            self.grants.append(self.time)
        self.stored = encoded(state)
        return answer

    def _check_grant(self, state: State, was_open: bool, probing: bool) -> None:
        gap = 1 / self.limits.requests_per_second if self.limits.requests_per_second else 0.0
        assert not self.grants or self.time - self.grants[-1] >= gap - ROUNDING, "asked too fast"
        assert self.time >= self.quiet_until - ROUNDING, "asked during a cooldown"
        assert not (was_open and probing), "two probes at once"
        if not was_open:
            allowed = state.concurrency.allowed(self.limits.concurrency)
            assert len(self.flying) <= allowed <= self.limits.concurrency, "too many at once"

    def end(self, caller: turns.Caller, outcome: Outcome) -> None:
        state = self.state()
        turns.ended(state, self.limits, caller, outcome)
        self.stored = encoded(state)
        self.flying.discard(caller.ticket)
        self.quiet_until = max(self.quiet_until, self.time + outcome.cooldown if outcome.cooldown > 0 else 0.0)
        self.outcomes.append((self.time, outcome))

    def worker(self, name: str, host: str, requests: int) -> None:
        """A caller that makes so many requests, one after the other, beginning at a moment of its own."""
        tickets = iter([f"{name}.{number}" for number in range(requests)])

        def begin() -> None:
            ticket = next(tickets, None)
            if ticket is not None:
                attempt(self.caller(ticket, host))

        def attempt(caller: turns.Caller) -> None:
            match self.ask(caller):
                case turns.Go():
                    outcome = self.judge(self.random, self.time)
                    self.at(self.time + outcome.seconds, lambda: finish(caller, outcome))
                case turns.Wait(seconds):
                    assert 0 < seconds <= 1
                    # Nobody wakes up exactly when asked to.
                    late = self.random.choice([0.0, 0.0, 0.001, 0.4])
                    self.at(self.time + seconds + late, lambda: attempt(caller))
                case turns.Stop() as stop:
                    self.stops.append(stop)

        def finish(caller: turns.Caller, outcome: Outcome) -> None:
            self.end(caller, outcome)
            begin()

        self.at(self.time + self.random.random(), begin)

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), act))

    def run(self, until: float) -> None:
        """Until nobody waits; a world that is not quiet by then is stuck."""
        while self._events:
            when, _, act = heapq.heappop(self._events)
            assert when < NOON + until, "somebody waits for ever"
            self.time = max(self.time, when)
            act()
