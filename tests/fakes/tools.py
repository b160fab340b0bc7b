"""What a connector is handed in tests: a clock that only sleeping moves, secrets from a table, a counting budget."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.connectors.connector import OpenDoor, Tools
from penstock.connectors.http.types import Outcome
from penstock.connectors.types import StopSource


class Time:
    """A clock that only sleeping moves. Thread-safe enough for tests."""

    def __init__(self, now: float = 2e9) -> None:
        self.now = now
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class CountingBudget:
    """A budget without limits that keeps what it was told; once `spent`, it gives no more permits."""

    def __init__(self) -> None:
        self.permits = 0
        self.most_at_once = 0
        self.outcomes: list[Outcome] = []
        self.spent = False
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[_Permit]:
        if self.spent:
            raise StopSource("the quota of the day is spent: run it again tomorrow", after=3600.0)
        with self._lock:
            self.permits += 1
            self._held += 1
            self.most_at_once = max(self.most_at_once, self._held)
        permit = _Permit(self)
        try:
            yield permit
        finally:
            with self._lock:
                self._held -= 1
            if not permit.told:
                permit.done(Outcome("cancelled"))


class _Permit:
    def __init__(self, budget: CountingBudget) -> None:
        self._budget = budget
        self.told = False

    def done(self, outcome: Outcome) -> None:
        assert not self.told, "a permit is done once"
        self.told = True
        self._budget.outcomes.append(outcome)


def no_door(*_: object, **__: object) -> Any:
    raise AssertionError("this connector does not speak HTTP")


@dataclass
class Kit:
    """`tools` for one test, and what they were used for. `secrets`: what `${NAME}` stands for, by NAME."""

    scratch: Path
    secrets: Mapping[str, str] = field(default_factory=dict)
    door: OpenDoor = no_door
    max_bytes: int = 64 << 20
    exclude: tuple[Path, ...] = ()
    time: Time = field(default_factory=Time)
    budget: CountingBudget = field(default_factory=CountingBudget)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._tokens = itertools.count()

    def secret(self, written: str) -> str:
        name = written.removeprefix("${").removesuffix("}")
        if name not in self.secrets:
            raise StopSource(f"the environment variable {name} is not set; set it")
        return self.secrets[name]

    @property
    def tools(self) -> Tools:
        return Tools(
            clock=self.time.clock,
            sleep=self.time.sleep,
            secret=self.secret,
            door=self.door,
            scratch=self.scratch,
            token=lambda: f"{next(self._tokens):016x}",
            note=self.notes.append,
            max_bytes=self.max_bytes,
            exclude=self.exclude,
            budget=self.budget,
        )
