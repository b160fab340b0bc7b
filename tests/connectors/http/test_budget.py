"""A budget shared by threads and processes."""

from __future__ import annotations

import itertools
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from penstock.connectors.http.breaker import FAILURES
from penstock.connectors.http.budget import SharedBudget
from penstock.connectors.http.holders import Holders
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.types import BudgetLimits, Outcome
from penstock.connectors.types import StopSource
from penstock.index.catalog.catalog import Catalog
from penstock.index.catalog.cells import Cells
from penstock.index.errors import Unavailable
from tests.connectors.http.budget_world import NOON
from tests.suites.catalog_suite import META

CHILD = """
import random, secrets, sys, time
from pathlib import Path
from penstock.connectors.http.budget import SharedBudget
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.types import BudgetLimits, Outcome

folder, rate, concurrency, requests, seconds = sys.argv[1:]
read = [0.0]
def clock():
    read[0] = time.time()
    return read[0]
budget = SharedBudget("src", BudgetLimits(float(rate) or None, int(concurrency)), FileLedger(Path(folder)), clock=clock,
                      sleep=time.sleep, random=random.random, token=lambda: secrets.token_hex(8))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(requests)):
    with budget.request() as permit:
        began = read[0]
        if float(seconds) > 1:
            print("held", flush=True)
        time.sleep(float(seconds))
        ended = time.time()
        permit.done(Outcome("ok", float(seconds)))
    print(began, ended, flush=True)
"""


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = NOON
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def shared(folder: Path, clock: Clock, limits: BudgetLimits) -> SharedBudget:
    return SharedBudget(
        "wiki",
        limits,
        FileLedger(folder),
        clock=clock,
        sleep=clock.sleep,
        random=random.Random(1).random,
        token=lambda: secrets.token_hex(8),
    )


def real(folder: Path, limits: BudgetLimits) -> SharedBudget:
    return SharedBudget(
        "src",
        limits,
        FileLedger(folder),
        clock=time.time,
        sleep=time.sleep,
        random=random.random,
        token=lambda: secrets.token_hex(8),
    )


def child(folder: Path, rate: float, concurrency: int, requests: int, seconds: float) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), *map(str, (rate, concurrency, requests, seconds))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    return started


