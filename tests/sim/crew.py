"""A crew like the threads of production, one greenlet for each replica: whoever has enough answers may go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.index.commits.crew import Enough, Outcomes, outcome
from tests.sim.scheduler import Op, Process, Scheduler, Task

IMPATIENCE = 0.2


class SimCrew:
    """Work for a replica that is late goes on in the background; the replica is left out until it is done.

    `patient()` says that nobody may be left out now.
    """

    def __init__(self, process: Process, scheduler: Scheduler, patient: Callable[[], bool]) -> None:
        self._process, self._scheduler, self._patient = process, scheduler, patient
        self._busy: dict[str, Task] = {}

    def each(self, work: Mapping[str, Callable[[], None]], enough: Enough) -> Outcomes:
        outcomes: Outcomes = {}
        started = set()
        while True:
            for name in sorted(work.keys() - started):
                if name not in self._busy or self._busy[name].done:
                    self._busy[name] = self._scheduler.spawn(self._process, self._line(name, work[name], outcomes))
                    started.add(name)
            running = [name for name in sorted(started) if not self._busy[name].done]
            waiting = sorted(work.keys() - started)
            done = frozenset(name for name, fault in outcomes.items() if fault is None)
            if not running and not (waiting and (self._patient() or not enough(done))):
                break
            late = self._process.rng.random() < IMPATIENCE
            if running and enough(done) and late and not self._patient():
                break
            self._scheduler.sleep(0.5, "crew")
        if any(self._busy[name].done and name not in outcomes for name in started):
            raise AssertionError("a piece of work ended in something that is no fault of a replica")
        return dict(outcomes)

    def finish(self) -> None:
        for _ in range(5):
            if all(task.done for task in self._busy.values()):
                return
            self._scheduler.sleep(1.0, "crew")

    def _line(self, name: str, run: Callable[[], None], outcomes: Outcomes) -> Callable[[], None]:
        def line() -> None:
            self._scheduler.point(Op("work", "crew", name))
            outcomes[name] = outcome(run)

        return line
