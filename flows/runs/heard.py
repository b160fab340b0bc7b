"""A place kept among the listeners of a run for those who come when it has begun."""

from __future__ import annotations

from threading import Lock

from penstock.flows.runs.events import Event, Listener


class Heard:
    """A listener that keeps what it is told until somebody joins, who hears all of it, in order.

    At most the first `most` events are kept: a run that nobody joins is not remembered.
    """

    def __init__(self, most: int = 500) -> None:
        self._kept: list[Event] = []
        self._most = most
        self._joined: tuple[Listener, ...] = ()
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not self._joined and len(self._kept) < self._most:
                self._kept.append(event)
        for listener in self._joined:
            listener(event)

    def join(self, *listeners: Listener) -> None:
        """From now on these are told, of what was kept at once. Called once, from the run's thread."""
        for event in self._kept:
            for listener in listeners:
                listener(event)
        with self._lock:
            self._kept, self._joined = [], listeners
