"""JSON and JSON Lines as text that people and models read."""

from __future__ import annotations

import json as stdlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.parsers import json, jsonl
from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.parsers.sections import Sections


def under(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(span.path, parsed.text[span.start : span.end].strip()) for span in parsed.headings]


def test_values_are_lines_with_their_paths_and_named_records_have_headings() -> None:
    """Plain members come first; a list of records is headed by its own path."""
    parsed = json.parse(
        b"""{"title": "Shop", "open": true, "none": null, "store": {"city": "Bern", "books": [
        {"name": "A", "price": 1.50, "tags": ["x", "y"]}, {"name": "B", "text": "one\\ntwo"}]}}""",
        "a.json",
    )
    assert parsed.title == "Shop"
    assert under(parsed) == [
        (("store.books",), "store.books"),
        (("store.books", "A"), "name: A\n\nprice: 1.50\ntags: x, y"),
        (("store.books", "B"), "name: B\n\ntext:\none\ntwo"),
    ]
    assert parsed.text.startswith("title: Shop\nopen: true\nstore.city: Bern\n\n")


def test_duplicate_keys_and_numbers_of_any_length_are_kept_as_they_are_spelt() -> None:
    """Python's own reading would drop the one and refuse the other."""
    long = "9" * 10_000
    assert json.parse(f'{{"a": 1, "a": 2.50, "n": {long}}}'.encode(), "a").text == f"a: 1\na: 2.50\nn: {long}"


@pytest.mark.parametrize("data", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300, b"[" * 50_000])
def test_values_nested_too_deeply_are_damaged_and_no_crash(data: bytes) -> None:
    """Told in words."""
    with pytest.raises(Unparsable) as refused:
        json.parse(data, "a.json")
    assert refused.value.reason == "damaged" and "nested" in refused.value.detail


def test_json_that_is_torn_is_damaged() -> None:
    """It claims to be JSON, and cannot be read as that."""
    with pytest.raises(Unparsable) as refused:
        json.parse(b'{"a": [1, 2', "a.json")
    assert refused.value.reason == "damaged"


def test_strings_without_words_are_left_out_and_counted() -> None:
    """Pictures in base64 would drown the rest; links stay."""
    link = "https://example.org/" + "x" * 1000
    parsed = json.parse(stdlib.dumps({"t": "words", "image": "iVBORw0K" * 200, "url": link}).encode(), "a")
    assert parsed.text == f"t: words\nurl: {link}" and parsed.metadata == {"values_left_out": "1"}


def test_names_without_values_are_text_as_they_stand() -> None:
    """And nothing at all is empty."""
    assert json.parse(b'{"pagination": {}, "rest": null}', "a").text == '{"pagination": {}, "rest": null}'
    assert json.parse(b"[{}]", "a").text == ""


def test_a_text_kept_as_a_list_of_lines_is_one_text_again() -> None:
    """As notebooks keep their cells."""
    data = stdlib.dumps({"cells": [{"source": ["a = 1\n", "b = 2"]}]}).encode()
    assert json.parse(data, "a.ipynb").text == "cells[0].source:\na = 1\nb = 2"


def test_each_line_of_json_lines_is_a_block_under_its_name() -> None:
    """A record without a name stands under none."""
    parsed = jsonl.parse(b'{"id": "7", "t": "x"}\r\n\r\n[1, 2]\n{"name": "N", "rows": [{"a": 1}]}\n', "a.jsonl")
    assert under(parsed) == [(("7",), "id: 7\n\nt: x"), (("N",), "name: N\n\nrows[0].a: 1")]
    assert "\n\n1, 2\n\n" in parsed.text and parsed.metadata == {"records": "3"}


def test_a_broken_line_costs_itself_and_is_told() -> None:
    """The last line of a file that is still being written; all lines broken is a damaged file."""
    parsed = jsonl.parse(b'{"a": 1}\n{"b": \n{"c": 3}\n{"d": "half', "a.jsonl")
    assert parsed.text == "a: 1\n\nc: 3" and parsed.metadata == {"records": "2", "lines_damaged": "2, 4"}
    with pytest.raises(Unparsable):
        jsonl.parse(b'{"a\n{"b', "a.jsonl")


def test_text_past_the_limit_is_refused_while_it_is_written() -> None:
    """Long before it fills the memory."""
    out = Sections(most=100)
    with pytest.raises(Unparsable) as refused:
        for _ in range(50):
            out.line("words")
    assert refused.value.reason == "too_large"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["title", "name", "a", "b.c", "", "\ud83d\n"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_any_value_becomes_text_with_spans_in_order(value: object) -> None:
    """Every plain string is somewhere in the text."""
    for parsed in (json.parse(stdlib.dumps(value).encode(), "a"), jsonl.parse(stdlib.dumps(value).encode(), "a")):
        at = 0
        for span in parsed.headings:
            assert at <= span.start < span.end <= len(parsed.text)
            at = span.end
