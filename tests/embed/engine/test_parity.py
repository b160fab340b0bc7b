"""A candidate is believed only after it agreed with sentence-transformers, and with itself to the bit."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed import tokenize
from penstock.embed.engine import parity
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.shapes import Shapes
from penstock.embed.models import Model
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import TokenIds

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def ordinary(model: Model) -> Ordinary:
    return Ordinary.load(model, "cpu")


@pytest.fixture(scope="module")
def good(ordinary: Ordinary) -> parity.Candidate:
    """The ordinary path; what it computed once it remembers."""
    shapes, known = Shapes(max_length=ordinary.model.max_tokens, budget=512), dict[TokenIds, Vectors]()

    def embed(ids: Sequence[TokenIds]) -> Vectors:
        lacking = sorted({tuple(sequence) for sequence in ids} - set(known))
        for batch in shapes.pack([len(sequence) for sequence in lacking]):
            rows = [lacking[position] for position in batch.positions]
            known.update(zip(rows, ordinary.forward(rows, batch.rows, batch.length), strict=True))
        return np.stack([known[tuple(sequence)] for sequence in ids])

    return embed


def test_the_ordinary_path_agrees(good: parity.Candidate, ordinary: Ordinary, tokenizer: Tokenizer) -> None:
    """From specials alone to the model's maximum, in fp32."""
    found = parity.probe(good, ordinary.network, tokenizer, 256, least=parity.EXACT)
    assert (found.why_not, found.longest) == (None, 256)
    assert found.min_cosine > parity.EXACT


def test_lengths_are_those_where_mistakes_hide(ordinary: Ordinary, tokenizer: Tokenizer) -> None:
    """Specials alone, one token, the edges of sixteen, one less than the maximum and the maximum; one comes twice."""
    said = parity.texts(ordinary.network, tokenizer, 256)
    lengths = [len(tokenizer.encode(text)) for text in said]
    assert {2, 3, 15, 16, 17, 255, 256} <= set(lengths)
    assert len(set(said)) == len(said) - 1
    assert min(lengths[1:4]) < 16 < max(lengths[2:5])  # short ones stand between long ones


@pytest.mark.parametrize(("longest", "most"), [(24, 24), (1000, 1000), (3000, 2048), (8192, 2048)])
def test_a_model_for_long_texts_is_probed_with_few_tokens(
    ordinary: Ordinary, tokenizer: Tokenizer, longest: int, most: int
) -> None:
    """About 4,000 in all, none beyond 2,048, and the longest of what is left is there."""
    lengths = [len(tokenizer.encode(text)) for text in parity.texts(ordinary.network, tokenizer, longest)]
    assert max(lengths) == most
    assert sum(lengths) <= 4096


def test_several_scripts_and_the_whole_vocabulary_take_part(ordinary: Ordinary, tokenizer: Tokenizer) -> None:
    """What is unknown to the model is not all that it is given."""
    said = "".join(parity.texts(ordinary.network, tokenizer, 2048))
    assert all(letter in said for letter in "gдηبहป水수")
    assert len(set(tokenizer.encode(said))) > 500


def spoiled(good: parity.Candidate, change: Callable[[Vectors, Sequence[TokenIds]], Vectors]) -> parity.Candidate:
    return lambda ids: change(good(ids).copy(), ids)


def one_text_wrong(vectors: Vectors, ids: Sequence[TokenIds]) -> Vectors:
    vectors[[len(sequence) == 17 for sequence in ids]] = np.eye(1, vectors.shape[1], dtype=np.float32)
    return vectors


def not_finite(vectors: Vectors, ids: Sequence[TokenIds]) -> Vectors:
    vectors[-1, 0] = np.nan
    return vectors


def raises(vectors: Vectors, ids: Sequence[TokenIds]) -> Vectors:
    raise RuntimeError("no kernel image is available\nfor this device")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (one_text_wrong, "at 17 tokens"),
        (not_finite, "cosine 0.0"),
        (lambda vectors, ids: vectors * np.float32(1.01), "unit length"),
        (lambda vectors, ids: vectors[:-1], "it made"),
        (lambda vectors, ids: vectors[:, :100], "it made"),
        (raises, "RuntimeError: no kernel image is available"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    good: parity.Candidate,
    ordinary: Ordinary,
    tokenizer: Tokenizer,
    change: Callable[[Vectors, Sequence[TokenIds]], Vectors],
    why: str,
) -> None:
    """One wrong text among many, vectors that are none, a kernel that does not work here."""
    found = parity.probe(spoiled(good, change), ordinary.network, tokenizer, 64)
    assert found.why_not is not None and why in found.why_not and "\n" not in found.why_not


