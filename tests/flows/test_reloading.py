"""A model that is loaded again on the way is judged again, before anything of it comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.types import Encoded, Encoder, Refused
from penstock.flows.runs.reloading import Reloading
from tests.fakes.encoder import HashEncoder, vector

IDS = [(1, n) for n in range(23)]


class Stranger(Exception):
    pass


class Restarting(HashEncoder):
    """Loads again before these batches, counted over its life; refuses every position of a text that ends in 7."""

    def __init__(self, before: Sequence[int]) -> None:
        super().__init__(rows=3)
        self._before, self._made = before, 0
        self.loads = 1

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        for batch in super().encode(ids, texts):
            self.loads += self._before.count(self._made)
            self._made += 1
            bad = np.array([ids[position][-1] % 10 == 7 for position in batch.positions], dtype=bool)
            refused = tuple(Refused(int(position), "crash", "seven") for position in batch.positions[bad])
            yield Encoded(batch.positions[~bad], batch.vectors[~bad], batch.tokens, batch.padded, refused)


def loads(encoder: Encoder) -> int:
    assert isinstance(encoder, Restarting)
    return encoder.loads


@given(st.lists(st.integers(0, 12), max_size=4), st.booleans())
def test_every_text_has_its_vector_once_however_often_the_model_was_loaded(before: list[int], said: bool) -> None:
    """And each loading was judged once."""
    judged: list[int] = []
    encoder = Restarting(before)
    texts = [f"text {n}" for n in range(len(IDS))] if said else None
    found, refused = {}, []
    guarded = Reloading(encoder, lambda model: judged.append(loads(model)), loads)
    for batch in guarded.encode(IDS, texts):
        assert loads(encoder) == judged[-1], "nothing comes out of a model that was not judged"
        found.update(zip(batch.positions.tolist(), batch.vectors, strict=True))
        refused += [each.position for each in batch.refused]
    assert sorted([*found, *refused]) == list(range(len(IDS)))
    assert sorted(refused) == [n for n in range(len(IDS)) if n % 10 == 7]
    assert all(np.array_equal(found[position], vector(IDS[position])) for position in found)
    assert len(set(judged)) == len(judged)


def test_nothing_comes_out_of_a_model_that_does_not_pass() -> None:
    """What came before stays good; the batch in hand is dropped."""

    def admit(model: Encoder) -> None:
        if loads(model) > 1:
            raise Stranger

    came: list[int] = []
    with pytest.raises(Stranger):
        for batch in Reloading(Restarting([2]), admit, loads).encode(IDS):
            came += batch.positions.tolist()
    assert len(came) == 6


def test_one_that_is_loaded_again_between_two_shards_is_judged_before_the_second() -> None:
    """Before anything is embedded."""
    judged: list[int] = []
    encoder = Restarting([])
    guarded = Reloading(encoder, lambda model: judged.append(loads(model)), loads)
    list(guarded.encode(IDS[:3]))
    encoder.loads += 1
    next(guarded.encode(IDS[:3]))
    assert judged == [1, 2]


def test_it_is_the_encoder_otherwise() -> None:
    """Width, identity, questions and the end."""
    encoder = HashEncoder()
    guarded = Reloading(encoder, lambda _: None, lambda _: 1)
    assert (guarded.dim, guarded.identity, guarded.provenance) == (encoder.dim, encoder.identity, encoder.provenance)
    assert np.array_equal(guarded.encode_queries(["q"]), encoder.encode_queries(["q"]))
    assert list(guarded.encode([])) == []
    guarded.close()
