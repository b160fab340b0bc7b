"""An endpoint is given as much as it allows, and no more, however many ask."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.http import meter_state
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.meter import Meter, MeterLimits, Taken
from penstock.connectors.http.meter_state import Flow
from penstock.connectors.types import StopSource

NOON = 20_000 * 86_400 + 43_200.0


class Memory:
    """A ledger without a disk."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def change(self, name: str, act: Callable[[bytes], tuple[bytes, object]]) -> object:
        self.values[name], answer = act(self.values.get(name, b""))
        return answer


class Clock:
    def __init__(self) -> None:
        self.now = NOON
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def meter(ledger: object, clock: Clock, **limits: object) -> Meter:
    said = MeterLimits(**{"patience": 1e6, **limits})  # type: ignore[arg-type]
    return Meter("api", said, ledger, clock=clock, sleep=clock.sleep, host="here")  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    limit=st.integers(50, 5000),
    share=st.floats(0.01, 0.5),
    callers=st.integers(1, 12),
)
def test_no_window_holds_more_than_the_limit_and_little_is_left_unused(
    seed: int, limit: int, share: float, callers: int
) -> None:
    """Over ten windows of a server that counts arrivals strictly, jitter of a hundredth included; nine tenths of the
    limit, less one request, are used."""
    dice, flow, window = Random(seed), Flow(), 60.0
    most = max(1, int(limit * share))
    events = [(NOON + dice.random(), number) for number in range(callers)]
    heapq.heapify(events)
    arrived: list[tuple[float, int]] = []
    weights = [dice.randint(1, most) for _ in range(callers)]
    while events[0][0] < NOON + 10 * window:
        time, number = heapq.heappop(events)
        wait = flow.wait(weights[number], limit, window, time)
        if wait > 0:
            heapq.heappush(events, (time + min(max(wait, 0.001), 1.0), number))
            continue
        flow.grant(weights[number], limit, window, time)
        arrived.append((time + dice.random() * window / 100, weights[number]))
        weights[number] = dice.randint(1, most)
        heapq.heappush(events, (time + 0.01, number))
    arrived.sort()
    for at, _ in arrived:
        assert sum(weight for then, weight in arrived if at <= then < at + window) <= limit
    used = sum(weight for at, weight in arrived if NOON + window <= at < NOON + 10 * window)
    assert used >= (0.9 - share) * limit * 9, used / limit / 9


def test_what_was_not_used_is_given_back() -> None:
    """An estimate that was too high does not count after the answer."""
    clock, ledger = Clock(), Memory()
    one = meter(ledger, clock, tokens_per_minute=1000, tokens_per_day=10_000)
    for _ in range(40):
        one.settle(one.take(200), 100, {})
    assert one.spent == 4000
    assert clock.slept < 300, "forty times 200 would take eight minutes"


def test_a_lost_answer_counts_as_paid() -> None:
    """Nobody knows: so all of it counts, for the day and for the run."""
    clock, ledger = Clock(), Memory()
    one = meter(ledger, clock, tokens_per_day=250)
    one.settle(one.take(100), None, {})
    one.settle(one.take(100), None, {})
    with pytest.raises(
        StopSource,
        match=r"250 tokens that it is allowed a day would be passed \(200 are spent, the next request needs 100\)",
    ):
        one.take(100)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), max_size=30))
def test_a_run_never_spends_more_than_it_may(requests: list[tuple[int, int]]) -> None:
    """The limit is looked at before a request goes, with what may come of it at most."""
    clock = Clock()
    one = meter(Memory(), clock, tokens_per_run=1000)
    paid = 0
    for tokens, used in requests:
        try:
            taken = one.take(tokens)
        except StopSource as stop:
            assert paid + tokens > 1000 and "goes on" in str(stop)
            continue
        one.settle(taken, min(used, tokens), {})
        paid += min(used, tokens)
        assert paid == one.spent <= 1000


