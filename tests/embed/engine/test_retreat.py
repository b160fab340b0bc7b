"""What does not fit is computed in smaller batches: every sequence is accounted for, and its vector is the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed.engine.faults import DeviceLost
from penstock.embed.engine.retreat import Allowance, computed
from penstock.embed.types import EncoderUnavailable

Batch = list[tuple[int, int]]
"""(name, tokens) of each sequence."""


def _size(batch: Batch) -> int:
    return sum(tokens for _, tokens in batch)


def _halves(batch: Batch) -> tuple[Batch, Batch] | None:
    middle = len(batch) // 2
    return (batch[:middle], batch[middle:]) if middle else None


@dataclass
class Device:
    """Computes a vector that depends only on the sequence, in memory that the test says."""

    fails: Callable[[int, int], bool] = lambda call, tokens: False
    """(which call, tokens) -> does not fit."""
    calls: int = 0
    failures: list[int] = field(default_factory=list)
    released: int = 0

    def forward(self, batch: Batch) -> dict[int, int]:
        self.calls += 1
        if self.fails(self.calls - 1, _size(batch)):
            self.failures.append(_size(batch))
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return {name: name * 31 + tokens for name, tokens in batch}

    def release(self) -> None:
        self.released += 1

    def run(
        self, batches: Iterator[Batch] | list[Batch], allowance: Allowance, **more: Callable[[int], object]
    ) -> dict[int, int]:
        refused: list[int] = []
        done: dict[int, int] = {}
        for out in computed(
            batches,
            self.forward,
            size=_size,
            halves=_halves,
            release=self.release,
            too_large=lambda batch: batch[0][0],
            allowance=allowance,
            **more,
        ):
            if isinstance(out, int):
                refused.append(out)
            else:
                assert not done.keys() & out.keys()
                done |= out
        self.refused = refused
        return done

    refused: list[int] = field(default_factory=list)


def _planned(lengths: list[int], allowance: Allowance) -> Iterator[Batch]:
    """Longest first, as many as the allowance holds at that time."""
    batch: Batch = []
    for name, tokens in sorted(enumerate(lengths), key=lambda each: -each[1]):
        if batch and _size(batch) + tokens > allowance.tokens:
            yield batch
            batch = []
        batch.append((name, tokens))
    if batch:
        yield batch


LENGTHS = [7 + (n * 37) % 120 for n in range(60)]
WHOLE = {n: n * 31 + tokens for n, tokens in enumerate(LENGTHS)}


@pytest.mark.parametrize("times", [1, 2, 5])
def test_out_of_memory_at_every_batch_loses_nothing(times: int) -> None:
    """Whichever batch fails, and however often in a row: the results are those of a run without faults."""
    quiet = Device()
    assert quiet.run(_planned(LENGTHS, few := Allowance(512, 64)), few) == WHOLE
    for at in range(quiet.calls):
        device = Device(lambda call, _, at=at: at <= call < at + times)  # type: ignore[misc]
        assert device.run(_planned(LENGTHS, some := Allowance(512, 64)), some) == WHOLE
        assert (device.released, device.refused) == (times, [])


def test_parts_are_computed_in_order() -> None:
    """A batch's halves come where the batch would have come."""
    device = Device(lambda call, tokens: call in (0, 1))
    batches = [[(n, 10), (n + 1, 10), (n + 2, 10), (n + 3, 10)] for n in (0, 4)]
    done = device.run(batches, Allowance(40, 10))
    assert list(done) == list(range(8))


def test_what_the_failed_attempt_held_is_free_before_anything_is_released() -> None:
    """A traceback holds on to every tensor of the attempt: while it lives, there is nothing to give back."""

    class Tensor:
        pass

    alive: list[weakref.ref[Tensor]] = []
    seen: list[bool] = []

    def forward(batch: Batch) -> dict[int, int]:
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        if len(alive) == 1:
            raise RuntimeError("CUDA out of memory") from ValueError("and what came before")
        return {}

    gc.disable()
    try:
        list(
            computed(
                [[(0, 1), (1, 1)]],
                forward,
                size=_size,
                halves=_halves,
                release=lambda: seen.append(alive[0]() is None),
                too_large=lambda _: None,
                allowance=Allowance(10, 1),
            )
        )
    finally:
        gc.enable()
    assert seen == [True]


