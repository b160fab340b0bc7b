"""Threads that nobody waits for when the process ends: one may be stuck in a fetch that is not needed any more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `most` daemon threads, started when they are needed. The standard pool is joined at exit; this is not."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle, self._lock = Semaphore(0), Lock()
        self._started = 0

    def submit(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> Future[T]:
        """Call it on one of the threads, in the order of asking."""
        future: Future[T] = Future()
        self._work.put((future, lambda: call(*args, **options)))
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._started < self._most:
                self._started += 1
                Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def close(self) -> None:
        """What has not begun is cancelled; the threads end after what they have in hand."""
        while True:
            try:
                entry = self._work.get_nowait()
            except Empty:
                break
            if entry is not None:
                entry[0].cancel()
        for _ in range(self._started):
            self._work.put(None)

    def _run(self) -> None:
        while (entry := self._work.get()) is not None:
            future, call = entry
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del entry, future, call  # an idle thread holds on to no document
            self._idle.release()
