"""The budget is the smallest number of tokens that saturates, under a memory cap, found in bounded time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.engine.capacity import Budget, Trial, find, judged
from penstock.embed.engine.faults import OutOfMemory

SIZES = [256 << n for n in range(9)]
PLENTY = 1 << 40
PER_TOKEN = 1000
"""Bytes."""


class Device:
    """Saturates at `knee` tokens: up to there a batch takes as long as one of `knee`. Time passes only here."""

    def __init__(
        self, knee: int, *, peak: float = 100_000.0, bytes_per_token: int = 1000, memory: int = PLENTY
    ) -> None:
        self.knee, self.peak, self.per_token, self.memory = knee, peak, bytes_per_token, memory
        self.now, self.measured, self.released = 0.0, list[int](), 0
        self.noise: Callable[[], float] = lambda: 1.0

    def clock(self) -> float:
        return self.now

    def release(self) -> None:
        self.released += 1

    def measure(self, size: int) -> Trial:
        first = size not in self.measured
        self.measured.append(size)
        if size * PER_TOKEN > self.memory:
            raise MemoryError
        seconds = max(size, self.knee) / self.peak * self.noise() * (3 if first else 1)
        self.now += seconds
        return Trial(size, seconds, size * PER_TOKEN)

    def find(self, sizes: list[int] = SIZES, memory_cap: int = PLENTY, seconds: float = 1000.0) -> Budget:
        return find(self.measure, sizes, memory_cap, clock=self.clock, seconds=seconds, release=self.release)


@pytest.mark.parametrize("knee", SIZES[:-2])
def test_the_smallest_that_saturates_is_chosen(knee: int) -> None:
    """Neither less, which is slower, nor more, which only takes memory."""
    budget = Device(knee).find()
    assert budget.tokens == knee
    assert budget.bound == "saturated"
    assert "the smallest that saturates" in budget.why


def test_nothing_far_beyond_the_knee_is_tried() -> None:
    """Two sizes that bring nothing are enough."""
    device = Device(1024)
    device.find()
    assert max(device.measured) == 4096


def test_a_gain_after_a_chance_pause_is_not_missed() -> None:
    """One size that was measured beside other work ends nothing."""
    device = Device(8192)
    slow = {1024}

    def measure(size: int) -> Trial:
        trial = device.measure(size)
        return Trial(size, trial.seconds * (2 if size in slow else 1), trial.memory_bytes)

    assert find(measure, SIZES, PLENTY, clock=device.clock, seconds=1000.0).tokens == 8192


@given(knee=st.sampled_from(SIZES[:-2]), delays=st.lists(st.floats(1.0, 3.0), min_size=1, max_size=60))
def test_one_quiet_turn_of_three_is_enough(knee: int, delays: list[float]) -> None:
    """Other work makes a batch slower, never faster: the best of each size counts, and turns lie apart."""
    device = Device(knee)
    turns: dict[int, int] = {}

    def measure(size: int) -> Trial:
        turns[size] = turns.get(size, -1) + 1
        device.noise = lambda: 1.0 if turns[size] == 1 else delays[(turns[size] + size) % len(delays)]
        return device.measure(size)

    assert find(measure, SIZES, PLENTY, clock=device.clock, seconds=1000.0).tokens == knee


def test_memory_is_not_taken_beyond_the_cap() -> None:
    """A size that would need more is not even tried: it could push somebody else out."""
    device = Device(1 << 20)
    budget = device.find(memory_cap=5_000_000)
    assert budget.tokens == max(device.measured) == 4096
    assert budget.bound == "memory"
    assert "the largest that fits into 5 MiB" in budget.why


def test_running_out_of_memory_ends_the_search() -> None:
    """What fitted before is chosen, and what the failed one held is given back."""
    device = Device(1 << 20, memory=3_000_000)
    budget = device.find()
    assert budget.tokens == 2048
    assert device.released == 1


def test_a_device_that_takes_nothing_says_so() -> None:
    """Not even the smallest batch fits: there is no budget to return."""
    with pytest.raises(OutOfMemory, match="256 tokens"):
        Device(1024, memory=1000).find()


def test_other_errors_pass_through() -> None:
    """A mistake is not taken for a lack of memory."""

    def broken(size: int) -> Trial:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        find(broken, SIZES, PLENTY, clock=lambda: 0.0, seconds=1.0)


@given(
    knee=st.sampled_from(SIZES), peak=st.floats(500.0, 1e7), seconds=st.floats(0.01, 5.0), memory=st.sampled_from(SIZES)
)
def test_the_probe_is_bounded(knee: int, peak: float, seconds: float, memory: int) -> None:
    """However slow the device: it ends by the time given and the batch in hand, within memory, with a size it tried."""
    device = Device(knee, peak=peak, memory=memory * PER_TOKEN)
    budget = device.find(seconds=seconds)
    assert device.now <= seconds + max(knee, max(device.measured)) / peak * 6
    assert budget.tokens in device.measured
    assert budget.tokens <= memory
    assert budget.tokens_per_second <= peak * 1.0001


def test_where_time_is_up_the_answer_says_so() -> None:
    """Not "saturated", which nobody has seen."""
    budget = Device(1 << 20, peak=1e5).find(seconds=40.0)
    assert budget.bound == "time"
    assert "in time" in budget.why


def test_a_choice_can_be_made_again_for_less_memory() -> None:
    """The trials say what fits now; nothing is measured."""
    budget = Device(8192).find()
    assert judged(budget.trials, budget.bound, 2_100_000).tokens == 2048
    with pytest.raises(OutOfMemory):
        judged(budget.trials, budget.bound, 100)
