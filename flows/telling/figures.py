"""How far a run is, how fast it goes and how long it may still take: from what it tells while it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from penstock.flows.answers.times import duration
from penstock.flows.runs.events import Event, GaveWay, ShardPrepared

RECENT_SECONDS = 60.0
"""The rate that is shown is that of so long."""
LEAST_SECONDS, LEAST_SHARE = 5.0, 0.005
"""Before so much has passed and is done, nobody knows how long the rest takes."""


class Figures:
    """Counts. Thread-safe. `clock`: seconds since 1970.

    Documents land a shard at a time, tokens flow: so progress goes by tokens, those to come being estimated from the
    documents that were prepared, and is never less than what has landed, nor less than it was said to be.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, Lock()
        self._stage = ""
        self._total = self._done = self._version = 0
        self._embedded = self._reused = self._prepared_documents = self._prepared_tokens = 0
        self._began: float | None = None
        self._away = 0.0
        self._share = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def heard(self, event: Event) -> None:
        """A listener."""
        with self._lock:
            match event:
                case ShardPrepared():
                    self._prepared_documents += event.documents
                    self._prepared_tokens += event.tokens
                case GaveWay():
                    self._away += event.seconds

    def stage(self, name: str) -> None:
        with self._lock:
            self._stage = name

    def planned(self, documents: int) -> None:
        with self._lock:
            self._total = documents

    def advanced(self, documents: int, tokens: int, reused: int = 0) -> None:
        with self._lock:
            now = self._clock()
            if self._began is None:  # loading the model is no slow start
                self._began = now
            self._done += documents
            self._embedded += tokens
            self._reused += reused
            if tokens:
                self._recent.append((now, tokens))
                self._trim(now)

    def committed(self, version: int) -> None:
        with self._lock:
            self._version = version

    @property
    def planned_any(self) -> bool:
        """Whether there is anything to do."""
        return self._total > 0

    def share(self) -> float:
        """How much is done, 0 to 1; 1 only when everything has landed."""
        with self._lock:
            return self._known_share()

    def line(self) -> str:
        """`embedding: 5,120 tokens/s, 3 min 20 s left; 1,200 of 4,000 documents searchable, version 12`."""
        with self._lock:
            now, share = self._clock(), self._known_share()
            self._trim(now)
            parts = [f"{rate:,.0f} tokens/s"] if (rate := self._rate(now)) else []
            if left := self._left(now, share):
                parts.append(f"{duration(left)} left")
            landed = f"{min(self._done, self._total):,} of {self._total:,} documents searchable"
            landed += f", version {self._version}" if self._version else ""
            return f"{self._stage or 'starting'}: {'; '.join([', '.join(parts), landed] if parts else [landed])}"

    def _known_share(self) -> float:
        if not self._total:
            return self._share
        landed = min(1.0, self._done / self._total)
        passed = 0.0
        if self._prepared_documents and self._prepared_tokens:
            expected = self._prepared_tokens * max(1.0, self._total / self._prepared_documents)
            passed = min(0.99, (self._embedded + self._reused) / expected)
        self._share = max(self._share, landed, passed)
        return self._share

    def _rate(self, now: float) -> float:
        if not self._recent or self._began is None:
            return 0.0
        # Over at least a second: a batch that came a moment ago makes no rate.
        seconds = max(1.0, now - max(self._began, now - RECENT_SECONDS))
        return sum(tokens for _, tokens in self._recent) / seconds

    def _left(self, now: float, share: float) -> float:
        if self._began is None or share >= 1:
            return 0.0
        worked = now - self._began - self._away
        if worked < LEAST_SECONDS or share < LEAST_SHARE:
            return 0.0
        return worked * (1 - share) / share

    def _trim(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
