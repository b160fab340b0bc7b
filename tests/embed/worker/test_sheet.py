"""Memory that two processes see."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.worker.sheet import Sheet, size, windows

some = st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=20), max_size=30)


@given(some, st.integers(1, 9))
def test_what_one_side_writes_the_other_reads(sequences: list[list[int]], dim: int) -> None:
    """Ids as they were, vectors and marks at their place, and no array lies on another."""
    here = Sheet.of(sequences, dim)
    there = Sheet(os.dup(here.fd), here.rows, here.tokens, dim)
    there.vectors[:] = np.arange(there.vectors.size).reshape(there.vectors.shape)
    there.begun[:] = 1
    there.order[:] = there.group[:] = -1
    assert [here.sequence(k).tolist() for k in range(here.rows)] == sequences
    assert here.vectors.ravel().tolist() == list(range(here.vectors.size))
    assert here.begun.all() and (here.order == -1).all()
    here.close()
    there.close()


def test_a_view_outlives_its_sheet() -> None:
    """Whoever still holds one sees what was there."""
    sheet = Sheet.of([(1, 2, 3)], 4)
    view = sheet.sequence(0)
    sheet.close()
    assert view.tolist() == [1, 2, 3]


@given(some, st.integers(1, 9), st.integers(1, 2000))
def test_windows_cover_everything_in_order_and_are_bounded(sequences: list[list[int]], dim: int, most: int) -> None:
    """Each sequence in one window; a window is within the limit, or a single sequence."""
    found = list(windows(sequences, dim, most))
    assert [k for first, end in found for k in range(first, end)] == list(range(len(sequences)))
    for first, end in found:
        rounding = 6 * 64 + 8
        assert end > first
        if end - first > 1:
            assert size(end - first, sum(map(len, sequences[first:end])), dim) <= most + rounding
