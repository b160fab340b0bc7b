"""What an API that counts requests and tokens apart says of both in its headers.

`x-ratelimit-limit-requests`, `-remaining-`, `-reset-`, and the same with `-tokens`, as OpenAI began it and others send
it. What counts requests alone is read by `ratelimit.cooldown`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

UNITS = ("requests", "tokens")
LONGEST = 86_400.0
"""Seconds: no reset is believed to be further away."""
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|us|µs|[dhms])")
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")


class Allowance(msgspec.Struct, frozen=True):
    """How much of one kind is allowed in a time, what is left of it, and in how many seconds all of it is back.

    None where it was not said.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


def allowances(headers: Mapping[str, str]) -> dict[str, Allowance]:
    """What the headers (lower-case names) say, by unit; units of which they say nothing are not in it. Never raises."""
    found = {}
    for unit in UNITS:
        said = [headers.get(f"x-ratelimit-{what}-{unit}", "") for what in ("limit", "remaining", "reset")]
        one = Allowance(number(said[0]), number(said[1]), duration(said[2]))
        if one != Allowance():
            found[unit] = one
    return found


def number(said: str) -> float | None:
    """A plain number that is not negative."""
    return float(said) if _NUMBER.fullmatch(said := said.strip()) else None


def duration(said: str) -> float | None:
    """Seconds: `6m0s`, `120ms`, `1h2m3.5s`, or a plain number of them; at most `LONGEST`."""
    said = said.strip()[:64]
    if (plain := number(said)) is not None:
        return min(plain, LONGEST)
    parts = list(_PART.finditer(said))
    if not parts or "".join(part[0] for part in parts) != said:
        return None
    seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
    return min(seconds, LONGEST) if math.isfinite(seconds) else None