def test_one_that_never_fits_is_refused_and_all_others_land() -> None:
    """It alone; also where it came in the middle of a batch."""
    lengths = [*LENGTHS[:30], 5000, *LENGTHS[30:]]
    device = Device(lambda _, tokens: tokens > 600)
    done = device.run(_planned(lengths, allowance := Allowance(512, 64)), allowance)
    assert device.refused == [30]
    assert sorted(done) == [n for n in range(61) if n != 30]


def test_one_that_poisons_any_batch_is_refused() -> None:
    """Though larger ones fit: once others as large have fitted since, it is its own fault."""
    device = Device()
    plain = device.forward

    def poisoned(batch: Batch) -> dict[int, int]:
        if any(name == 17 for name, _ in batch):
            raise MemoryError
        return plain(batch)

    device.forward = poisoned  # type: ignore[method-assign]
    done = device.run(_planned(LENGTHS, allowance := Allowance(512, 64)), allowance)
    assert device.refused == [17]
    assert done == {name: vector for name, vector in WHOLE.items() if name != 17}


def test_a_whole_shard_of_sequences_that_never_fit_is_refused() -> None:
    """And what comes after them is still computed."""
    device = Device(lambda _, tokens: tokens > 600)
    done = device.run([*([(n, 5000)] for n in range(20)), [(20, 10)]], Allowance(512, 64))
    assert device.refused == list(range(20))
    assert done == {20: 20 * 31 + 10}


def test_memory_that_somebody_else_took_is_no_documents_fault() -> None:
    """Where what used to fit fits no more, nothing is quarantined: the encoder is unavailable, and soon given up."""
    device = Device(lambda call, tokens: call >= 3)
    with pytest.raises(EncoderUnavailable, match="another program") as caught:
        device.run(_planned(LENGTHS, allowance := Allowance(512, 64)), allowance)
    assert caught.value.after
    assert device.refused == []
    assert device.calls < 60


def test_memory_that_comes_back_in_time_is_used() -> None:
    """What was put aside is tried again after all others."""
    device = Device(lambda call, tokens: call in (1, 2) or (2 < call < 9 and tokens > 300))
    lengths = [400, *LENGTHS]
    done = device.run(_planned(lengths, allowance := Allowance(512, 64)), allowance)
    assert len(done) == 61
    assert device.refused == []


def test_where_nothing_else_was_computed_another_batch_of_that_size_decides() -> None:
    """A shard with one document left: it is to blame exactly if anything else of its size fits."""
    device = Device(lambda *_: True)
    asked: list[int] = []
    assert device.run([[(5, 100)]], Allowance(512, 64), control=asked.append) == {}
    assert (device.refused, asked) == ([5], [100])

    def full(tokens: int) -> None:
        raise MemoryError

    with pytest.raises(EncoderUnavailable):
        device.run([[(5, 100)]], Allowance(512, 64), control=full)


def test_a_broken_device_is_told_at_once() -> None:
    """Nothing is tried again in this process, and what was computed before has been handed over."""
    calls: list[Batch] = []

    def forward(batch: Batch) -> int:
        calls.append(batch)
        if len(calls) == 2:
            raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be …")
        return len(calls)

    out = computed(
        [[(0, 1), (1, 1)], [(2, 1), (3, 1)], [(4, 1)]],
        forward,
        size=_size,
        halves=_halves,
        release=lambda: None,
        too_large=lambda _: None,
        allowance=Allowance(10, 1),
    )
    assert next(out) == 1
    with pytest.raises(DeviceLost, match=r"^RuntimeError: CUDA error: device-side assert triggered$"):
        next(out)
    assert len(calls) == 2


def test_other_errors_pass_through() -> None:
    """A mistake is neither split nor hidden."""
    device = Device()

    def forward(batch: Batch) -> dict[int, int]:
        raise ZeroDivisionError

    device.forward = forward  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        device.run([[(0, 1), (1, 1)]], Allowance(10, 1))
    assert device.released == 0


