"""JSON of a hostile server: bounded by what it takes in memory."""

from __future__ import annotations

import json

import pytest

from penstock.connectors.http import types
from penstock.connectors.http.types import Reply, crowded
from penstock.connectors.types import RetryLater


def reply(body: bytes) -> Reply:
    return Reply(200, "", {}, body)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"a",', b'{"a":0},'])
def test_an_answer_of_too_many_values_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, unit: bytes
) -> None:
    """An empty list takes twenty times as much memory as text."""
    monkeypatch.setattr(types, "MOST_VALUES", 1000)
    with pytest.raises(RetryLater, match="more than 1,000 values"):
        reply(b"[" + unit * 1000 + b"0]").json()
    assert len(reply(b"[" + unit * 300 + b"0]").json()) == 301


def test_commas_and_brackets_within_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are full of them."""
    monkeypatch.setattr(types, "MOST_VALUES", 1000)
    rows = [{"text": 'a, "b" [c] {d} \\' * 500} for _ in range(20)]
    assert reply(json.dumps(rows).encode()).json() == rows


@pytest.mark.parametrize("body", [b'"' * 100_001, b'["' + b",\\" * 50_000, b'"\\' + b"," * 100_000])
def test_what_is_no_json_is_counted_in_one_pass(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Quotes without an end, and escapes of nothing."""
    monkeypatch.setattr(types, "MOST_VALUES", 1000)
    assert not crowded(body)


def test_json_that_is_nested_too_deeply_is_garbled() -> None:
    """And no error of the interpreter."""
    with pytest.raises(RetryLater, match="not the JSON"):
        reply(b"[" * 100_000).json()
