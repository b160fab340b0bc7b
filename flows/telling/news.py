"""Which of the things that happen in a run are news for automations, and how much of it at a time.

Pure but for the lock: told what happens, it gives events to be sent. Nothing can flood whoever listens: commits are
summed up, and what goes on and off again and again is told at most once in a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from penstock.flows.runs import freshness
from penstock.flows.runs.events import CommitLanded, DocumentPrepared, Event, Listed, ReplicaLeftOut, SourceWaits
from penstock.flows.telling.names import (
    BREAKER_OPEN,
    COMMIT,
    DELETIONS_WITHHELD,
    FRESHNESS_BREACHED,
    REPLICA_DEGRADED,
)

COMMITS_SECONDS = 10.0
"""Between two events about commits, at least."""
AGAIN_SECONDS = 600.0
"""After which the same trouble is told again, if it was over meanwhile (of a breaker), or came again (of a replica)."""


@dataclass(frozen=True, slots=True)
class News:
    """One event to be sent: its name, what it says, and the sources it is about, the first of them first of all."""

    event: str
    payload: dict[str, Any]
    sources: tuple[str, ...] = ()


@dataclass(slots=True)
class _Commits:
    versions: int = 0
    version: int = 0
    chunks: int = 0
    seconds: float = 0.0
    documents: Counter[str] = field(default_factory=Counter)
    sources: dict[str, None] = field(default_factory=dict)


class Newsroom:
    """Makes news of a run's events. `clock`: seconds since 1970. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._commits, self._sent = _Commits(), float("-inf")
        self._broken: dict[str, float] = {}
        self._answered: set[str] = set()
        self._degraded: dict[str, float] = {}
        self._lock = Lock()

    def heard(self, event: Event) -> list[News]:
        """What is to be sent now because of `event`."""
        with self._lock:
            return list(self._made(event))

    def rest(self) -> list[News]:
        """What was summed up and not sent yet; at the end, and now and then."""
        with self._lock:
            due = self._commits.versions and self._clock() - self._sent >= COMMITS_SECONDS
            return [self._commit()] if due else []

    def last(self) -> list[News]:
        """As `rest`, however short the time since the last one: nothing comes after it."""
        with self._lock:
            return [self._commit()] if self._commits.versions else []

    def _made(self, event: Event) -> Iterator[News]:
        match event:
            case Listed() if event.withheld:
                fix = f"penstock ingest {event.source} --confirm-deletions {event.withheld}"
                said = {"withheld": event.withheld, "listed": event.listed, "if_they_are_really_gone": fix}
                yield News(DELETIONS_WITHHELD, said, (event.source,))
            case CommitLanded():
                self._count(event)
                if self._clock() - self._sent >= COMMITS_SECONDS:
                    yield self._commit()
            case DocumentPrepared() if event.status != "failed":
                self._answered.add(event.source)
            case SourceWaits() if event.breaker and self._is_new_break(event.source):
                why: dict[str, Any] = {"why": event.why, "next_probe_seconds": round(event.seconds, 1)}
                yield News(BREAKER_OPEN, why, (event.source,))
            case ReplicaLeftOut():
                now = self._clock()
                if now - self._degraded.get(event.replica, float("-inf")) >= AGAIN_SECONDS:
                    self._degraded[event.replica] = now
                    yield News(REPLICA_DEGRADED, {"replica": event.replica, "problem": event.problem})

    def _is_new_break(self, source: str) -> bool:
        """Whether the breaker was closed since it was told: the source gave documents, and some time is over."""
        now, told = self._clock(), self._broken.get(source)
        if told is not None and (source not in self._answered or now - told < AGAIN_SECONDS):
            return False
        self._broken[source] = now
        self._answered.discard(source)
        return True

    def _count(self, event: CommitLanded) -> None:
        sums = self._commits
        sums.versions += 1
        sums.version = max(sums.version, event.version)
        sums.chunks += event.chunks
        sums.seconds += event.seconds
        sums.documents.update(event.documents)
        sums.sources[event.source] = None

    def _commit(self) -> News:
        sums, self._commits, self._sent = self._commits, _Commits(), self._clock()
        payload = {
            "version": sums.version,
            "commits": sums.versions,
            "documents": dict(sums.documents),
            "chunks": sums.chunks,
            "commit_seconds": round(sums.seconds, 3),
            "sources": list(sums.sources),
        }
        return News(COMMIT, payload, tuple(sums.sources))


def breached(found: freshness.Breach) -> News:
    """What there is to say of a source that is staler than it may be."""
    payload = {
        "as_of": found.as_of,
        "age_seconds": round(found.age, 1),
        "objective_seconds": found.objective,
        "since": found.since,
    }
    return News(FRESHNESS_BREACHED, payload, (found.source,))
