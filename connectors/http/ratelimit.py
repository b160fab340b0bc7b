"""What an answer's headers say about when to ask again.

Retry-After (RFC 9110) and the finer Retry-After-Ms, the drafts of RateLimit (one field, and the three older ones), and
what services send instead: X-RateLimit-*, X-Rate-Limit-*, X-HubSpot-RateLimit-*. Times that the server writes are
measured on its own clock, the Date header, so that it does no harm when ours is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 3600.0
"""Seconds: no header makes anybody wait longer than that before it is asked again."""

_NUMBER = re.compile(r"\s*(-?\d{1,24}(?:\.\d{0,9})?)\s*(?:$|[,;])")
_FAMILIES = ("ratelimit", "x-ratelimit", "x-rate-limit")
_DRAFT_7 = re.compile(r"\b(remaining|reset)\s*=\s*(\d{1,12})")
_DRAFT_8 = re.compile(r";\s*(r|t)\s*=\s*(\d{1,12})")
_EPOCH, _EPOCH_MS = 1e8, 1e11
"""Larger than that, a reset is no duration but a time since 1970, in seconds or in milliseconds."""


def cooldown(headers: Mapping[str, str], status: int, now: float) -> float:
    """Seconds that everybody should wait after this answer, 0 to `LONGEST`; 0 where it does not say.

    A limit that is used up (remaining 0) counts on any status: the next request would be refused. `now`: seconds since
    1970, used where the server sends no Date. Header names in any case; nonsense is as good as nothing; never raises.
    """
    plain = {name.lower(): value[:500] for name, value in headers.items()}
    server = _date(plain.get("date", ""))
    base = now if server is None else server
    found = [0.0, _retry_after(plain, status, base), _hubspot(plain)]
    found += [_used_up(*pair, status, base) for pair in _pairs(plain)]
    return min(max(found), LONGEST)


def _retry_after(headers: Mapping[str, str], status: int, base: float) -> float:
    # 200: an API that answers with an error of its own (MediaWiki's maxlag). With 202 and 3xx it is about that one
    # resource, and no reason for everybody to wait.
    if status != 200 and status < 400:
        return 0.0
    finer = _number(headers.get("retry-after-ms", ""))
    if finer is not None:
        return max(finer, 0.0) / 1000
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is not None:
        return max(seconds, 0.0)
    when = _date(said)
    return 0.0 if when is None else max(when - base, 0.0)


def _pairs(headers: Mapping[str, str]) -> Iterator[tuple[float | None, str]]:
    """(remaining, reset as it was written) of each family of headers that is there."""
    for family in _FAMILIES:
        after = headers.get(f"{family}-reset-after", "")
        yield _number(headers.get(f"{family}-remaining", "")), after or headers.get(f"{family}-reset", "")
    for policy in headers.get("ratelimit", "").split(","):
        if "=" not in policy:
            continue
        words = dict(_DRAFT_8.findall(policy))
        if words:
            yield _number(words.get("r", "")), words.get("t", "")
    words = dict(_DRAFT_7.findall(headers.get("ratelimit", "")))
    if words:
        yield _number(words.get("remaining", "")), words.get("reset", "")


def _used_up(remaining: float | None, reset: str, status: int, base: float) -> float:
    # Refused without saying how much is left: then the reset is what was meant.
    spent = status == 429 if remaining is None else remaining <= 0
    if not spent or not reset:
        return 0.0
    value = _number(reset)
    if value is None:
        when = _date(reset)
        return 0.0 if when is None else max(when - base, 0.0)
    if value >= _EPOCH:
        return max((value / 1000 if value >= _EPOCH_MS else value) - base, 0.0)
    return max(value, 0.0)


def _hubspot(headers: Mapping[str, str]) -> float:
    left = _number(headers.get("x-hubspot-ratelimit-daily-remaining", ""))
    if left is not None and left <= 0:
        return LONGEST  # until midnight where the account is, which the headers do not say
    left = _number(headers.get("x-hubspot-ratelimit-remaining", ""))
    window = _number(headers.get("x-hubspot-ratelimit-interval-milliseconds", ""))
    return max(window, 0.0) / 1000 if left is not None and left <= 0 and window is not None else 0.0


def _number(said: str) -> float | None:
    found = _NUMBER.match(said)
    return float(found[1]) if found else None


def _date(said: str) -> float | None:
    """An HTTP date, or an ISO one, as seconds since 1970."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = read(said.strip())
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None
