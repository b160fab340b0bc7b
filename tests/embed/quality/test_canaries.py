"""Fixed texts: every length and script, cut to what the model takes, and their vectors as an index keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed import models, tokenize
from penstock.embed.engine import encoder as engine
from penstock.embed.quality import canaries
from penstock.embed.types import EncoderUnavailable, Refused
from tests.fakes.encoder import DIM, HashEncoder


def test_the_first_set_is_what_it_was() -> None:
    """Indexes were made with it: a text that changes is another set."""
    import hashlib

    said = "\0".join(f"{canary.name}\0{canary.text}\0{canary.share}" for canary in canaries.SETS["1"])
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == "7b570cde92ae87ac"


@pytest.mark.parametrize("longest", [16, 64, 256])
def test_texts_are_cut_to_what_a_chunk_may_be_and_ids_say_the_same(tokenizer: tokenize.Tokenizer, longest: int) -> None:
    """None is longer than a chunk may be, one is as long, one is a word; ids are those of the cut text."""
    made = canaries.prepared("1", tokenizer, longest)
    lengths = [len(ids) for ids in made.ids]
    assert len(lengths) == 16 and min(lengths) == 3 and max(lengths) == longest
    assert [tokenizer.encode(text) for text in made.texts] == list(made.ids)
    assert len(set(made.ids)) == 16
    assert max(lengths[: canaries.QUICK]) <= max(32, longest)


def test_a_prompt_is_counted(model: models.Model) -> None:
    """With a long prompt before each text, there is room for less of it."""
    backend = tokenize.document_tokenizer(model)._backend
    prompted = tokenize.Tokenizer(backend, max_tokens=256, prompt="Represent this document so that it is found: ")
    made = canaries.prepared("1", prompted, 64)
    assert max(len(ids) for ids in made.ids) <= 64
    assert [prompted.encode(text) for text in made.texts] == list(made.ids)


def test_the_model_agrees_with_itself(loaded: engine.TorchEncoder, tokenizer: tokenize.Tokenizer) -> None:
    """What was packed into an index and unpacked is far above the limit, and canaries differ from one another."""
    made = canaries.prepared("1", tokenizer, loaded.max_tokens)
    vectors = canaries.embedded(loaded, made.ids, made.texts)
    kept = canaries.unpacked(canaries.packed(vectors), loaded.dim)
    assert canaries.cosines(vectors, kept).min() > 1 - 1e-6
    assert len(canaries.packed(vectors)) == 16 * 384 * 2
    alike = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert alike.max() < canaries.AGREES


def test_fp32_passes_where_the_fast_format_made_the_index(
    model: models.Model, loaded: engine.TorchEncoder, tokenizer: tokenize.Tokenizer
) -> None:
    """And the other way round: what penstock chooses by itself is far on the right side of the limit."""
    made = canaries.prepared("1", tokenizer, loaded.max_tokens)
    exact = canaries.embedded(engine.load(model, dtype="float32"), made.ids, made.texts)
    assert canaries.cosines(canaries.embedded(loaded, made.ids, made.texts), exact).min() > 0.9998


@given(st.integers(1, 20), st.floats(0.99, 1.0), st.integers(0, 1000))
def test_a_cosine_is_kept_to_five_digits(count: int, wanted: float, seed: int) -> None:
    """Storing moves no vector across the limit that is not on it."""
    random = np.random.default_rng(seed)
    one = np.linalg.qr(random.normal(size=(384, 2)))[0].T
    other = wanted * one[0] + (1 - wanted**2) ** 0.5 * one[1]
    vectors = np.repeat(one[:1], count, axis=0).astype(np.float32)
    kept = canaries.unpacked(canaries.packed(vectors), 384)
    found = canaries.cosines(np.repeat(other[None], count, axis=0), kept)
    assert np.abs(found - wanted).max() < 1e-5


def test_what_is_no_vector_agrees_with_nothing() -> None:
    """Zeros and NaN are at -1, not at NaN, which would pass any comparison the wrong way round."""
    broken = np.array([[0, 0, 0], [np.nan, 1, 0], [1, 0, 0]], dtype=np.float32)
    assert canaries.cosines(broken, np.eye(3, dtype=np.float32)[[0, 1, 0]]).tolist() == [-1, -1, 1]


def test_a_refused_canary_is_an_encoder_that_cannot_be_used(tokenizer: tokenize.Tokenizer) -> None:
    """The reason is said, and no half set comes out."""

    class Refusing(HashEncoder):
        def encode(self, ids, texts=None):  # type: ignore[no-untyped-def]
            for batch in super().encode(ids, texts):
                refused = (Refused(int(batch.positions[-1]), "refused", "flagged"),)
                yield type(batch)(batch.positions[:-1], batch.vectors[:-1], 1, 1, refused)

    made = canaries.prepared("1", tokenizer, 256)
    with pytest.raises(EncoderUnavailable, match="refused: flagged"):
        canaries.embedded(Refusing(), made.ids, made.texts)
    assert canaries.embedded(HashEncoder(), made.ids, made.texts).shape == (16, DIM)
