"""Shards: how large they are, and what ids their chunks get."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.runs.prepare import ShardLimits
from penstock.flows.runs.shaping import chunk_id


def test_first_shards_are_small_whatever_the_device() -> None:
    """Something is searchable soon: 20,000 tokens, then sixteen times as many each."""
    limits = ShardLimits()
    assert [limits.token_budget(number, 1e9) for number in range(4)] == [20_000, 320_000, 5_120_000, 8_000_000]


def test_later_shards_are_a_minute_of_the_device() -> None:
    """About 60 seconds of device work, at the speed that was measured."""
    assert ShardLimits().token_budget(20, 10_000.0) == 600_000


@given(st.integers(0, 5_000), st.floats(0, 1e7))
def test_no_shard_is_larger_than_the_limit(number: int, speed: float) -> None:
    """8 M tokens at most, one at least."""
    assert 1 <= ShardLimits().token_budget(number, speed) <= 8_000_000


def test_a_run_of_a_day_makes_a_few_hundred_tasks() -> None:
    """24 hours at 10,000 tokens/s: three tasks for each shard, and Prefect sees fewer than 600."""
    limits, left, shards = ShardLimits(), 24 * 3600 * 10_000, 0
    while left > 0:
        left -= limits.token_budget(shards, 10_000.0)
        shards += 1
    assert 3 * shards < 600


def test_a_chunks_id_depends_on_what_it_is_and_where_it_stands() -> None:
    """The same chunk of the same document has the same id in every build; any other has another."""
    ids = {chunk_id("s/a", 0, 4, "text"), chunk_id("s/b", 0, 4, "text"), chunk_id("s/a", 1, 4, "text")}
    assert len(ids) == 3 and chunk_id("s/a", 0, 4, "text") in ids
    assert all(len(value) == 32 for value in ids)
