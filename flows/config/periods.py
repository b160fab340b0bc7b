"""Spans of time as people write them in the file: `15m`, `12h`, `2d`, `1w`."""

from __future__ import annotations

import re

_PERIOD = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PERIODS = "write 15m, 12h, 2d or 1w"
LONGEST = 100 * 365.25 * 86_400
"""A century: what is longer nobody means, and dates do not reach."""


def seconds(word: str) -> float:
    """The seconds of `word`, more than 0, at most a century. Raises `ValueError` that says how to write it."""
    found = _PERIOD.fullmatch(word)
    if found is None or not float(found[1]):
        raise ValueError(f"{word!r} is no span of time; {PERIODS}")
    if (seconds := float(found[1]) * _SECONDS[found[2]]) > LONGEST:
        raise ValueError(f"{word[:40]!r} is more than 100 years; {PERIODS}")
    return seconds


def words(seconds: float) -> str:
    """As people write it: in the largest unit that takes a whole number of, else in seconds."""
    fitting = [unit for unit, size in _SECONDS.items() if seconds % size == 0]
    return f"{seconds / _SECONDS[fitting[-1]]:.0f}{fitting[-1]}" if fitting else f"{seconds:g}s"
