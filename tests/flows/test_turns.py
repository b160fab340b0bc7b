"""One device's slot as a run has it: looked up from, given way with, and never for so long that nothing comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.runs import slots
from penstock.flows.runs.events import Event, GaveWay
from penstock.flows.runs.loading import CPU, Device
from penstock.flows.runs.reloading import Reloading
from penstock.flows.runs.slots import BACKFILL, SCHEDULED, URGENT
from penstock.flows.runs.turns import LOOK_SECONDS, OWN_SECONDS, Turn, Wish
from tests.fakes.encoder import HashEncoder


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asking:
    """Something that is asked for all the time, and takes `seconds`."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.looks = self.served = 0

    def waits(self) -> bool:
        self.looks += 1
        return True

    def serve(self, device: Device) -> None:
        self.served += 1
        self._clock.now += self._seconds


class Resting(HashEncoder):
    """One whose memory others need."""

    rests = 0

    def rest(self) -> bool:
        self.rests += 1
        return True


def turn(where: Path, clock: Clock, device: Device | None = None, **options: object) -> Turn:
    defaults: dict[str, object] = {
        "where": where,
        "priority": SCHEDULED,
        "aside": Asking(clock, 0.0),
        "clock": clock,
        "sleep": lambda seconds: None,
        "stopped": lambda: False,
        "note": lambda line: None,
    }
    return Turn(device or Device("cuda-0", Resting()), **{**defaults, **options})  # type: ignore[arg-type]


@given(
    batches=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60),
    seconds=st.floats(0.0, 30.0),
)
def test_whoever_asks_again_and_again_leaves_a_second_of_own_work_in_between(
    tmp_path_factory: pytest.TempPathFactory, batches: list[float], seconds: float
) -> None:
    """And is served as soon as that is done, within one batch, looked for once a second at most."""
    clock = Clock()
    asking = Asking(clock, seconds)
    mine = turn(tmp_path_factory.getbasetemp(), clock, aside=asking)
    own, since = 0.0, float("inf")  # work since the last favour; the first may be at once
    for batch in batches:
        clock.now += batch
        mine.worked(batch)
        own, since = own + batch, since + batch
        wish = mine.look()
        assert (wish is Wish.ASIDE) == (since >= max(OWN_SECONDS, LOOK_SECONDS) - 1e-6) or abs(since - 1) < 1e-6
        if wish is Wish.ASIDE:
            mine.serve()
            since = 0.0
    assert asking.looks == asking.served <= own + 1


def test_a_model_that_had_to_be_loaded_again_is_used_for_as_long_as_that_took(tmp_path: Path) -> None:
    """Or a device would load and load, and embed nothing."""
    clock = Clock()
    told: list[Event] = []
    mine = turn(tmp_path, clock, tell=told.append)
    mine.give()
    for seconds, wish in ((8.0, Wish.NOTHING), (4.0, Wish.NOTHING), (3.9, Wish.NOTHING), (0.2, Wish.ASIDE)):
        clock.now += seconds
        mine.worked(seconds)
        assert mine.look() is wish


def test_a_stop_is_seen_at_every_look(tmp_path: Path) -> None:
    """Whatever is owed to anybody."""
    clock = Clock()
    mine = turn(tmp_path, clock, stopped=lambda: True)
    mine.give()
    assert mine.look() is Wish.STOP


def test_work_aside_goes_before_giving_the_device_away(tmp_path: Path) -> None:
    """It costs less: the model is loaded."""
    clock = Clock()
    with waiting(tmp_path, URGENT, "cuda-0"):
        assert turn(tmp_path, clock).look() is Wish.ASIDE
        assert turn(tmp_path, clock, aside=Nothing()).look() is Wish.THE_DEVICE
        assert turn(tmp_path, clock, aside=Nothing()).look(begun=False) is Wish.NOTHING
        assert turn(tmp_path, clock, aside=Nothing(), priority=URGENT).look() is Wish.NOTHING
    with waiting(tmp_path, BACKFILL, "cuda-0"):
        assert turn(tmp_path, clock, aside=Nothing()).look() is Wish.NOTHING


def test_how_long_the_device_was_given_away_is_told(tmp_path: Path) -> None:
    """From letting go of it to having it again; and what was done aside, as lent."""
    clock = Clock()
    told: list[Event] = []
    aside = Asking(clock, 2.5)
    mine = turn(tmp_path, clock, tell=told.append, aside=aside, sleep=lambda seconds: tick(clock, other))
    other = slots._Waiter(slots._Line(tmp_path, "cuda-0"), URGENT)
    with mine.taken() as held:
        assert held and other.ask() is False
        mine.serve()
        mine.give()
    assert other.ask()
    with mine.taken() as held:
        assert held
    with mine.taken():
        assert not mine.waited
    mine.give()
    with mine.taken():
        assert mine.waited, "somebody had it, although it is free again"
    assert told[:2] == [GaveWay("cuda-0", 2.5, lent=True), GaveWay("cuda-0", 7.0, lent=False)]


def tick(clock: Clock, holder: slots._Waiter) -> None:
    clock.now += 7.0
    holder.leave()


def test_an_accelerator_s_memory_is_let_go_of_and_the_cpu_s_is_not(tmp_path: Path) -> None:
    """Through the gate as well, which judges again what is loaded again."""
    clock = Clock()
    card, cpu = Resting(), Resting()
    guarded = Reloading(card, lambda encoder: None, lambda encoder: 1)
    turn(tmp_path, clock, Device("cuda-0", guarded)).give()
    turn(tmp_path, clock, Device(CPU, cpu)).give()
    turn(tmp_path, clock, Device("endpoint", HashEncoder())).give()
    assert (card.rests, cpu.rests) == (1, 0)


def test_a_look_leaves_nothing_behind(tmp_path: Path) -> None:
    """Whoever only looks stands in no line."""
    clock = Clock()
    mine = turn(tmp_path, clock, aside=Nothing())
    assert mine.look() is Wish.NOTHING
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda-0.line"], "no ticket, no slot"


class Nothing:
    def waits(self) -> bool:
        return False

    def serve(self, device: Device) -> None:
        raise AssertionError


class waiting:
    """Somebody waits for the slot, whoever has it."""

    def __init__(self, where: Path, priority: int, device: str) -> None:
        self._holder = slots._Waiter(slots._Line(where, device), priority)
        self._waiter = slots._Waiter(slots._Line(where, device), priority)

    def __enter__(self) -> None:
        assert self._holder.ask()
        assert self._waiter.ask() is False

    def __exit__(self, *_: object) -> None:
        self._waiter.leave()
        self._holder.leave()


def test_vectors_of_an_encoder_that_rested_are_the_same() -> None:
    """To the bit."""
    ids = [(1, n) for n in range(9)]
    resting = Reloading(Resting(), lambda encoder: None, lambda encoder: 1)
    first = np.concatenate([batch.vectors for batch in resting.encode(ids)])
    assert resting.rest()
    assert np.array_equal(first, np.concatenate([batch.vectors for batch in resting.encode(ids)]))