def test_a_little_less_exact_passes_only_where_that_is_allowed(
    good: parity.Candidate, ordinary: Ordinary, tokenizer: Tokenizer
) -> None:
    """What bf16 may do is too much for fp32."""

    def shaken(vectors: Vectors, ids: Sequence[TokenIds]) -> Vectors:
        vectors[:, 0] += 0.02
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    candidate = spoiled(good, shaken)
    assert parity.probe(candidate, ordinary.network, tokenizer, 64).why_not is None
    assert parity.probe(candidate, ordinary.network, tokenizer, 64, least=parity.EXACT).why_not is not None


def test_other_token_ids_are_found_before_anything_is_computed(
    ordinary: Ordinary, model: Model, tokenizer: Tokenizer
) -> None:
    """A tokenizer that keeps capitals, say, makes another text of it."""
    backend = tokenize._backend(model)
    backend.normalizer = None
    other = Tokenizer(backend, max_tokens=256)
    found = parity.probe(lambda ids: pytest.fail("asked"), ordinary.network, other, 256)
    assert found.why_not is not None and "token ids differ" in found.why_not


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ([1, 5, 6, 2], "cuts texts at 4 tokens"),
        ([1, 5, 9, 2], "token ids differ from those of sentence-transformers, at 2 of 6 and 4"),
        ([1, 5, 6, 7, 8], "at 5 of 6 and 5"),
        ([1, 5, 6, 7, 8, 2, 3], "at 6 of 6 and 7"),
    ],
)
def test_ids_that_are_cut_are_told_from_ids_that_differ(theirs: list[int], said: str) -> None:
    """What follows the text stays where a text is cut; where one is the other's beginning, its end is the place."""
    assert said in parity._differ([1, 5, 6, 7, 8, 2], theirs, 1, "text")


def test_the_ordinary_path_is_invariant(ordinary: Ordinary, tokenizer: Tokenizer) -> None:
    """In its fixed shapes, computed anew each time."""
    shapes = Shapes(max_length=256, budget=256)

    def embed(ids: Sequence[TokenIds]) -> Vectors:
        out = np.empty((len(ids), 384), dtype=np.float32)
        for batch in shapes.pack([len(sequence) for sequence in ids]):
            rows = [ids[position] for position in batch.positions]
            out[list(batch.positions)] = ordinary.forward(rows, batch.rows, batch.length)
        return out

    assert parity.invariant(embed, tokenizer, 256) is None


@pytest.mark.parametrize(
    ("touch", "said"),
    [
        (lambda position, count: position > 8, "in other company"),
        (lambda position, count: count > 12, "in other company"),
        (lambda position, count: count == 1, "alone"),
    ],
)
def test_a_last_bit_that_depends_on_company_is_found(
    good: parity.Candidate, tokenizer: Tokenizer, touch: Callable[[int, int], bool], said: str
) -> None:
    """On where a sequence stands, on how many there are, on being alone."""

    def embed(ids: Sequence[TokenIds]) -> Vectors:
        vectors = good(ids).copy()
        for position in range(len(ids)):
            if touch(position, len(ids)):
                vectors[position] = np.nextafter(vectors[position], np.float32(2))
        return vectors

    why = parity.invariant(embed, tokenizer, 256)
    assert why is not None and said in why


def test_a_candidate_that_breaks_alone_is_not_invariant(good: parity.Candidate, tokenizer: Tokenizer) -> None:
    """Whatever it raises is the reason."""

    def embed(ids: Sequence[TokenIds]) -> Vectors:
        if len(ids) == 1:
            raise ZeroDivisionError("alone")
        return good(ids)

    assert "ZeroDivisionError: alone" in str(parity.invariant(embed, tokenizer, 256))
