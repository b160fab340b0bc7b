"""Tokens that are estimated: rather too many, and good enough to cut by."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed import models, tokenize
from penstock.embed.chunking import chunk
from penstock.embed.remote.estimate import EstimatingTokenizer
from penstock.embed.remote.packing import halves, packed

ROOT = Path(__file__).parents[3]
SAMPLES = [*sorted((ROOT / "docs").rglob("*.md"))[:12], ROOT / "embed/types.py", ROOT / "pyproject.toml"]


@pytest.fixture(scope="module")
def real() -> tokenize.Tokenizer:
    return tokenize.document_tokenizer(models.resolve())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_prose_code_and_tables_are_never_taken_for_fewer_tokens(path: Path, real: tokenize.Tokenizer) -> None:
    """By each paragraph of the docs and of code, against WordPiece; and not more than twice as many over all."""
    estimate, text = EstimatingTokenizer(max_tokens=512), path.read_text("utf-8")
    for piece in text.split("\n\n"):
        assert len(estimate.encode(piece)) >= len(real.encode(piece)), piece
    assert len(estimate.encode(text)) <= 2 * len(real.encode(text))


@pytest.mark.parametrize(
    "text", ["東京タワーは高い。", "Привет, мир! Как дела?", "naïve café", "👍🏽👍🏽", "0x1f3a 3.14159 == 2e-7"]
)
def test_other_scripts_are_counted_by_their_bytes(text: str, real: tokenize.Tokenizer) -> None:
    """Not fewer than WordPiece makes of them."""
    assert len(EstimatingTokenizer(max_tokens=512).encode(text)) >= len(real.encode(text))


@given(st.text(max_size=400), st.sampled_from(["", "passage: "]))
def test_chunks_hold_no_more_than_they_may_and_lose_nothing(text: str, prompt: str) -> None:
    """The chunker cuts by the estimate as by any tokenizer."""
    tokenizer = EstimatingTokenizer(max_tokens=48, prompt=prompt)
    chunks = chunk.chunk(text, tokenizer=tokenizer)
    covered: set[int] = set()
    for each in chunks:
        assert each.text == text[each.start : each.end]
        assert each.ids == tokenizer.encode(each.text) and len(each.ids) <= 48
        covered |= set(range(each.start, each.end))
    assert all(text[at].isspace() for at in range(len(text)) if at not in covered)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_requests_are_as_full_as_they_may_be(tokens: list[int], items: int, most: int) -> None:
    """Each text once and in order; none holds more than it may, unless it is one text; none could take the next."""
    groups = list(packed(range(len(tokens)), tokens, items=items, most=most))
    assert [position for group in groups for position in group] == list(range(len(tokens)))
    for group, following in zip(groups, [*groups[1:], ()], strict=False):
        weight = sum(tokens[k] for k in group)
        assert len(group) <= items and (weight <= most or len(group) == 1)
        assert not following or len(group) == items or weight + tokens[following[0]] > most


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40))
def test_halves_are_smaller(tokens: list[int]) -> None:
    """Both parts have something, so that halving ends."""
    assert 0 < halves(tokens) < len(tokens)