def test_a_batch_planned_before_the_shrinking_is_not_tried_in_vain() -> None:
    """It is cut to what is allowed now."""
    device = Device(lambda _, tokens: tokens > 100)
    device.run([[(8 * n + k, 25) for k in range(8)] for n in range(6)], Allowance(200, 10))
    assert device.failures == [200]


# ── the allowance ──────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=200, deadline=None)
@given(
    limits=st.lists(st.tuples(st.integers(70, 1200), st.integers(1, 60)), min_size=1, max_size=6),
    noise=st.lists(st.booleans(), min_size=1, max_size=40),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=250),
)
def test_nothing_is_lost_on_a_device_whose_memory_changes(
    limits: list[tuple[int, int]], noise: list[bool], lengths: list[int]
) -> None:
    """Memory comes and goes, and near the limit it is a matter of luck: all land, and no batch is beyond the budget."""
    steps = [limit for limit, calls in limits for _ in range(calls)]

    def fails(call: int, tokens: int) -> bool:
        limit = steps[min(call, len(steps) - 1)]
        return tokens > limit or (tokens > 0.9 * limit and noise[call % len(noise)])

    device, allowance = Device(fails), Allowance(512, 64, patience=4, patience_most=64)
    sizes: list[int] = []
    plain = device.forward

    def forward(batch: Batch) -> dict[int, int]:
        sizes.append(_size(batch))
        assert 64 <= allowance.tokens <= 512
        return plain(batch)

    device.forward = forward  # type: ignore[method-assign]
    done = device.run(_planned(lengths, allowance), allowance)
    assert done == {n: n * 31 + tokens for n, tokens in enumerate(lengths)}
    assert device.refused == []
    assert max(sizes) <= 512


@settings(max_examples=200, deadline=None)
@given(limit=st.integers(64, 511), noise=st.lists(st.booleans(), min_size=1, max_size=50))
def test_failures_become_rare_where_memory_stays_short(limit: int, noise: list[bool]) -> None:
    """It does not go up and down for ever: at most one attempt at more in `patience_most` batches, in the long run."""
    allowance, batches, failures = Allowance(512, 16, patience=4, patience_most=256), 6000, 0
    for n in range(batches):
        tokens = allowance.tokens
        if tokens > limit or (tokens > 0.9 * limit and noise[n % len(noise)]):
            allowance.failed(tokens)
            failures += 1
        else:
            allowance.fitted(tokens)
    shrinking, learning = 5, 6  # halvings from 512 to 16; doublings of patience from 4 to 256
    assert failures <= shrinking + learning + 2 * batches / 256 + 2


@given(limit=st.integers(16, 511), short=st.integers(1, 2000))
@settings(max_examples=100, deadline=None)
def test_the_budget_is_reached_again_once_there_is_memory(limit: int, short: int) -> None:
    """However long it was short; and after it has held, patience is short again."""
    allowance = Allowance(512, 16, patience=4, patience_most=64)
    for _ in range(short):
        (allowance.failed if allowance.tokens > limit else allowance.fitted)(allowance.tokens)
    for _ in range(64 * 20):
        allowance.fitted(allowance.tokens)
    assert allowance.tokens == 512
    allowance.failed(512)
    assert allowance.tokens == 256
    for _ in range(8 * 4):
        allowance.fitted(allowance.tokens)
    assert allowance.tokens == 512


def test_small_batches_prove_nothing() -> None:
    """The last few sequences of a shard fit at any time."""
    allowance = Allowance(512, 16, patience=2)
    allowance.failed(512)
    for _ in range(100):
        allowance.fitted(20)
    assert allowance.tokens == 256


def test_an_allowance_has_a_floor() -> None:
    """Below it only single sequences are left to try."""
    allowance = Allowance(512, 100)
    for _ in range(10):
        allowance.failed(allowance.tokens)
    assert allowance.tokens == 100
    with pytest.raises(ValueError, match="from 0 to 5"):
        Allowance(5, 0)
