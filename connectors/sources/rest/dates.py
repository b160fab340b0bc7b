"""Dates as APIs write them: ISO 8601, seconds or milliseconds since 1970, RFC 2822, and the usual others.

What is ambiguous (03/04/2024) is not guessed: `date_format` in the configuration says what it means.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

_LONGEST = 64
_NUMBER = re.compile(r"[+-]?\d{1,19}(\.\d{1,9})?\Z")
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DOTNET = re.compile(r"/Date\((-?\d{1,17})(?:[+-]\d{4})?\)/\Z")
_ZONE = re.compile(r"(.*\d)\s*(UTC|GMT|Z)\Z", re.IGNORECASE)
_SPACED_OFFSET = re.compile(r"(.*\d)\s+([+-]\d\d):?(\d\d)\Z")
_FRACTION = re.compile(r":\d\d[.,](\d{1,9})")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)\Z")
_USUAL = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %Z %Y",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%d %b %Y",
    "%b %d, %Y %I:%M %p",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
)


class Moment(NamedTuple):
    """Seconds since 1970, and how many decimals the source gave: dates of unlike precision are not comparable."""

    seconds: float
    decimals: int

    def token(self) -> str:
        """The same for the same moment, whatever zone it was written in."""
        return f"{self.seconds:.{self.decimals}f}"


def zone_of(name: str) -> tzinfo:
    """`UTC`, `+02:00` or `Europe/Berlin`. Raises `ValueError`, one line."""
    if name in ("", "UTC", "Z"):
        return UTC
    if offset := _OFFSET.match(name):
        sign, hours, minutes = offset.groups()
        return timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f'timezone = "{name}" is not known here: write UTC, +02:00 or Europe/Berlin') from error


def moment(value: Any, zone: tzinfo = UTC, date_format: str = "") -> Moment | None:
    """When that is, `zone` where it does not say; None for what is no date. `date_format` as `strptime` takes it."""
    try:
        found = _number(value) if isinstance(value, (int, float)) else _text(value, zone, date_format)
    except (ValueError, OverflowError, OSError):
        return None
    return found if found and math.isfinite(found.seconds) and abs(found.seconds) < 1e12 else None


def iso(seconds: float) -> str:
    """For people: `2024-01-31T12:00:00Z`. Raises `ValueError` or `OverflowError` outside the years 1 to 9999."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=math.floor(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


def written(seconds: float, form: str, zone: tzinfo) -> str:
    """A moment as a parameter: `iso`, `date`, `epoch`, `epoch_ms`, or as `strftime` takes it; rounded down."""
    if form == "epoch":
        return str(math.floor(seconds))
    if form == "epoch_ms":
        return str(math.floor(seconds * 1000))
    if form == "iso":
        return iso(seconds)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=math.floor(seconds))
    return at.astimezone(zone).strftime("%Y-%m-%d" if form == "date" else form)


def _number(value: float) -> Moment | None:
    """Seconds, or a thousand, a million, a milliard of them: told by size, as 1e11 s is the year 5138."""
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    for decimals, unit in ((0, 1), (3, 10**3), (6, 10**6), (9, 10**9)):
        if abs(value) < 10**11 * unit:
            if decimals == 0 and value != int(value):
                return Moment(float(value), 6)
            return Moment(value / unit, min(decimals, 6))
    return None


def _text(value: Any, zone: tzinfo, date_format: str) -> Moment | None:
    if not isinstance(value, str) or not 4 < len(value.strip()) <= _LONGEST:
        return None
    text = value.strip()
    if date_format:
        return _moment(datetime.strptime(text, date_format), zone, 0)
    if dotnet := _DOTNET.match(text):
        return Moment(int(dotnet[1]) / 1000, 3)
    if _NUMBER.match(text):
        if len(text) in _COMPACT and text[:2] in ("19", "20"):
            return _moment(datetime.strptime(text, _COMPACT[len(text)]), zone, 0)
        return _number(float(text) if "." in text else int(text))
    decimals = min(len(fraction[1]), 6) if (fraction := _FRACTION.search(text)) else 0
    at = _calendar(text)
    return None if at is None else _moment(at, zone, decimals)


def _calendar(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)  # most are that
    except ValueError:
        pass
    plain = _SPACED_OFFSET.sub(r"\1\2:\3", _ZONE.sub(r"\1+00:00", text))
    slashes = re.sub(r"\A(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3", plain)
    for read in (datetime.fromisoformat, *(_strptime(form) for form in _USUAL), parsedate_to_datetime):
        try:
            found: datetime = read(slashes if read is not parsedate_to_datetime else text)
            return found
        except (ValueError, TypeError, IndexError):
            continue
    return None


def _strptime(form: str) -> Any:
    return lambda text: datetime.strptime(text, form)


def _moment(at: datetime, zone: tzinfo, decimals: int) -> Moment:
    aware = at if at.tzinfo else at.replace(tzinfo=zone)
    return Moment((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds(), decimals)