class Returning:
    """A clock that sleeps until a request under way comes back."""

    def __init__(self) -> None:
        self.clock, self.back = Clock(), [lambda: None]

    def __call__(self) -> float:
        return self.clock()

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if self.back:
            self.back.pop()()


@pytest.mark.parametrize("limit", ["tokens_per_run", "tokens_per_day"])
def test_what_is_under_way_is_waited_for_before_it_ends(limit: str) -> None:
    """Estimates hold most of the allowance: their answers give it back, and it is used to less than one request."""
    clock = Returning()
    one = meter(Memory(), clock, **{limit: 1000})  # type: ignore[arg-type]
    held = [one.take(400), one.take(400)]
    clock.back = [lambda taken=taken: one.settle(taken, 200, {}) for taken in held]  # type: ignore[misc]
    for _ in range(2):
        one.settle(one.take(400), 200, {})
    assert one.spent == 800
    with pytest.raises(StopSource, match=r"would be passed \(800 are spent, the next request needs 400\)"):
        one.take(400)


def test_what_never_comes_back_is_not_waited_for_without_end() -> None:
    """Patience ends that, too, and the word is of the tokens."""
    clock = Clock()
    one = meter(Memory(), clock, tokens_per_run=1000, patience=30.0)
    one.take(800)
    with pytest.raises(StopSource, match="one run may spend would be passed"):
        one.take(400)
    assert 29 < clock.slept < 31


def test_the_day_begins_anew_at_midnight_and_says_so() -> None:
    """`after` leads to the next day, and then there is as much again; for all meters over one ledger."""
    clock, ledger = Clock(), Memory()
    one, other = (meter(ledger, clock, tokens_per_day=100) for _ in range(2))
    one.settle(one.take(80), 80, {})
    with pytest.raises(StopSource, match="80") as stop:
        other.take(30)
    assert stop.value.after == pytest.approx(43_200)
    clock.now += 43_201
    assert isinstance(other.take(30), Taken)


def test_what_the_headers_say_is_learned_by_everybody() -> None:
    """One answer tells the limit; another meter over the same ledger keeps to it."""
    clock, ledger = Clock(), Memory()
    one, other = meter(ledger, clock), meter(ledger, clock)
    said = {"x-ratelimit-limit-tokens": "600", "x-ratelimit-remaining-tokens": "500", "x-ratelimit-reset-tokens": "10s"}
    one.settle(one.take(100), 100, said)
    began = clock.now
    for _ in range(20):
        other.take(100)
    assert 120 <= clock.now - began <= 260, clock.now - began


def test_the_servers_word_holds_where_others_use_the_key() -> None:
    """Nothing is left, although we took nothing: until the reset we wait."""
    clock, ledger = Clock(), Memory()
    one = meter(ledger, clock)
    said = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "30s",
    }
    one.settle(one.take(1), 1, said)
    began = clock.now
    one.take(1)
    assert 0.4 <= clock.now - began <= 31


def test_patience_ends_with_a_word() -> None:
    """Whose turn is further away than patience is told when."""
    clock = Clock()
    one = meter(Memory(), clock, requests_per_minute=1, patience=5.0)
    one.take(1)
    with pytest.raises(StopSource, match="run again after") as stop:
        one.take(1)
    assert stop.value.after is not None and clock.slept <= 5


def test_a_ledger_that_cannot_be_written_stops_and_loses_nothing(tmp_path: Path) -> None:
    """It is the operator's disk, and the message says so; an answer in hand is not lost for it."""
    (tmp_path / "file").write_text("")
    clock, good = Clock(), FileLedger(tmp_path / "ledger")
    one = meter(good, clock)
    taken = one.take(5)
    one._ledger = FileLedger(tmp_path / "file" / "ledger")
    one.settle(taken, 3, {})
    with pytest.raises(StopSource, match="cannot be counted"):
        one.take(5)
    assert one.spent == 3


@given(st.binary(max_size=60))
def test_any_bytes_are_a_state(value: bytes) -> None:
    """What a torn write left begins anew."""
    meter_state.decoded(value)
