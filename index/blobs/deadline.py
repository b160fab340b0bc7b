"""Waiting that ends. Work is done on threads of its own, and who waits for it waits no longer than it said.

A read of a hung network mount cannot be interrupted, only left behind. The threads are daemons: one that is left
behind holds up nothing, not even the end of the process. What it brings home late is dropped.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from penstock.index.errors import Unavailable

_KEPT = 16
"""Idle threads that stay for the next work; making one costs more than most work."""
_FOR_EVER = 1e6
_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


class Late(Unavailable):
    """There is no answer yet. Unknown, not failed: the work may still be going on."""


class Slow(Late):
    """There would be an answer, after a while: ask another first. Nothing is wrong, so nobody need be told."""


def call(work: Callable[[], _T], seconds: float) -> _T:
    """Return what `work` returns, or raise what it raises; `Late` if it has done neither within `seconds`."""
    done = threading.Lock()
    done.acquire()
    job = _Job(work, done.release)
    _start(job)
    if not done.acquire(timeout=seconds):
        raise Late(f"no answer within {seconds:g} s")
    try:
        return job.result()
    finally:
        del job  # its error holds this frame, and this frame holds it


def gather(
    work: Mapping[_K, Callable[[], _T]],
    enough: Callable[[_T], bool],
    *,
    grace: float,
    limit: float,
    clock: Callable[[], float],
) -> dict[_K, _T | Exception]:
    """Do all of `work` at once; return what came of each. What is absent from the answer is late.

    Waits `limit` seconds at most, and only `grace` more once a result was `enough`. `clock` counts seconds.
    """
    arrived: queue.SimpleQueue[tuple[_K, _Job[_T]]] = queue.SimpleQueue()
    for key, each in work.items():
        _announced(key, each, arrived)
    found: dict[_K, _T | Exception] = {}
    until = clock() + limit
    while len(found) < len(work):
        try:
            key, job = arrived.get(timeout=max(0.0, until - clock()))
        except queue.Empty:
            break
        try:
            found[key] = value = job.result()
        except Exception as fault:
            found[key] = fault.with_traceback(None)
        else:
            if enough(value):
                until = min(until, clock() + grace)
    return found


def spread(work: Sequence[Callable[[], object]], threads: int = 16) -> None:
    """Do each of `work`, on a few threads; return when all is done. Raises what one of them raised, after the others.

    For work that ends by itself, such as requests to a far store that have deadlines of their own.
    """
    turns, lock = iter(work), threading.Lock()

    def take_turns() -> None:
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            turn()

    done = gather(
        dict.fromkeys(range(min(threads, len(work))), take_turns), _never, grace=0, limit=_FOR_EVER, clock=lambda: 0.0
    )
    for outcome in done.values():
        if outcome is not None:
            raise outcome


def _never(_: object) -> bool:
    return False


class _Job(Generic[_T]):
    def __init__(self, work: Callable[[], _T], done: Callable[[], object]) -> None:
        self._work: Callable[[], _T] | None = work
        self.done = done
        self._value: list[_T] = []
        self._fault: BaseException | None = None

    def do(self) -> None:
        try:
            assert self._work is not None
            self._value.append(self._work())
        except BaseException as fault:
            self._fault = fault
        self._work = None

    def result(self) -> _T:
        if self._fault is not None:
            try:
                raise self._fault
            finally:
                self._fault = None
        return self._value.pop()


def _announced(key: _K, work: Callable[[], _T], arrived: queue.SimpleQueue[tuple[_K, _Job[_T]]]) -> None:
    job = _Job(work, lambda: None)
    job.done = lambda: arrived.put((key, job))
    _start(job)


_Inbox = queue.SimpleQueue  # of jobs
_idle: list[_Inbox[_Job]] = []  # type: ignore[type-arg]  # jobs of any kind
os.register_at_fork(after_in_child=_idle.clear)  # threads do not survive a fork


def _start(job: _Job[_T]) -> None:
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = queue.SimpleQueue()
        try:
            threading.Thread(target=_serve, args=(inbox,), name="penstock-read", daemon=True).start()
        except RuntimeError as fault:
            raise Unavailable(f"cannot start a thread: {fault}; too many are waiting for something") from fault
    inbox.put(job)


def _serve(inbox: _Inbox[_Job]) -> None:  # type: ignore[type-arg]  # jobs of any kind
    while True:
        job = inbox.get()
        job.do()
        stays = len(_idle) < _KEPT
        if stays:
            _idle.append(inbox)  # before the waiting one hears of it, so that its next call finds this thread
        done = job.done
        del job
        done()
        del done
        if not stays:
            return
