"""What headers say about when to ask again."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.http.ratelimit import LONGEST, cooldown

NOW = 1_800_000_000.0


def date(at: float) -> str:
    return formatdate(at, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "status", "seconds"),
    [
        ({}, 429, 0),
        ({"retry-after": "30"}, 429, 30),
        ({"Retry-After": " 1.5 "}, 503, 1.5),
        ({"retry-after": "5"}, 200, 5),  # MediaWiki's maxlag
        ({"retry-after": "5"}, 202, 0),
        ({"retry-after": "5"}, 301, 0),
        ({"retry-after": "-5"}, 429, 0),
        ({"retry-after": "soon"}, 429, 0),
        ({"retry-after": "99999999999"}, 429, LONGEST),
        ({"retry-after": date(NOW + 90)}, 503, 90),
        ({"retry-after": date(NOW - 90)}, 503, 0),
        # The server's clock is a day behind ours, or ahead: its own two times are compared.
        ({"retry-after": date(NOW + 90 - 86_400), "date": date(NOW - 86_400)}, 503, 90),
        ({"retry-after": date(NOW + 90 + 86_400), "date": date(NOW + 86_400)}, 503, 90),
        (
            {"x-ratelimit-reset": str(int(NOW) + 86_420), "x-ratelimit-remaining": "0", "date": date(NOW + 86_400)},
            200,
            20,
        ),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 200, 7),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "7"}, 429, 0),
        ({"ratelimit": "limit=100, remaining=0, reset=8"}, 200, 8),
        ({"ratelimit": "limit=100, remaining=5, reset=8"}, 200, 0),
        ({"ratelimit": '"minute";r=5;t=8, "day";r=0;t=900'}, 200, 900),
        ({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 40)}, 403, 40),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW * 1000) + 2_500)}, 200, 2.5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 200, 12),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2027-01-15T08:00:10Z"}, 200, 10),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "3.5"}, 200, 3.5),
        ({"x-ratelimit-remaining": "0"}, 429, 0),
        ({"x-ratelimit-reset": "12"}, 429, 12),
        ({"x-ratelimit-reset": "12"}, 200, 0),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(NOW) + 4)}, 200, 4),
        ({"x-ratelimit-remaining": "0, 0;w=60", "x-ratelimit-reset": "9"}, 200, 9),
        ({"x-hubspot-ratelimit-remaining": "0", "x-hubspot-ratelimit-interval-milliseconds": "10000"}, 200, 10),
        ({"x-hubspot-ratelimit-remaining": "3", "x-hubspot-ratelimit-interval-milliseconds": "10000"}, 200, 0),
        ({"x-hubspot-ratelimit-daily-remaining": "0"}, 429, LONGEST),
        ({"retry-after": "2", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 429, 30),
    ],
)
def test_what_headers_mean(headers: dict[str, str], status: int, seconds: float) -> None:
    """Both forms of Retry-After, and every family of limits; the longest wish counts."""
    assert cooldown(headers, status, NOW) == pytest.approx(seconds, abs=0.001)


names = st.sampled_from(
    [
        *("retry-after", "date", "ratelimit", "ratelimit-reset", "x-ratelimit-reset", "x-ratelimit-remaining"),
        *("x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-interval-milliseconds", "x-rate-limit-reset"),
    ]
)
values = st.text(max_size=40) | st.integers().map(str) | st.floats().map(str) | st.just("9" * 5_000) | st.just("0")


@given(st.dictionaries(names, values), st.integers(100, 599))
def test_nonsense_is_bounded(headers: dict[str, str], status: int) -> None:
    """Whatever a server writes, nobody waits longer than the bound, and nothing is raised."""
    assert 0 <= cooldown(headers, status, NOW) <= LONGEST
