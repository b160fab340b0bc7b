"""Who goes on: processes of greenlets that meet the world at switch points, and a seed that decides everything.

A process never sees another run except at a point: each call of a store, the catalog, a lock, and each crash
point of the writer. A crash is a process that is never resumed: none of its code runs again, not even `finally`.
A zombie is one that is resumed long after everybody took it for dead.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import greenlet

Decide = Callable[["Task"], str]


class Crashed(BaseException):
    """Thrown into whatever is left of a process when a schedule is over: nothing it does has any effect."""


class Violation(AssertionError):
    """A promise that was broken. The message says which; the command line says how to see it again."""


@dataclass(eq=False)
class Op:
    """What a task is about to do: `kind` (`get`, `put`, …), on which part of the world, to which key."""

    kind: str
    where: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where} {self.key[:40]}".rstrip()


@dataclass(eq=False)
class Process:
    """One process of the world: dead is for ever, `paused` until somebody resumes it."""

    name: str
    role: str
    rng: random.Random
    dead: bool = False
    paused: bool = False
    skew: float = 0.0
    site: object = None
    """The configuration that it was started with (see world)."""
    note: object = None
    """What it is doing, for whoever finds the tokens that it drew meanwhile (see oracle)."""


@dataclass(eq=False)
class Task:
    """One greenlet of a process: its main line, or the work for one replica."""

    process: Process
    run: greenlet.greenlet
    op: Op
    wake: float = 0.0
    done: bool = False


@dataclass
class Scheduler:
    """Runs one task at a time. `decide` says what becomes of the operation that a task waits for."""

    seed: int
    steps_left: int
    decide: Decide
    verbose: bool = False
    now: float = 1_000_000.0
    steps: int = 0
    over: bool = False
    processes: list[Process] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"order {self.seed}")
        self.hub = greenlet.getcurrent()
        self.current: Task | None = None
        self.stickiness = self.rng.choice((0.3, 0.8, 0.95))
        self._digest = hashlib.sha256()

    def spawn(self, process: Process, line: Callable[[], None]) -> Task:
        """Begin a line of work; it first runs when its turn comes."""
        if process not in self.processes:
            self.processes.append(process)
        task = Task(process, greenlet.greenlet(lambda _: self._guarded(task, line), parent=self.hub), Op("begin", "-"))
        self.tasks.append(task)
        return task

    def point(self, op: Op) -> str:
        """Wait for our turn; returns what becomes of `op`. Outside of any process everything goes well."""
        task = self.current
        if self.over and greenlet.getcurrent() is not self.hub:
            raise Crashed
        if task is None or greenlet.getcurrent() is not task.run:
            return "ok"
        task.op = op
        return str(self.hub.switch())

    def sleep(self, seconds: float, why: str) -> None:
        """Let time pass for the task at hand."""
        if self.current is not None:
            self.current.wake = self.now + seconds
            self.point(Op("sleep", why))

    def step(self) -> bool:
        """One task does one thing; False if none can."""
        ready = [t for t in self.tasks if not (t.done or t.process.dead or t.process.paused)]
        if not ready:
            return False
        awake = [task for task in ready if task.wake <= self.now]
        if not awake:
            self.now = min(task.wake for task in ready)
            awake = [task for task in ready if task.wake <= self.now]
        again = self.current_or_none(awake)
        task = again if again and self.rng.random() < self.stickiness else self.rng.choice(awake)
        self.steps += 1
        self.now += 0.01
        decision = self.decide(task)
        self.say(f"{task.process.name:12} {task.op} {'' if decision == 'ok' else decision}".rstrip())
        if decision == "crash":
            return True
        self._resume(task, decision)
        return True

    def current_or_none(self, awake: list[Task]) -> Task | None:
        return self._last if (self._last in awake) else None

    _last: Task | None = None

    def crash(self, process: Process) -> None:
        """It does nothing ever again."""
        process.dead = True
        self.say(f"{process.name:12} CRASHED")

    def alive(self) -> list[Process]:
        busy = {task.process.name for task in self.tasks if not task.done}
        return [p for p in self.processes if p.name in busy and not p.dead]

    def finish(self) -> None:
        """Unwind what is left, with no effect on the world."""
        self.over = True
        for task in self.tasks:
            if not task.done and task.run:
                task.run.throw(Crashed)
        self.tasks.clear()

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def say(self, line: str) -> None:
        self._digest.update(line.encode())
        if self.verbose:
            print(f"{self.steps:6} {self.now:12.2f} {line}", flush=True)

    @property
    def digest(self) -> str:
        """What happened, in order, as one number: the same for the same seed."""
        return self._digest.hexdigest()[:16]

    def _resume(self, task: Task, decision: str) -> None:
        self.current = self._last = task
        try:
            task.run.switch(decision)
        finally:
            self.current = None

    def _guarded(self, task: Task, line: Callable[[], None]) -> None:
        try:
            line()
        except (Crashed, greenlet.GreenletExit):
            pass
        except BaseException as error:
            if not self.over:
                self.failures.append(_told(task.process.name, error))
                self.say(f"{task.process.name:12} FAILED {error!r}")
        finally:
            task.done = True


def _told(who: str, error: BaseException) -> str:
    """The error, and where in the code it came from."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-6:]
    at = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{who}: {type(error).__name__}: {error} [{at}]"
