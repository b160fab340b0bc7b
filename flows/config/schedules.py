"""When something runs, as people write it: a cron expression, `every 15m`, or `none`. Words only; Prefect keeps time.

The cron that is taken is a part of what Prefect takes: five fields with numbers, names, lists, ranges and steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TypeAlias
from zoneinfo import ZoneInfo

from penstock.flows.config import periods

NONE = "none"
FORMS = 'write a cron expression ("15 2 * * *"), "every 15m", or "none"'
LEAST = 10.0
"""Seconds: no schedule runs more often than that."""
_ELSEWHERE = ("localtime", "posixrules")
"""What tzdata has beside zones: on each machine the zone of that machine."""

_WORDS = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_ITEM = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields, as cron has them. `gap`: the most seconds between two times, inf where it skips days."""

    expression: str
    gap: float


@dataclass(frozen=True, slots=True)
class Every:
    """At the whole multiples of so many seconds."""

    seconds: float


Schedule: TypeAlias = Cron | Every | None


def schedule(words: str) -> Schedule:
    """What `words` mean; None: never by itself. Raises `ValueError`, which says what is wrong and how to write it."""
    said = " ".join(words.split())
    if said == NONE:
        return None
    if said.startswith("every "):
        every = periods.seconds(said.removeprefix("every ").strip())
        if every < LEAST:
            raise ValueError(f"{words!r} is too often; not more than every {LEAST:.0f}s")
        return Every(every)
    return _cron(said)


def gap(when: Schedule) -> float:
    """The most seconds between two times, but for the two nights a year on which clocks are moved."""
    match when:
        case Cron(_, most) | Every(most):
            return most
        case _:
            return inf


def words(when: Schedule) -> str:
    """As people write it; "" for never."""
    match when:
        case Cron(expression):
            return expression
        case Every(seconds):
            return f"every {periods.words(seconds)}"
        case _:
            return ""


def check_zone(name: str) -> None:
    """Raises `ValueError` unless it is a time zone of the IANA database, the same on every machine."""
    try:
        if name.lower().rpartition("/")[2] in _ELSEWHERE:
            raise ValueError(name)
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is no time zone; write one as Europe/Zurich or Etc/UTC") from None


def _cron(said: str) -> Cron:
    fields = said.split(" ")
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{said!r} is no schedule; {FORMS}")
    minutes, hours, days, months, _ = (_field(word, *field) for word, field in zip(fields, _FIELDS, strict=True))
    if fields[4] == "*" and not any(day <= _LONGEST[month] for day in days for month in months):
        raise ValueError(f"{said!r} never comes: no such day is in those months")
    return Cron(said, _gap(minutes, hours) if fields[2:] == ["*"] * 3 else inf)


def _gap(minutes: set[int], hours: set[int]) -> float:
    """The most seconds from one time to the next, where each day has all of them."""
    times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    return 60.0 * max(later - earlier for earlier, later in pairwise([*times, times[0] + 24 * 60]))


def _field(word: str, name: str, least: int, most: int) -> set[int]:
    """The values that one field allows."""
    values: set[int] = set()
    for item in word.split(","):
        found = _ITEM.fullmatch(item)
        if found is None:
            raise ValueError(f"the {name} {item!r} cannot be read; {FORMS}")
        every, first, last, step = found.groups()
        low = least if every else _number(first, name, least, most)
        high = most if every or (step and not last) else _number(last or first, name, least, most)
        if step == "0":
            raise ValueError(f"the {name} {item!r} is empty; {FORMS}")
        between = [*range(low, most + 1), *range(least, high + 1)] if high < low else [*range(low, high + 1)]
        values |= set(between[:: int(step or 1)])  # `fri-mon` goes over the end of the week, as in Prefect
    return values


def _number(word: str, name: str, least: int, most: int) -> int:
    names = _WORDS.get(name, ())
    if word.lower() in names:
        return names.index(word.lower()) + least
    if not word.isdecimal() or not least <= int(word) <= most:
        raise ValueError(f"the {name} {word!r} is not from {least} to {most}")
    return int(word)
