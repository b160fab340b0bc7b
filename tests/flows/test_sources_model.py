"""Whatever happens at sources and to runs, the index tells the truth, and in the end it is a clean build's."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.connectors import registry
from tests.flows.conftest import World
from tests.flows.source_world import Model

SAID = os.environ.get("PENSTOCK_MODEL_SEED")
SEEDS = [int(SAID)] if SAID else [1, 2, 3, 4, 5, 6]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Model]]:
    yield lambda seed: Model(World(tmp_path / str(seed), monkeypatch), tmp_path, random.Random(seed), monkeypatch)
    registry.connector.cache_clear()


def lives(model: Model, runs: int) -> None:
    model.history.begin(model.dice.choice([4, 20, 30]))
    for _ in range(runs):
        model.history.live(8)
        model.history.peace()
        model.history.trouble()
        if model.dice.random() < 0.06:
            model.some_change_of_configuration()
        model.now += model.dice.choice([1.0, 60.0, 3_000.0, 30_000.0])
        model.some_run()
    model.ends_as_a_clean_build()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_ends_as_a_clean_build(live: Callable[[int], Model], seed: int) -> None:
    """Nothing served that never was, nothing lost, paid twice or asked too soon; PENSTOCK_MODEL_SEED replays one."""
    lives(live(seed), 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_long_histories_end_as_a_clean_build(live: Callable[[int], Model], seed: int) -> None:
    """Many more of them, each of many runs."""
    lives(live(seed), 30)
