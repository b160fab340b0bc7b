"""docs/parsing.md says what the code says."""

from __future__ import annotations

from pathlib import Path

from penstock.connectors.parsing.names import parser_names
from penstock.connectors.reasons import FAILURES, REJECTIONS

GUIDE = (Path(__file__).parents[2] / "docs" / "parsing.md").read_text("utf-8")


def test_the_guide_has_every_reason_with_its_meaning() -> None:
    """The two tables are the vocabulary, in its order."""
    for table in (REJECTIONS, FAILURES):
        assert "\n".join(f"| `{word}` | {meaning} |" for word, meaning in table.items()) in GUIDE


def test_the_guide_names_every_kind() -> None:
    """And no kind is missing from it."""
    assert all(f"`{kind}`" in GUIDE for kind in parser_names(plugins=[]) if kind != "none")