def go(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("go\n")
    started.stdin.flush()


def test_requests_are_spaced_and_sleeps_are_short(tmp_path: Path) -> None:
    """One every five seconds, waited for by a second at a time, so that a stop is noticed."""
    clock = Clock()
    budget = shared(tmp_path, clock, BudgetLimits(0.2, 4))
    for _ in range(4):
        with budget.request() as permit:
            permit.done(Outcome("ok", 0.1))
    assert clock.now - NOON == pytest.approx(15, abs=0.01)
    assert max(clock.slept) <= 1


def test_what_sleep_raises_ends_the_waiting_and_gives_the_turn_back(tmp_path: Path) -> None:
    """A run that is being stopped leaves nothing behind for the others to wait for."""
    clock = Clock()
    budget = shared(tmp_path, clock, BudgetLimits(0.001, 4))
    with budget.request() as permit:
        permit.done(Outcome("ok", 0.1))

    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    budget._sleep = stop
    with pytest.raises(KeyboardInterrupt), budget.request():
        raise AssertionError("not reached")
    assert b'"queue"' not in FileLedger(tmp_path).path("wiki").read_bytes()


def test_a_block_that_is_left_by_an_error_gives_its_place_back(tmp_path: Path) -> None:
    """It says nothing about the source. Only the first `done` counts."""
    clock = Clock()
    budget = shared(tmp_path, clock, BudgetLimits(None, 1))
    for _ in range(FAILURES + 2):
        with pytest.raises(OSError, match="mine"), budget.request():
            raise OSError("mine")
        with budget.request() as permit:
            permit.done(Outcome("cancelled"))
            permit.done(Outcome("throttled", cooldown=99.0))
    assert clock.now == NOON


def test_a_spent_quota_stops_the_source_and_says_until_when(tmp_path: Path) -> None:
    """Also for a budget that was opened anew; the next day it goes on."""
    clock = Clock()
    for _ in range(3):
        with shared(tmp_path, clock, BudgetLimits(None, 4, per_day=3)).request():
            pass
    with pytest.raises(
        StopSource, match=r"wiki: the 3 requests .* until 2024-10-05 00:00:00 UTC; nothing is lost"
    ) as stop:
        shared(tmp_path, clock, BudgetLimits(None, 4, per_day=3)).request().__enter__()
    assert stop.value.after == 43_200
    clock.now += 43_200
    with shared(tmp_path, clock, BudgetLimits(None, 4, per_day=3)).request():
        pass


def test_a_cooldown_is_waited_for_within_patience_and_stops_beyond_it(tmp_path: Path) -> None:
    """For everybody who shares the budget."""
    clock = Clock()
    with shared(tmp_path, clock, BudgetLimits(None, 4)).request() as permit:
        permit.done(Outcome("ok", 0.1, cooldown=40.0))
    with shared(tmp_path, clock, BudgetLimits(None, 4)).request() as permit:
        assert clock.now - NOON == pytest.approx(40, abs=0.01)
        permit.done(Outcome("throttled", 0.1, cooldown=400.0))
    with pytest.raises(StopSource, match=r"asks everybody to wait until .* beyond the patience of 300 s") as stop:
        shared(tmp_path, clock, BudgetLimits(None, 4)).request().__enter__()
    assert stop.value.after == pytest.approx(400, abs=1)


def test_a_source_that_is_down_is_given_up(tmp_path: Path) -> None:
    """After patience, probing now and then meanwhile."""
    clock = Clock()
    budget, tried = shared(tmp_path, clock, BudgetLimits(None, 4, patience=120.0)), 0
    with pytest.raises(StopSource, match="keeps failing and was given 120 s"):
        while True:
            with budget.request() as permit:
                tried += 1
                permit.done(Outcome("failed", 0.1))
    assert 60 < clock.now - NOON <= 121 and FAILURES < tried < 40


def test_a_ledger_that_cannot_be_written_stops_the_source_with_the_reason(tmp_path: Path) -> None:
    """Without a budget nobody asks a fragile source."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StopSource, match=r"budget cannot be kept .*file") as stop:
        shared(tmp_path / "file", Clock(), BudgetLimits()).request().__enter__()
    assert stop.value.after is not None


def test_a_place_is_given_back_when_the_ledger_can_be_written_again(tmp_path: Path) -> None:
    """The answer in hand is not lost because the budget could not be told of it."""
    clock = Clock()
    budget = shared(tmp_path / "budgets", clock, BudgetLimits(None, 1))
    with budget.request() as permit:
        (tmp_path / "budgets").rename(tmp_path / "away")
        (tmp_path / "budgets").write_text("")
        permit.done(Outcome("ok", 0.1))
    with pytest.raises(StopSource):
        budget.request().__enter__()
    (tmp_path / "budgets").unlink()
    (tmp_path / "away").rename(tmp_path / "budgets")
    with budget.request():
        assert clock.now == NOON


def test_two_machines_share_it_over_the_catalog(tmp_path: Path) -> None:
    """The same promises; and where the catalog cannot be reached, nobody asks the source."""
    url, clock = f"sqlite:///{tmp_path}/catalog.db", Clock()

    def machine(name: str) -> SharedBudget:
        return SharedBudget(
            "wiki",
            BudgetLimits(2.0, 1),
            Cells(url),
            clock=clock,
            sleep=clock.sleep,
            random=lambda: 0.5,
            token=lambda: secrets.token_hex(8),
            holders=Holders(lambda: name, proc=tmp_path / "none"),
            faults=(OSError, Unavailable),
        )

    with pytest.raises(StopSource, match=r"budget cannot be kept \(catalog .*missing"):
        machine("one").request().__enter__()
    Catalog(url).create(META)
    for budget in [machine("one"), machine("two")] * 3:
        with budget.request() as permit:
            permit.done(Outcome("ok", 0.0))
    assert clock.now - NOON == pytest.approx(2.5, abs=0.01)


def test_threads_share_it(tmp_path: Path) -> None:
    """Never more at once than the ceiling, and all get through."""
    budget, inside, most = real(tmp_path, BudgetLimits(None, 3)), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(8):
            with budget.request() as permit:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                with lock:
                    inside[0] -= 1
                permit.done(Outcome("ok", 0.005))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 3


@pytest.mark.parametrize(("rate", "concurrency", "seconds"), [(50.0, 8, 0.001), (0.0, 2, 0.02)])
def test_processes_keep_to_the_rate_and_the_places_together(
    tmp_path: Path, rate: float, concurrency: int, seconds: float
) -> None:
    """Four processes on one budget are to the source as one."""
    children = [child(tmp_path, rate, concurrency, 15, seconds) for _ in range(4)]
    for one in children:
        go(one)
    times: list[tuple[float, float]] = []
    for one in children:
        for line in one.communicate(timeout=60)[0].splitlines():
            began, ended = map(float, line.split())
            times.append((began, ended))
    times.sort()
    assert len(times) == 60
    if rate:
        gaps = [after[0] - before[0] for before, after in itertools.pairwise(times)]
        assert min(gaps) >= 1 / rate - 1e-5
    changes = sorted([(began, 1) for began, _ in times] + [(ended, -1) for _, ended in times])
    flying = [sum(change for _, change in changes[: number + 1]) for number in range(len(changes))]
    assert max(flying) <= concurrency


def test_the_place_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """Nobody waits for its lease to end."""
    victim = child(tmp_path, 0, 1, 1, 600)
    go(victim)
    assert victim.stdout is not None and victim.stdout.readline() == "held\n"
    got = threading.Event()

    def take() -> None:
        with real(tmp_path, BudgetLimits(None, 1)).request():
            got.set()

    waiting = threading.Thread(target=take, daemon=True)
    waiting.start()
    assert not got.wait(0.2), "one at a time"
    victim.send_signal(signal.SIGKILL)
    assert got.wait(5)
    waiting.join()
    victim.communicate()
