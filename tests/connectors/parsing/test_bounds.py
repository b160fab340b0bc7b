"""No parser hands on more than the limits, or spans that are none."""

from __future__ import annotations

import pytest

from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.parsing.bounds import Bounds, Misplaced
from penstock.connectors.types import HeadingSpan, PageSpan

TEXT = "0123456789"


def test_a_document_within_the_limits_is_left_as_it_is() -> None:
    """Spans may touch, and may leave holes."""
    parsed = Parsed(TEXT, pages=(PageSpan(0, 5, 1), PageSpan(5, 10, 2)), headings=(HeadingSpan(2, 4, ("a",)),))
    assert Bounds().check(parsed, "a") is parsed


@pytest.mark.parametrize(
    ("bounds", "parsed"),
    [
        (Bounds(text=9), Parsed(TEXT)),
        (Bounds(spans=1), Parsed(TEXT, pages=(PageSpan(0, 1, 1), PageSpan(1, 2, 2)))),
        (Bounds(path_characters=3), Parsed(TEXT, headings=(HeadingSpan(0, 1, ("ab", "cd")),))),
        (Bounds(metadata_characters=20), Parsed(TEXT, metadata={"key": "x" * 20})),
    ],
)
def test_each_limit_rejects_as_too_large(bounds: Bounds, parsed: Parsed) -> None:
    """Text, number of spans, heading paths, metadata."""
    with pytest.raises(Unparsable) as refused:
        bounds.check(parsed, "a")
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize(
    "parsed",
    [
        None,
        Parsed(TEXT, pages=(PageSpan(0, 11, 1),)),
        Parsed(TEXT, pages=(PageSpan(5, 6, 1), PageSpan(0, 2, 2))),
        Parsed(TEXT, headings=(HeadingSpan(3, 3, ("a",)),)),
        Parsed(TEXT, metadata={"pages": 3}),  # type: ignore[dict-item]
    ],
)
def test_what_is_no_document_is_misplaced(parsed: object) -> None:
    """Spans out of order, empty or beyond the text; values that are no text."""
    with pytest.raises(Misplaced):
        Bounds().check(parsed, "a")


def test_text_of_white_space_alone_is_empty() -> None:
    """Whoever made it."""
    with pytest.raises(Unparsable) as refused:
        Bounds().check(Parsed(" \n"), "a")
    assert refused.value.reason == "empty"
