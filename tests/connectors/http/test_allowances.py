"""What an API says in its headers of requests and of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.http.allowances import LONGEST, Allowance, allowances, duration
from penstock.connectors.http.ratelimit import cooldown


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("6m0s", 360.0), ("120ms", 0.12), ("1s", 1.0), ("59.70s", 59.7), ("1h2m3.5s", 3723.5), ("0", 0.0), ("17", 17.0),
        ("1d", 86_400.0), ("9us", 9e-6), ("", None), ("soon", None), ("-1s", None), ("1s ago", None), ("5d", LONGEST),
    ],
)  # fmt: skip
def test_resets_are_read_as_they_are_written(said: str, seconds: float | None) -> None:
    """Go's durations, and plain numbers; nonsense is nothing."""
    assert duration(said) == (None if seconds is None else pytest.approx(seconds))


def test_requests_and_tokens_are_told_apart() -> None:
    """Each unit has what was said of it, and what nobody mentions is not there."""
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-remaining-tokens": "149984",
    }
    assert allowances(headers) == {"requests": Allowance(500, 499, 0.12), "tokens": Allowance(None, 149984, None)}
    assert allowances({"x-ratelimit-limit": "5"}) == {}


@given(st.dictionaries(st.sampled_from([f"x-ratelimit-{w}-{u}" for w in ("limit", "remaining", "reset") for u in
                                        ("requests", "tokens")]), st.text(max_size=80)))  # fmt: skip
def test_no_header_does_harm(headers: dict[str, str]) -> None:
    """Whatever stands there, nothing is negative, infinite or raised."""
    for found in allowances(headers).values():
        assert all(x is None or 0 <= x < 1e16 for x in (found.limit, found.remaining, found.reset))


def test_the_finer_retry_after_counts() -> None:
    """`retry-after-ms` says the same as Retry-After, to the millisecond."""
    assert cooldown({"retry-after-ms": "250", "retry-after": "1"}, 429, 0.0) == 0.25
