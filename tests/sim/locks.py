"""Locks that keep nobody out for sure: those of the dead are free, and now and then one is granted twice.

That is what a lock service really promises, and the index must not need more.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.scheduler import Op, Process, Scheduler

LIE = 0.05


@dataclass(eq=False)
class _Held:
    table: LockTable
    name: str
    process: Process

    def release(self) -> None:
        holders = self.table.holders.get(self.name, [])
        if self.process in holders:
            holders.remove(self.process)


class LockTable:
    """Who holds what, for all processes."""

    def __init__(self, lies: bool) -> None:
        self.holders: dict[str, list[Process]] = {}
        self.lies = lies


class SimLocks:
    """The locks as one process takes them."""

    def __init__(self, table: LockTable, process: Process, scheduler: Scheduler) -> None:
        self._table, self._process, self._scheduler = table, process, scheduler

    def take(self, name: str, *, wait: bool = True) -> _Held | None:
        """The lock; None where somebody has it and `wait` is False."""
        tries = 0
        while True:
            self._scheduler.point(Op("lock", "locks", name))
            holders = self._table.holders.setdefault(name, [])
            holders[:] = [process for process in holders if not process.dead]
            lie = self._table.lies and self._process.rng.random() < LIE
            # A holder that is paused for good must not stop the world: its session times out.
            expired = tries > 200 or (self._table.lies and all(process.paused for process in holders))
            if not holders or lie or expired:
                holders.append(self._process)
                return _Held(self._table, name, self._process)
            if not wait:
                return None
            tries += 1
            self._scheduler.sleep(1.0, "locks")
