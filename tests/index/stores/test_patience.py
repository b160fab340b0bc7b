"""A request is repeated as long as another attempt can end in time, and no longer."""

from __future__ import annotations

from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.index.errors import Unavailable
from penstock.index.stores.patience import BUDGET, PAUSES, Patience


@given(st.lists(st.floats(0, 20), min_size=1, max_size=20))
def test_no_attempt_ends_much_after_the_budget(costs):
    """Whatever attempts cost, the last one began when one like its predecessor could still end in time."""
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    patience = Patience(lambda: now, sleep)
    before = 0.0
    for cost in islice(cycle(costs), 300):
        assert now + before <= BUDGET + max(PAUSES)
        now += cost
        before = cost
        try:
            patience.wait(Unavailable("gone"))
        except Unavailable:
            return
    pytest.fail("it went on for ever")


def test_a_quick_failure_is_repeated_with_growing_pauses():
    """Pauses grow to the last one and stay there; turns are counted; the fault that is raised is the newest."""
    slept = []
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds
        slept.append(seconds)

    patience = Patience(lambda: now, sleep)
    with pytest.raises(Unavailable, match=r"no \d+") as caught:
        for turn in range(100):
            patience.wait(Unavailable(f"no {turn}"))
    assert str(caught.value) == f"no {len(slept)}"
    assert slept[: len(PAUSES)] == list(PAUSES)
    assert set(slept[len(PAUSES) :]) == {PAUSES[-1]}
    assert patience.turn == len(slept)
