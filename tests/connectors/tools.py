"""What a connector is handed in tests: the real door, loopback allowed, no waiting."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.http.door import Doors
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.http.types import Budget, NetworkRules, Outcome, Permit
from penstock.connectors.types import StopSource

LOOPBACK = NetworkRules(allow=("127.0.0.0/8", "::1/128"), connect_seconds=2.0, read_seconds=2.0, total_seconds=10.0)


class CountingBudget:
    """A budget that never says no. It keeps what it was told and the most requests that were in hand at once."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.requests = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[Permit]:
        with self._lock:
            self.requests += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        permit = CountingPermit()
        try:
            yield permit
        finally:
            with self._lock:
                self.at_once -= 1
                self.outcomes.append(permit.outcome or Outcome("cancelled"))


class CountingPermit:
    def __init__(self) -> None:
        self.outcome: Outcome | None = None

    def done(self, outcome: Outcome) -> None:
        assert self.outcome is None, "a permit is done once"
        self.outcome = outcome


def secrets_of(values: dict[str, str], redactor: Redactor) -> Callable[[str], str]:
    """`Tools.secret` over a dictionary: the keys are what the configuration says, such as `${TOKEN}`."""

    def secret(reference: str) -> str:
        if reference not in values:
            raise StopSource(f"set {reference}")
        redactor.learn(values[reference])
        return values[reference]

    return secret


def tools(
    tmp_path: Path,
    *,
    rules: NetworkRules = LOOPBACK,
    budget: Budget | None = None,
    secrets: dict[str, str] | None = None,
    **overrides: Any,
) -> Tools:
    """Tools whose sleeps return at once and whose clock is the real one.

    `secrets` maps references (`${NAME}`) to values; `overrides` replace any attribute of `Tools`.
    """
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    numbers = itertools.count()
    redactor = Redactor()
    budget = budget if budget is not None else CountingBudget()

    def token() -> str:
        return f"token-{next(numbers)}"

    doors = Doors(
        budget=budget,
        rules=rules,
        scratch=scratch,
        clock=time.time,
        monotonic=time.monotonic,
        sleep=lambda seconds: None,
        random=random.Random(0).random,
        token=token,
        redactor=redactor,
    )
    made = Tools(
        clock=time.time,
        sleep=lambda seconds: None,
        secret=secrets_of(secrets or {}, redactor),
        door=doors,
        scratch=scratch,
        token=token,
        note=lambda line: None,
        max_bytes=64 << 20,
        budget=budget,
    )
    return replace(made, **overrides)
