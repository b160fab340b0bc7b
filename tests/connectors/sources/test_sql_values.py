"""Values of rows: as text that is the same on every day, as keys that come back, as moments."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.sql.values import (
    coded,
    decoded,
    earlier,
    granule,
    is_set,
    named,
    readers,
    rendered,
    seconds,
    until,
)

EAST = timezone(timedelta(hours=3))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("a\0b", "ab"),
        (True, "true"),
        (12, "12"),
        (0.1, "0.1"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1.50"), "1.50"),
        (Decimal("NaN"), "NaN"),
        (datetime(2024, 5, 6, 7, 8, 9), "2024-05-06 07:08:09"),
        (datetime(2024, 5, 6, 7, 8, 9, tzinfo=EAST), "2024-05-06 04:08:09+00:00"),
        (date(2024, 5, 6), "2024-05-06"),
        (time(7, 8), "07:08:00"),
        (timedelta(seconds=90), "90 s"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "ff00"),
        (memoryview(b"x"), "x"),
        ({"b": [1, None], "a": Decimal("1.5")}, '{"a": "1.5", "b": [1, null]}'),
        ([date(2024, 5, 6)], '["2024-05-06"]'),
        ({"x", "a"}, '["a", "x"]'),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_is_one_text(value: Any, text: str) -> None:
    """Whatever the type, the zone of the session or the order of a set."""
    assert rendered(value) == text


KEYS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.binary(max_size=8), st.dates(), st.times(),
    st.datetimes(timezones=st.sampled_from([None, UTC, EAST])), st.uuids(), st.decimals(allow_nan=False),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


@given(value=KEYS)
def test_a_key_comes_back_with_its_type(value: Any) -> None:
    """Through JSON, as a locator or a cursor holds it."""
    found = decoded(json.loads(json.dumps(coded(value))))
    assert found == value and type(found) is type(value)


@given(
    one=st.lists(st.text(max_size=5), min_size=2, max_size=2),
    other=st.lists(st.text(max_size=5), min_size=2, max_size=2),
)
def test_two_keys_have_two_names(one: list[str], other: list[str]) -> None:
    """Slashes within a part do not meet the slashes between parts; nothing unprintable is left."""
    assert (named(one) == named(other)) == (one == other)
    assert named(one).count("/") == 1 and all(ord(each) >= 32 for each in named(one))


@pytest.mark.parametrize("bad", [{}, {"a": 1, "b": 2}, {"moment": "x"}, {"decimal": "x"}, {"what": "x"}, {"date": 5}])
def test_what_is_no_coded_key_is_refused(bad: Any) -> None:
    """A locator of another make ends in a ValueError and nothing else."""
    with pytest.raises(ValueError):
        decoded(bad)


def test_a_key_of_another_type_is_refused() -> None:
    """JSON and arrays are no keys."""
    for value in ({"a": 1}, [1], float("nan"), timedelta(1)):
        with pytest.raises(TypeError):
            coded(value)


def test_flags_of_all_kinds() -> None:
    """NULL, false and their spellings are no; a moment and the rest are yes."""
    assert not any(map(is_set, (None, False, 0, "0", "f", "No", "", b"\x00", "FALSE ")))
    assert all(map(is_set, (True, 1, "t", "yes", datetime(2024, 1, 1), b"\x01")))


def test_labels_of_all_kinds() -> None:
    """A list, a JSON list, a line with commas; NULL is none."""
    assert readers(["b", "a", None, "a"]) == readers('["a", "b", ""]') == readers("b, a,,") == ["a", "b"]
    assert readers(None) == readers("") == []
    assert readers("[not json") == ["[not json"]


@pytest.mark.parametrize(
    ("value", "before"),
    [
        (datetime(2024, 1, 1, 0, 5, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (date(2024, 1, 2), date(2024, 1, 1)),
        (1_700_000_300, 1_700_000_000),
        (1_700_000_300_000, 1_700_000_000_000),
        ("2024-01-01 00:05:00", "2024-01-01 00:00:00"),
        ("2024-01-01T00:05:00.123Z", "2024-01-01T00:00:00"),
        ("2024-01-02", "2024-01-01"),
        ("v17", None),
        (None, None),
        (True, None),
    ],
)
def test_a_moment_earlier_compares_as_earlier(value: Any, before: Any) -> None:
    """It has the form of the one it was made of, as the database compares it."""
    found = earlier(value, 300)
    assert found == before and type(found) is type(before)
    assert found is None or found <= value


def test_moments_are_seconds_since_1970() -> None:
    """With a zone or without, as text or as a number."""
    moment = 1_714_979_289.0
    for value in (datetime(2024, 5, 6, 7, 8, 9), datetime(2024, 5, 6, 10, 8, 9, tzinfo=EAST), "2024-05-06 07:08:09",
                  "2024-05-06T07:08:09Z", 1714979289, 1714979289000, Decimal(1714979289)):  # fmt: skip
        assert seconds(value) == moment
    assert [seconds(each) for each in (None, True, "soon", b"x")] == [None] * 4


def test_a_moment_knows_how_coarse_it_is() -> None:
    """A day, a second, or finer."""
    assert [granule(each) for each in (date(2024, 1, 1), "2024-01-01", "2024-01-01 00:00:01", 17, 17.5, "v1")] == [
        86400, 86400, 1, 1, 0, 0]  # fmt: skip


def test_a_moment_in_the_future_is_brought_back() -> None:
    """A row from a clock that is ahead would hide what changes until then; without a zone a day's grace is given."""
    now = datetime(2024, 1, 10, tzinfo=UTC)
    assert until(now, datetime(2099, 1, 1, tzinfo=UTC)) == now
    assert until(now, datetime(2024, 1, 10, 8)) == datetime(2024, 1, 10, 8)
    assert until(now, "2024-03-01 00:00:00") == "2024-01-09 00:00:00"
    assert until(now, 17) == 17
    assert until(now, None) is None
