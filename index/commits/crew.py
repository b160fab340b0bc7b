"""One piece of work for each replica, at the same time, and nobody waits for the slowest.

Who has the answer of enough replicas goes on after a deadline; a replica that is still busy then goes on in the
background, is left out until it is done, and is caught up by a later commit. Nothing here decides what is safe:
whoever calls counts the answers.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from penstock.index.errors import IndexFault, Unavailable

Outcomes = dict[str, IndexFault | None]
Enough = Callable[[frozenset[str]], bool]
"""Whether the replicas that have succeeded so far are enough."""


class Crew(Protocol):
    """Runs work, one piece for each replica id."""

    def each(self, work: Mapping[str, Callable[[], None]], enough: Enough) -> Outcomes:
        """Run all of `work`; return how it ended for each, None for success. An id that is not in the answer
        is still at work. `IndexFault` and `OSError` are outcomes; anything else is raised."""
        ...

    def finish(self) -> None:
        """Give those that are still at work one more deadline."""
        ...


class Sequential:
    """One after the other, in order of id: for tests and simulations, where every step has its place."""

    def each(self, work: Mapping[str, Callable[[], None]], enough: Enough) -> Outcomes:
        return {name: outcome(work[name]) for name in sorted(work)}

    def finish(self) -> None:
        return


class Threads:
    """A thread for each replica. `clock` is monotonic seconds.

    `deadline`: how long the slower ones may take once enough have answered. `patience`: how long to wait when
    there are not enough. A replica that failed is tried again after `pause` seconds, sooner if it is needed.
    """

    def __init__(
        self, clock: Callable[[], float], *, deadline: float = 5.0, patience: float = 600.0, pause: float = 15.0
    ) -> None:
        self._clock, self._deadline, self._patience, self._pause = clock, deadline, patience, pause
        self._workers: dict[str, _Worker] = {}
        self._failed: dict[str, tuple[float, IndexFault]] = {}
        self._changed = threading.Condition()

    def each(self, work: Mapping[str, Callable[[], None]], enough: Enough) -> Outcomes:
        outcomes: Outcomes = {}
        waiting = dict(work)
        running: set[str] = set()
        rested = self._rested(waiting, enough)
        began = self._clock()
        reached: float | None = None
        with self._changed:
            while True:
                self._start(waiting, running, rested)
                self._collect(running, outcomes)
                done = frozenset(name for name, fault in outcomes.items() if fault is None)
                if not running and not (waiting and not enough(done)):
                    break
                now = self._clock()
                if enough(done):
                    reached = now if reached is None else reached
                    left = reached + self._deadline - now
                else:
                    left = began + self._patience - now
                if left <= 0:
                    break
                if rested and not running and not enough(done):
                    rested = set()  # they are needed after all
                    continue
                self._changed.wait(min(left, 1.0))
        for name in rested - outcomes.keys():
            outcomes[name] = self._failed[name][1]
        self._remember(outcomes)
        return outcomes

    def finish(self) -> None:
        ends = self._clock() + self._deadline
        with self._changed:
            while any(worker.busy for worker in self._workers.values()) and self._clock() < ends:
                self._changed.wait(0.1)

    def _rested(self, work: Mapping[str, object], enough: Enough) -> set[str]:
        """Those that failed a moment ago, if the others can be enough."""
        now = self._clock()
        rested = {name for name in work if name in self._failed and now < self._failed[name][0]}
        return rested if enough(frozenset(work.keys() - rested)) else set()

    def _start(self, waiting: dict[str, Callable[[], None]], running: set[str], rested: set[str]) -> None:
        for name in sorted(waiting.keys() - rested):
            worker = self._workers.setdefault(name, _Worker(name, self._changed))
            if not worker.busy:
                worker.start(waiting.pop(name))
                running.add(name)

    def _collect(self, running: set[str], outcomes: Outcomes) -> None:
        for name in sorted(running):
            worker = self._workers[name]
            if not worker.busy:
                running.discard(name)
                if worker.bug is not None:
                    raise worker.bug
                outcomes[name] = worker.fault

    def _remember(self, outcomes: Outcomes) -> None:
        for name, fault in outcomes.items():
            if fault is None:
                self._failed.pop(name, None)
            elif name not in self._failed or self._failed[name][1] is not fault:
                self._failed[name] = (self._clock() + self._pause, fault)


class _Worker:
    """A daemon thread: a replica that hangs must not keep the process from ending."""

    def __init__(self, name: str, changed: threading.Condition) -> None:
        self.busy = False
        self.fault: IndexFault | None = None
        self.bug: BaseException | None = None
        self._changed = changed
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"replica {name}", daemon=True).start()

    def start(self, work: Callable[[], None]) -> None:
        self.busy, self.fault, self.bug = True, None, None
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            fault: IndexFault | None = None
            bug: BaseException | None = None
            try:
                fault = outcome(work)
            except BaseException as error:
                bug = error
            with self._changed:
                self.fault, self.bug, self.busy = fault, bug, False
                self._changed.notify_all()


def outcome(work: Callable[[], None]) -> IndexFault | None:
    """Run it; a fault is an answer, an `OSError` one too (a file of a commit that is over, for one)."""
    try:
        work()
    except IndexFault as fault:
        return fault
    except OSError as error:
        return Unavailable(f"{error.filename or 'a local file'}: {error.strerror or error}")
    return None
