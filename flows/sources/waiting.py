"""What listeners hear of a source that nobody may ask for a while."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from penstock.flows.runs.events import Listener, SourceWaits

WHY = {
    "cooldown": "it asks everybody to wait",
    "down": "it kept failing, and is left alone but for a probe",
    "quota": "what it allows a day is spent",
}
LEAST_SECONDS = 1.0
"""A shorter wait is a matter of course."""


class Waiting:
    """Told of every look at a budget that lets nobody through; tells of every wait once. Thread-safe.

    `monotonic` gives seconds.
    """

    def __init__(self, source: str, tell: Listener, monotonic: Callable[[], float]) -> None:
        self._source, self._tell, self._monotonic = source, tell, monotonic
        self._until: dict[str, float] = {}
        self._lock = Lock()

    def __call__(self, why: str, seconds: float) -> None:
        until = self._monotonic() + seconds
        with self._lock:
            # While a probe is under way there is next to nothing to wait for; that the breaker is open counts anyhow.
            news = seconds >= LEAST_SECONDS or (why == "down" and why not in self._until)
            if not news or until <= self._until.get(why, float("-inf")) + LEAST_SECONDS:
                return
            self._until[why] = until
        self._tell(SourceWaits(self._source, WHY[why], seconds, breaker=why == "down"))
