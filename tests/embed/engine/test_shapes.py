"""The planner's promise: a shape follows from a sequence's own length alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.engine.shapes import Shapes

SHAPES = Shapes(max_length=256, budget=1024)
LENGTHS = st.lists(st.integers(1, 256), max_size=200)


@given(LENGTHS)
def test_each_position_is_packed_exactly_once(lengths: list[int]) -> None:
    """Every sequence is in one batch, and no batch holds more rows than its shape."""
    batches = SHAPES.pack(lengths)
    assert sorted(p for batch in batches for p in batch.positions) == list(range(len(lengths)))
    assert all(1 <= len(batch.positions) <= batch.rows for batch in batches)


@given(LENGTHS, LENGTHS)
def test_a_sequence_keeps_its_shape_whatever_its_neighbours(some: list[int], others: list[int]) -> None:
    """The shape in which a sequence is computed is the one of its length alone, in any company."""
    for batch in SHAPES.pack(some + others):
        for position in batch.positions:
            assert (batch.rows, batch.length) == SHAPES.of((some + others)[position])


@given(LENGTHS)
def test_a_batch_has_padding_in_every_row_or_in_none(lengths: list[int]) -> None:
    """Whether the attention mask is needed never depends on who else is in the batch."""
    for batch in SHAPES.pack(lengths):
        assert len({lengths[p] == batch.length for p in batch.positions}) == 1


@given(LENGTHS)
def test_the_longest_come_first_and_within_the_budget(lengths: list[int]) -> None:
    """Padded lengths only fall, and no batch computes more tokens than the budget."""
    batches = SHAPES.pack(lengths)
    assert [b.length for b in batches] == sorted((b.length for b in batches), reverse=True)
    assert all(batch.padded <= 1024 for batch in batches)


def test_a_sequence_wider_than_the_budget_gets_a_batch_of_one_row() -> None:
    """The budget bounds rows, never which sequences can be computed."""
    assert Shapes(max_length=8192, budget=1024).of(8000) == (1, 8016)


@pytest.mark.parametrize("length", [0, 257])
def test_a_length_that_the_model_does_not_take_raises(length: int) -> None:
    """Nothing is truncated: too long, or empty, is an error that names the limit."""
    with pytest.raises(ValueError, match="1 to 256"):
        SHAPES.pack([5, length])
