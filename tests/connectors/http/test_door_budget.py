"""The door and the shared budget together: what a source asks of one request, all requests do."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.connectors.http.budget import SharedBudget
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.types import BudgetLimits
from penstock.connectors.types import RetryLater, StopSource
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, saying, serving


def shared(folder: Path, limits: BudgetLimits, sleep: Callable[[float], None] = time.sleep) -> SharedBudget:
    return SharedBudget(
        "source",
        limits,
        FileLedger(folder / "ledger"),
        clock=time.time,
        sleep=sleep,
        random=random.Random(0).random,
        token=lambda: secrets.token_hex(8),
    )


class Throttling:
    """A play that is busy for some milliseconds, and now and then throws everybody out for a while."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._at_once = 0
        self.most = 0
        self.until = 0.0
        self.early = 0
        self.thrown_out = 0

    def __call__(self, line: Line, heard: Heard) -> None:
        with self._lock:
            now = time.monotonic()
            self._at_once += 1
            self.most = max(self.most, self._at_once)
            # The first tenth of a second is for those that were on their way.
            self.early += self.until - 0.3 < now < self.until - 0.02
            chance = self._chance.random()
        time.sleep(0.002)
        with self._lock:
            self._at_once -= 1
            if chance < 0.04:
                self.until = time.monotonic() + 0.4
                self.thrown_out += 1
        if chance < 0.04:
            line.answer(429, Retry_After="0.4")
        elif chance < 0.2:
            line.answer(502)
        else:
            line.answer(200, heard.target)


def test_a_cooldown_is_everybodys(tmp_path: Path) -> None:
    """One thread is told to wait: no request of any of them comes before that time; all documents land."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    play = Throttling(3)
    with serving(play) as server:
        budget = shared(tmp_path, BudgetLimits(concurrency=4, patience=60))
        rules = {"attempts": 9, "read_seconds": 5.0, "total_seconds": 10.0}
        door = bench(scratch, rules=rules, budget=budget).door
        with ThreadPoolExecutor(8) as threads:
            bodies = list(threads.map(lambda n: door.request(f"{server.url}/{n}").body, range(150)))
        assert bodies == [f"/{n}".encode() for n in range(150)]
        assert play.most <= 4 and play.thrown_out >= 2 and play.early == 0
        assert door.retries["throttled"] >= 2


def test_a_source_that_is_down_is_not_asked_by_everybody(tmp_path: Path) -> None:
    """The breaker opens after some failures: the rest is told at once that the source is down."""
    asked = 0

    def play(line: Line, heard: Heard) -> None:
        nonlocal asked
        asked += 1
        line.answer(500)

    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with serving(play) as server:
        budget = SharedBudget(
            "source",
            BudgetLimits(concurrency=2, patience=5),
            FileLedger(tmp_path / "ledger"),
            clock=lambda: 1_700_000_000 + now[0],
            sleep=sleep,
            random=random.Random(0).random,
            token=lambda: secrets.token_hex(8),
        )
        at = bench(tmp_path, rules={"attempts": 2}, budget=budget)
        raised = []
        for number in range(60):
            with pytest.raises((RetryLater, StopSource)) as caught:
                at.door.request(f"{server.url}/{number}")
            raised.append(type(caught.value))
        assert raised[-1] is StopSource and asked < 30


def test_the_quota_of_the_day_counts_every_hop_and_every_attempt(tmp_path: Path) -> None:
    """A redirect is a request, a repetition is one too."""

    def play(line: Line, heard: Heard) -> None:
        line.answer(302, Location="/end") if heard.target == "/" else saying(200, "x")(line, heard)

    with serving(play) as server:
        at = bench(tmp_path, budget=shared(tmp_path, BudgetLimits(per_day=5)))
        at.door.request(server.url)
        at.door.request(server.url)
        with pytest.raises(StopSource) as caught:
            at.door.request(server.url)
        assert caught.value.after is not None and len(server.heard) == 5
