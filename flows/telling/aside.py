"""A thread on which things are told to a server that may be slow, or away: never in the way of the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import Empty, Full, Queue

Job = Callable[[], object]
Tick = Callable[[bool], object]
"""Is told whether it is the last one."""
MOST = 200
LEAST_SECONDS = 1.0
"""Between two ticks, however often somebody asks for one."""


class Aside:
    """Does jobs one after the other, and `tick` every `every` seconds. A job that cannot be queued is dropped.

    Jobs run in the context of whoever made it. What a job raises is dropped: the next one may work. `monotonic` gives
    seconds. The thread is a daemon: one that hangs keeps no process alive.
    """

    def __init__(self, tick: Tick, monotonic: Callable[[], float], every: float = 10.0) -> None:
        self._tick, self._monotonic, self._every = tick, monotonic, every
        self._jobs: Queue[Job | None] = Queue(MOST)
        self._asked = False
        self._over = threading.Event()
        self.dropped = 0
        """Jobs that found no room."""
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="telling", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Never waits."""
        try:
            self._jobs.put_nowait(job)
        except Full:
            self.dropped += 1

    def soon(self) -> None:
        """A tick before it is due: there is news. Never waits."""
        if not self._asked:
            self._asked = True
            self.put(_wake)

    def close(self, patience: float) -> bool:
        """Do what is queued and one last tick; False if that was not done within `patience` seconds, and is left."""
        self._over.set()
        self.put(_wake)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        last = float("-inf")
        while True:
            due = last + (LEAST_SECONDS if self._asked else self._every)
            try:
                job = self._jobs.get(timeout=max(0.0, due - self._monotonic()))
            except Empty:
                job = _wake
            if job is not None and job is not _wake:
                _quietly(job)
            now = self._monotonic()
            if self._over.is_set() and self._jobs.empty():
                _quietly(partial(self._tick, True))
                return
            if now - last >= (LEAST_SECONDS if self._asked else self._every):
                self._asked, last = False, now
                _quietly(partial(self._tick, False))


def _wake() -> None:
    """No job: only a reason to look."""


def _quietly(job: Job) -> None:
    try:
        job()
    except Exception:
        return  # a server that is away, or says no; what people see of the run is behind, and nothing else
