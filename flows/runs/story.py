"""What a person asks after a run beside its account: which documents were slow, who was waited for, what gave way."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from threading import Lock

from penstock.flows.runs.events import DocumentPrepared, Event, GaveWay, ReplicaLeftOut, SourceWaits

SLOWEST = 10
MOST = 50
"""Waits, replicas and devices that are remembered."""


@dataclass(slots=True)
class Wait:
    """How often, and for how long altogether, nobody was allowed to ask a source, and why the last time."""

    times: int = 0
    seconds: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Given:
    """How often, and for how long altogether, a device was given to something more urgent; `lent`: with our model."""

    times: int = 0
    seconds: float = 0.0
    lent: int = 0


@dataclass(slots=True)
class Story:
    """A listener. Bounded, whatever the size of the run. Thread-safe."""

    waits: dict[str, Wait] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Replica → why it took no part, the last time."""
    gave_way: dict[str, Given] = field(default_factory=dict)
    _slowest: list[tuple[float, int, DocumentPrepared]] = field(default_factory=list)
    _documents: int = 0
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case DocumentPrepared():
                    self._documents += 1
                    one = (event.seconds, self._documents, event)
                    if len(self._slowest) < SLOWEST:
                        heapq.heappush(self._slowest, one)
                    else:
                        heapq.heappushpop(self._slowest, one)
                case SourceWaits() if event.source in self.waits or len(self.waits) < MOST:
                    wait = self.waits.setdefault(event.source, Wait())
                    wait.times, wait.seconds, wait.why = wait.times + 1, wait.seconds + event.seconds, event.why
                case ReplicaLeftOut() if event.replica in self.left_out or len(self.left_out) < MOST:
                    self.left_out[event.replica] = event.problem
                case GaveWay() if event.device in self.gave_way or len(self.gave_way) < MOST:
                    given = self.gave_way.setdefault(event.device, Given())
                    given.times, given.seconds = given.times + 1, given.seconds + event.seconds
                    given.lent += event.lent

    def slowest(self) -> list[DocumentPrepared]:
        """The documents that took longest to fetch, parse and cut, the slowest first."""
        with self._lock:
            return [event for _, _, event in sorted(self._slowest, key=lambda one: one[:2], reverse=True)]
