"""Spans of time as people write them in the file: `15m`, `12h`, `2d`, `1w`."""

from __future__ import annotations

import re

_PERIOD = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PERIODS = "write 15m, 12h, 2d or 1w"


def seconds(word: str) -> float:
    """The seconds of `word`, more than 0. Raises `ValueError` that says how to write it."""
    found = _PERIOD.fullmatch(word)
    if found is None or not float(found[1]):
        raise ValueError(f"{word!r} is no span of time; {PERIODS}")
    return float(found[1]) * _SECONDS[found[2]]


def words(seconds: float) -> str:
    """As people write it: in the largest unit that takes a whole number of, else in seconds."""
    fitting = [unit for unit, size in _SECONDS.items() if seconds % size == 0]
    return f"{seconds / _SECONDS[fitting[-1]]:.0f}{fitting[-1]}" if fitting else f"{seconds:g}s"
