"""When what failed is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.plans.schedule import LONGEST, next_try


def test_the_waits_grow_from_none_to_a_day() -> None:
    """At once, a minute, four, sixteen, about an hour, …"""
    assert [next_try(0.0, attempts) for attempts in (1, 2, 3, 4, 5, 50)] == [0, 60, 240, 960, 3_840, LONGEST]


@given(attempts=st.integers(0, 10_000), after=st.floats(-1e9, 1e12, allow_nan=False))
def test_nothing_waits_longer_than_a_day_or_goes_back(attempts: int, after: float) -> None:
    """Whatever a source asks for."""
    assert 1_000.0 <= next_try(1_000.0, attempts, after) <= 1_000.0 + LONGEST
