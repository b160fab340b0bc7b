"""What a text shows of its structure is seen, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.chunking.structure import structure

CODE = "def flow(x):\n    y = x + 1\n\n    return y\n\ndef stop():\n    return None\n"


def lines(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in spans]


def at(text: str, places: list[int]) -> list[str]:
    """The rest of the line at each place."""
    return [text[place:].split("\n")[0] for place in places]


def test_paragraphs_begin_after_blank_lines_and_blocks_are_indented() -> None:
    """What is indented after a blank line belongs to what came before; so functions are told from their parts."""
    found = structure("one\ntwo\n\n \nthree\n\n  four\n\nfive", [])
    assert at("one\ntwo\n\n \nthree\n\n  four\n\nfive", found.paragraphs)[-2:] == ["three", "five"]
    assert at(CODE, structure(CODE, []).blocks) == ["    return y"]
    assert at(CODE, structure(CODE, []).paragraphs) == ["def stop():"]


def test_items_of_lists_are_found() -> None:
    """Dashes, stars, bullets, numbers, letters; a number with a decimal or a dash in a sentence is none."""
    text = "- a\n* b\n  • c\n1. d\n22) e\na) f\n(b) g\n3.5 m\n-x\nwell - no\n1) \nend"
    assert at(text, structure(text, []).items) == ["- a", "* b", "  • c", "1. d", "22) e", "a) f", "(b) g"]


def test_markdown_headings_count_only_where_no_others_are_known() -> None:
    """One sign alone, which also begins comments, needs a blank line on both sides."""
    text = "# Title\n\nText\n## Part\nText\n# comment\nx\n\n```\n## no\n```\n"
    assert at(text, list(structure(text, []).headings)) == ["# Title", "## Part"]
    assert structure(text, [3]).headings == [3]


def test_rows_and_tables_are_found() -> None:
    """Cells are set off by bars or tabs; two rows make a table; indentation is no cell."""
    text = "Caption\n| a | b |\n|---|---|\n| 1 | 2 |\n\nName: Ada | Born: 1815\nx || y\n\tindented\na\tb\nc\td\n"
    found = structure(text, [])
    assert lines(text, found.rows) == [
        "| a | b |", "|---|---|", "| 1 | 2 |", "Name: Ada | Born: 1815", "a\tb", "c\td"
    ]  # fmt: skip
    assert lines(text, found.tables) == ["| a | b |\n|---|---|\n| 1 | 2 |", "a\tb\nc\td"]


def test_lines_of_code_are_found_and_indented_prose_is_none() -> None:
    """Between fences all is code; an indented block is if it looks like it. A fence that stays open is none."""
    text = (
        f"Text\n```\nx | y\n\nz\n```\n\n{CODE}\n    An indented paragraph, as in\n    old memoranda, is prose.\n~~~\n"
    )
    found = structure(text, [])
    assert lines(text, found.rows) == ["```", "x | y", "z", "```", "    y = x + 1", "    return y"]
    assert found.tables == []


@pytest.mark.parametrize("text", ["", "x", "\n", "\n\n\n", " \n\t\n", "```", "|", "\t", "#", "# "])
def test_nothing_in_a_text_of_nothing_breaks_it(text: str) -> None:
    """The smallest texts have no structure."""
    found = structure(text, [])
    assert not (found.items or found.tables or found.headings)


@given(text=st.text(alphabet="a1 \n\t|#-.`~=", max_size=300))
def test_places_lie_in_the_text_in_order(text: str) -> None:
    """For any text: positions ascend, spans do not overlap and hold whole lines."""
    found = structure(text, [])
    for places in (found.paragraphs, found.blocks, found.items, list(found.headings)):
        assert places == sorted(set(places))
        assert all(0 <= place < len(text) and (place == 0 or text[place - 1] == "\n") for place in places)
    for spans in (found.rows, found.tables):
        ends = [0, *(edge for span in spans for edge in span)]
        assert ends == sorted(ends)
        assert all((end == len(text) or text[end] == "\n") and start < end for start, end in spans)
