"""Times and spending limits as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from penstock.flows.answers.exits import UsageError

_AGO = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = 100 * 365.25 * 86_400
_BUDGET = re.compile(r"(tokens|minutes)=(\d[\d_]*(?:\.\d+)?)([kKmM]?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}


def moment(option: str, word: str | None, now: float) -> float | None:
    """Seconds since 1970 of `2026-11-21`, `2026-11-21T08:00Z` (UTC where no zone is said) or `7d` (before `now`).

    Raises `UsageError`.
    """
    if word is None:
        return None
    if ago := _AGO.fullmatch(word):
        if float(ago[1]) * _SECONDS[ago[2]] > _LONGEST:
            raise UsageError(f"{option} {word[:40]}: is more than 100 years ago; write a date, or leave it out for all")
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(word)
    except ValueError:
        raise UsageError(
            f"{option} {word}: is no time; write a date (2026-11-21), a time (2026-11-21T08:00Z) or how long ago (7d)"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def window(
    since: str | None, until: str | None, now: float, options: tuple[str, str] = ("since", "until")
) -> tuple[float | None, float | None]:
    """(since, until), each as `moment` has it. Raises `UsageError`, also where nothing can lie between the two."""
    first, last = moment(options[0], since, now), moment(options[1], until, now)
    if first is not None and last is not None and first >= last:
        raise UsageError(
            f"{options[0]} {since} is not before {options[1]} {until}, so nothing lies between them; "
            "write the earlier one first: 30d is earlier than 7d"
        )
    return first, last


def period(option: str, word: str | None) -> float | None:
    """Seconds of `90d`, `12h`, `2w`, of at most 100 years. Raises `UsageError`."""
    if word is None:
        return None
    found = _AGO.fullmatch(word)
    if found is None or not float(found[1]):
        raise UsageError(f"{option} {word}: is no time; write 90d, 12h or 2w")
    if (seconds := float(found[1]) * _SECONDS[found[2]]) > _LONGEST:
        raise UsageError(f"{option} {word[:40]}: is more than 100 years; what is to stay for good is held: --hold")
    return seconds


def budget(words: list[str]) -> tuple[int | None, float | None]:
    """(tokens, minutes) of `tokens=2M`, `minutes=30`; None where it is not said. Raises `UsageError`."""
    said: dict[str, float] = {}
    for word in words:
        found = _BUDGET.fullmatch(word)
        if found is None or (found[1] == "minutes" and found[3]):
            raise UsageError(f"--budget {word}: write tokens=2M or minutes=30")
        value = float(found[2]) * _TIMES[found[3].lower()]
        if value <= 0:
            raise UsageError(f"--budget {word}: must be more than 0")
        said[found[1]] = value
    return (int(said["tokens"]) if "tokens" in said else None), said.get("minutes")
