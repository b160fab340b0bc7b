"""What goes wrong, and when: each schedule draws some kinds of fault and how often they come."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.sim.catalog import CatalogFile
from tests.sim.disk import Disk
from tests.sim.scheduler import Scheduler, Task

REPLIES = ("unavailable", "lost", "slow", "late", "nospace")
"""What may become of one operation."""
TROUBLES = ("crash", "pause", "outage", "full", "partition", "catalog.down", "catalog.full")
"""What may befall a process, a disk or the catalog at any step."""
RATES = (0.0005, 0.002, 0.01)


@dataclass
class Weather:
    """Decides what becomes of each operation. `calm()` is true while the promises allow no replica to be away."""

    seed: int
    scheduler: Scheduler
    disks: Mapping[str, Disk]
    catalog: CatalogFile
    calm: Callable[[], bool]
    events: Callable[[], None]
    stormy: bool = True
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"weather {self.seed}")
        for kind in (*REPLIES, *TROUBLES):
            if self.rng.random() < 0.5:
                self.rates[kind] = self.rng.choice(RATES)

    def decide(self, task: Task) -> str:
        """`ok`, a fault, or `wait` for a task that does not go on now."""
        if self.stormy:
            self.events()
            if self._befallen(task):
                return "wait"
        where, kind = task.op.where, task.op.kind
        if where == "catalog":
            return self._catalog(task, kind)
        if where.startswith("disk-"):
            return self._disk(task, self.disks[where.removeprefix("disk-")], kind)
        if where == "dr":
            return self._reply(REPLIES if kind == "put" else ("unavailable", "lost", "slow"))
        return "ok"

    def clear(self) -> None:
        """The storm is over: everything can be reached, and nothing more goes wrong."""
        self.stormy = False
        for at in (*self.disks.values(), self.catalog):
            at.down_until = at.full_until = 0.0
            at.cut_off.clear()

    def _befallen(self, task: Task) -> bool:
        """What happens to the task's process, or to a part of the world, right now."""
        now = self.scheduler.now
        if self._chance("crash"):
            self.scheduler.crash(task.process)
            # Half of the crashes come right after the operation had its effect, before anybody knew.
            return self.rng.random() < 0.5
        if self._chance("pause"):
            task.process.paused = True
            self.scheduler.say(f"{task.process.name:12} PAUSED")
            return True
        for trouble, at in (
            *((trouble, disk) for disk in self.disks.values() for trouble in ("outage", "full", "partition")),
            ("catalog.down", self.catalog),
            ("catalog.full", self.catalog),
        ):
            if not self._chance(trouble, 0.3):
                continue
            if trouble.endswith("full"):
                at.full_until = now + self.rng.uniform(1, 30)
            elif trouble == "partition":
                at.cut_off ^= {task.process.name}
            else:
                at.down_until = now + self.rng.uniform(1, 30)
        return False

    def _disk(self, task: Task, disk: Disk, kind: str) -> str:
        if self.calm():
            return "ok"
        if disk.down_until > self.scheduler.now or task.process.name in disk.cut_off:
            self.scheduler.count("unreachable")
            return "unavailable"
        if kind in ("put", "probe") and disk.full_until > self.scheduler.now:
            self.scheduler.count("full")
            return "nospace"
        return self._reply(REPLIES if kind == "put" else ("unavailable", "lost", "slow"))

    def _catalog(self, task: Task, kind: str) -> str:
        if self.catalog.down_until > self.scheduler.now or task.process.name in self.catalog.cut_off:
            self.scheduler.count("catalog unreachable")
            return "unavailable"
        if kind == "write" and self.catalog.full_until > self.scheduler.now:
            self.scheduler.count("catalog full")
            return "nospace"
        return self._reply(("unavailable", "lost", "slow"))

    def _reply(self, kinds: tuple[str, ...]) -> str:
        if not self.stormy:
            return "ok"
        return next((kind for kind in kinds if self._chance(kind)), "ok")

    def _chance(self, kind: str, weight: float = 1.0) -> bool:
        rate = self.rates.get(kind, 0.0)
        if rate == 0.0 or self.rng.random() >= rate * weight:
            return False
        self.scheduler.count(kind)
        return True
