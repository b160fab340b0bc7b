"""Shards on their way through the stages: bounded, in whatever order they get through, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.flows.runs.committing import Landed
from penstock.flows.runs.embedding import Embedded
from penstock.flows.runs.lanes import Lanes, Passing


class Driver:
    """Stages that end when, and in the order in which, `choose` says so; checks the bounds at each step."""

    def __init__(self, shards: int, devices: int, choose: Callable[[int], int], unfinished: int = -1) -> None:
        self.left, self.devices, self.choose, self.unfinished = shards, devices, choose, unfinished
        self.open: list[tuple[str, Future[Any], Callable[[], Any]]] = []
        self.made: list[Any] = []
        self.landed: list[Any] = []
        self.told = 0
        self.kept = True
        """Whether never more was in hand than is allowed; asserted at the end only: a commit in hand is waited for."""

    def submit(self, name: str, number: int, stage: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.open.append((name, future, stage))
        names = [name for name, _, _ in self.open]
        self.kept &= names.count("prepare") <= 1 and names.count("commit") <= 1
        self.kept &= names.count("embed") <= 2 * self.devices
        self.kept &= len(self.made) - len(self.landed) <= 4 * self.devices + 3
        return future

    def step(self) -> None:
        _, future, stage = self.open.pop(self.choose(len(self.open)))
        future.set_result(stage())

    def prepare(self) -> Any:
        if not self.left:
            return None
        self.left -= 1
        self.made.append(shard := object())
        return shard

    def embed(self, passing: Passing) -> Embedded:
        return Embedded(complete=self.made.index(passing.shard) != self.unfinished)

    def commit(self, passing: Passing, embedded: Embedded) -> Landed:
        self.landed.append(passing.shard)
        return Landed(len(self.landed))

    def prepared(self, passing: Passing) -> None:
        pass

    def embedded(self, embedded: Embedded) -> None:
        pass

    def committed(self, landed: Landed) -> None:
        self.told += 1


def run(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes(driver, driver.submit, devices=driver.devices, left_over=[], stopped=lambda: False)

    class Ended:
        """The queue of what ended: somebody makes a stage end whenever nothing has."""

        def __init__(self) -> None:
            self.waiting: list[tuple[str, int]] = []
            self.put = self.waiting.append

        def get(self) -> tuple[str, int]:
            while not self.waiting:
                driver.step()
            return self.waiting.pop(0)

    monkeypatch.setattr(lanes, "_ended", Ended())
    lanes.run()


@settings(max_examples=150, deadline=None)
@given(shards=st.integers(0, 25), devices=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_every_shard_lands_once_in_any_order_of_ending(shards: int, devices: int, seed: int) -> None:
    """One is prepared and one committed at a time, two for each device are in its hands, few wait."""
    with pytest.MonkeyPatch.context() as patch:
        driver = Driver(shards, devices, Random(seed).randrange)
        run(driver, patch)
    assert len(driver.made) == shards == driver.told and set(driver.landed) == set(driver.made)
    assert not driver.open and driver.kept


@settings(max_examples=80, deadline=None)
@given(shards=st.integers(1, 12), devices=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_what_was_complete_lands_when_one_is_not(shards: int, devices: int, seed: int) -> None:
    """Nothing new is begun then, and everything that is under way comes to its end."""
    unfinished = Random(seed).randrange(shards)
    with pytest.MonkeyPatch.context() as patch:
        driver = Driver(shards, devices, Random(seed).randrange, unfinished)
        run(driver, patch)
    assert driver.made[unfinished] not in driver.landed and not driver.open
    assert len(driver.landed) == len(set(driver.landed)) == driver.told
