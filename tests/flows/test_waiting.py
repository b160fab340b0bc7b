"""Whoever listens hears that a source may not be asked for a while, and that a replica was left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.connectors.http.budget import SharedBudget
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.types import BudgetLimits, Outcome
from penstock.connectors.types import StopSource
from penstock.flows.answers.progress import Quiet
from penstock.flows.runs import events
from penstock.flows.runs.accounting import IngestRequest
from penstock.flows.runs.launch import on_threads
from penstock.flows.runs.run import Run
from penstock.flows.sources.waiting import Waiting
from tests.flows.conftest import World


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def listened(folder: Path, limits: BudgetLimits) -> tuple[SharedBudget, list[events.SourceWaits]]:
    clock, told = Clock(), list[events.SourceWaits]()

    def tell(event: events.Event) -> None:
        assert isinstance(event, events.SourceWaits)
        told.append(event)

    budget = SharedBudget(
        "wiki",
        limits,
        FileLedger(folder),
        clock=clock,
        sleep=clock.sleep,
        random=lambda: 0.9,
        token=lambda: "0" * 16,
        waits=Waiting("wiki", tell, clock),
    )
    return budget, told


def test_a_cooldown_is_told_once_with_its_length(tmp_path: Path) -> None:
    """Though the budget is looked at once a second while it lasts."""
    budget, told = listened(tmp_path, BudgetLimits(None, 4))
    with budget.request() as permit:
        permit.done(Outcome("ok", 0.1, cooldown=40.0))
    with budget.request() as permit:
        permit.done(Outcome("ok", 0.1))
    (one,) = told
    assert (one.source, one.breaker) == ("wiki", False) and one.seconds == pytest.approx(40, abs=0.1)
    assert one.why == "it asks everybody to wait"


def test_an_open_breaker_is_told_as_one(tmp_path: Path) -> None:
    """Each pause between two probes once, and that it was given up in the end."""
    budget, told = listened(tmp_path, BudgetLimits(None, 4, patience=120.0))
    with pytest.raises(StopSource):
        while True:
            with budget.request() as permit:
                permit.done(Outcome("failed", 0.1))
    assert told and all(each.breaker for each in told) and len(told) < 12
    assert "kept failing" in told[0].why


def test_a_short_wait_is_no_news(tmp_path: Path) -> None:
    """What is over in a moment, and places that are taken, are a matter of course."""
    budget, told = listened(tmp_path, BudgetLimits(requests_per_second=2.0, concurrency=1))
    for _ in range(4):
        with budget.request() as permit:
            permit.done(Outcome("ok", 0.1, cooldown=0.5))
    assert told == []


def test_a_replica_that_is_left_out_is_told_once(world: World) -> None:
    """With its id and why, however many commits go without it."""
    world.write("a.txt", "alpha text")
    config = world.docs.parent / "three.toml"
    places = "\n".join(f'{name} = "r{name}"' for name in "012")
    config.write_text(f'home = "home"\n[index]\nwrite_quorum = 2\n[index.replicas]\n{places}\n')
    run(world, config, [])
    shutil.rmtree(world.docs.parent / "r1")
    (world.docs.parent / "r1").write_text("no folder")
    world.write("b.txt", "beta text")
    told: list[events.Event] = []
    run(world, config, told)
    out = [each for each in told if isinstance(each, events.ReplicaLeftOut)]
    assert [each.replica for each in out] == ["1"] and out[0].problem


def run(world: World, config: Path, told: list[events.Event]) -> None:
    request = IngestRequest(home=str(world.home), config=str(config), targets=(str(world.docs),))
    Run(request, Quiet(), listeners=[told.append]).execute(on_threads)
