"""Tokenised once, whatever the tokenizer; and tokenised again wherever that would not be right."""

from __future__ import annotations

import functools

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed.chunking.boundaries import HEADING, Boundaries
from penstock.embed.chunking.chunk import chunk
from penstock.embed.chunking.fitting import Fitter
from penstock.embed.chunking.structure import structure
from penstock.embed.chunking.tokens import tokens
from penstock.embed.tokenize import Tokenizer
from tests.embed.chunking.families import FAMILIES, SLICED, backend
from tests.embed.chunking.test_chunk import TEXTS, check

PROMPTS = ["", "passage: ", "query:", "Represent this\n"]
PROSE = (
    "The flow separates from the wing, as Fig. 3 shows; it isn't laminar. Naïve café?\n\nBoundary layers grow. " * 40
)
ODD = [
    *("wing flow", " flow layer.", " ", "  ", "\n", ".\n", "!\r\n", "<mask>", " <mask> ", "[SEP]", "</s>", "don't"),
    *("e\u0301", " \u0301x", "\u0600 a", " ﾞ", "▁", "▁▁x", "東京", "。", "x", "3.14", "\u2028", "\u00a0", "ｶﾞ", "\u200d"),
]
STRANGE = st.lists(st.sampled_from(ODD), max_size=60).map("".join)


@functools.cache
def made(family: str, prompt: str = "", size: int = 64) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(backend(family)), max_tokens=size, prompt=prompt)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=st.one_of(STRANGE, TEXTS), prompt=st.sampled_from(PROMPTS), overlap=st.integers(0, 9))
def test_ids_are_what_the_tokenizer_makes_of_the_text(family: str, text: str, prompt: str, overlap: int) -> None:
    """For every family, with a prompt and without, and any text."""
    tokenizer = made(family, prompt)
    size = tokenizer.overhead + 20
    check(text, chunk(text, tokenizer=tokenizer, size=size, overlap=overlap), tokenizer, size)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_promises_is_known(family: str) -> None:
    """Its layout is read, and the promise tried on samples; what is not known is tokenised again."""
    assert made(family).locality == SLICED.get(family, "none")
    assert made(family, "passage: ").locality == SLICED.get(family, "none")
    touching = SLICED.get(family, "none").replace("words", "spaces")
    assert made(family, "query:").locality == touching


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("family", SLICED)
def test_prose_is_not_tokenised_again(family: str, prompt: str) -> None:
    """Only the first and the last word of a chunk are, where the family needs it."""
    tokenizer = made(family, prompt)
    found = tokens(PROSE, tokenizer)
    room = tokenizer.max_tokens - tokenizer.overhead
    boundaries = Boundaries(found, structure(PROSE, []), room, [])
    fitter, first, many = Fitter(PROSE, found, tokenizer, tokenizer.max_tokens), 0, 0
    while first < len(found.ids):
        last, level = boundaries.cut(first, first, min(first + room, len(found.ids)), len(found.ids))
        assert last > first or level == HEADING
        many += len(list(fitter.fit(first, last)))
        first = last
    assert many > 20
    assert fitter.again == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_of_a_long_document_meet_without_a_seam(family: str) -> None:
    """Where the pieces that are tokenised at once meet, ids are those of the whole."""
    tokenizer = made(family)
    text = PROSE * 20 + "nospace" * 12_000 + PROSE
    for piece in chunk(text, tokenizer=tokenizer, overlap=4):
        assert piece.ids == tokenizer.encode(piece.text)


def test_a_tokenizer_that_breaks_its_promise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout that promises more than the tokenizer keeps is not believed."""
    fresh = made.__wrapped__
    monkeypatch.setattr("penstock.embed.tokenize.locality", lambda layout: "spaces")
    assert fresh("one long word").locality == "none"
    monkeypatch.setattr("penstock.embed.tokenize.locality", lambda layout: "words")
    assert fresh("byte bpe").locality == "none"
