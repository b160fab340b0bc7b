"""Doors for the tests of the door: few attempts, sleeps that are only written down."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.connectors.http.door import HttpDoor
from penstock.connectors.http.network import system_resolve
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.http.types import NetworkRules
from tests.connectors.tools import CountingBudget

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass
class Bench:
    """A door with what it was given."""

    scratch: Path
    rules: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = CountingBudget()
        self.slept: list[float] = []
        self.redactor = Redactor()
        numbers = itertools.count()
        rules = {
            "allow": LOOPBACK,
            "connect_seconds": 5.0,
            "read_seconds": 3.0,
            "total_seconds": 10.0,
            "attempts": 3,
            **self.rules,
        }
        given = {
            "budget": self.budget,
            "clock": time.time,
            "monotonic": time.monotonic,
            "sleep": self.slept.append,
            "random": random.Random(1).random,
            "token": lambda: f"part-{next(numbers)}",
            "resolve": system_resolve,
            **self.given,
        }
        self.door = HttpDoor(rules=NetworkRules(**rules), scratch=self.scratch, redactor=self.redactor, **given)

    def verdicts(self) -> list[str]:
        """What the budget was told."""
        return [outcome.verdict for outcome in self.budget.outcomes]

    def leftovers(self) -> list[Path]:
        """Files in the scratch folder."""
        return list(self.scratch.iterdir())


def bench(scratch: Path, *, rules: dict[str, Any] | None = None, **given: Any) -> Bench:
    """`rules` are keys of `NetworkRules`, `given` arguments of `HttpDoor`."""
    return Bench(scratch, rules or {}, given)
