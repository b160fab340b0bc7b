"""Packs hold each sequence once, within the budget, without padding between them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.engine.packing import Packing

LENGTHS = st.lists(st.integers(1, 300), max_size=60)


@given(LENGTHS, st.integers(1, 1000), st.integers(1, 64))
def test_every_sequence_is_in_one_pack_within_the_budget(lengths: list[int], budget: int, step: int) -> None:
    """A pack is over the budget only if it is one sequence that is."""
    packs = Packing(budget, step).plan(lengths)
    assert sorted(position for pack in packs for position in pack.positions) == list(range(len(lengths)))
    for pack in packs:
        assert pack.lengths == tuple(lengths[position] for position in pack.positions)
        assert sum(pack.lengths) <= budget or len(pack.positions) == 1
        assert sum(pack.lengths) <= pack.padded < sum(pack.lengths) + step


@given(LENGTHS.filter(bool))
def test_longest_come_first(lengths: list[int]) -> None:
    """What needs most memory fails at once or not at all."""
    in_order = [length for pack in Packing(512).plan(lengths) for length in pack.lengths]
    assert in_order == sorted(lengths, reverse=True)


@given(LENGTHS.filter(bool))
def test_runs_are_the_lengths_in_short(lengths: list[int]) -> None:
    """Equally long neighbours are one run."""
    for pack in Packing(2048).plan(lengths):
        runs = list(pack.runs())
        assert [length for many, length in runs for _ in range(many)] == list(pack.lengths)
        assert all(one[1] != other[1] for one, other in itertools.pairwise(runs))


@given(LENGTHS.filter(bool))
def test_halves_are_the_same_sequences(lengths: list[int]) -> None:
    """Down to lone ones, which have no halves."""
    packing = Packing(4096)
    waiting, alone = packing.plan(lengths), []
    while waiting:
        pack = waiting.pop()
        parts = packing.halves(pack)
        if parts is None:
            alone.append((pack.positions[0], pack.lengths[0]))
        else:
            assert parts[0].positions + parts[1].positions == pack.positions
            waiting += parts
    assert sorted(alone) == list(enumerate(lengths))


def test_one_size_for_all_where_the_size_counts() -> None:
    """With a step as large as the budget there is a single shape."""
    assert {pack.padded for pack in Packing(512, 512).plan([500, 300, 200, 100, 7])} == {512}
