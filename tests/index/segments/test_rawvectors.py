"""Raw vectors come out of their file by position, in any order, without reading what nobody wants."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs.blob import open_blob
from penstock.index.segments import rawvectors
from penstock.index.segments.rawvectors import RawVectors, VectorMemory
from tests.index.shelf import Shelf, refuse, rows_of, unit

COUNT = 900


class Counting:
    """A blob that notes what is read of it."""

    def __init__(self, blob):
        self._blob, self.ref, self.size, self.read_bytes = blob, blob.ref, blob.size, 0

    def read(self, start, end):
        self.read_bytes += end - start
        return self._blob.read(start, end)


@pytest.fixture(scope="module")
def blob():
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        ref = shelf.build(unit(COUNT, 16), rows_of(COUNT))
        yield open_blob([shelf.store], ref.index, report=refuse)


@pytest.fixture(scope="module", autouse=True)
def small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rawvectors, "_WINDOW", 64 * 100)
        yield


@settings(max_examples=100)
@given(ordinals=st.lists(st.integers(0, COUNT - 1), max_size=400), spread=st.booleans())
def test_rows_come_back_in_the_order_asked_for(blob, ordinals, spread):
    """With repeats, in runs, sparse or dense."""
    wanted = np.array(ordinals if spread else [n % 120 for n in ordinals], dtype=np.int64)
    assert RawVectors(blob, COUNT).take(wanted).tolist() == unit(COUNT, 16)[wanted].tolist()


@settings(max_examples=100)
@given(chosen=st.sets(st.integers(0, COUNT - 1)), run=st.integers(0, 300))
def test_a_visit_shows_each_row_once_with_a_bound(blob, chosen, run):
    """Ascending, window by window, and no row is longer than the bound that goes with it."""
    raw = RawVectors(blob, COUNT)
    ordinals = np.array(sorted(chosen | set(range(run))), dtype=np.int64)
    seen = []
    for part, rows in raw.visit(ordinals):
        assert rows.tolist() == unit(COUNT, 16)[part].tolist()
        assert np.linalg.norm(rows.astype(np.float64), axis=1).max() <= raw.reach(part, rows)
        seen += part.tolist()
    assert seen == ordinals.tolist()


def test_what_nobody_wants_is_not_read(blob):
    """A few rows cost their own bytes; where many are wanted, windows are read once and whole."""
    counting = Counting(blob)
    raw = RawVectors(counting, COUNT)
    counting.read_bytes = 0
    raw.take(np.array([7, 500, 501]))
    assert counting.read_bytes == 3 * 64
    assert len(list(raw.visit(np.arange(100, 400, 2)))) == 3
    assert counting.read_bytes == 3 * 64 + 300 * 64


def test_memory_is_counted_for_all():
    """What does not fit is refused whole; what was given back can be taken again."""
    memory = VectorMemory(100)
    assert memory.take(60) and not memory.take(41) and memory.take(40)
    memory.give(60)
    assert memory.held == 40 and memory.take(60)
