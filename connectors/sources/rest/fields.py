"""Paths into JSON, and what stands there as text.

A path is names with dots between them: `author.name`. After a name, in brackets: `[0]`, `[-1]` (one element), `[]`
(every element), `[name=Severity]` (the elements whose `name` is that), `["odd.name"]` (a name with dots in it). The
empty path is the whole. What is not there is empty, never an error, however strange the JSON is.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, NamedTuple

_STEP = re.compile(
    r"""\.?(?P<key>[^.\[\]{}|"\s]+)"""
    r"""|\[(?:(?P<all>\*?)|(?P<at>-?\d{1,9})|"(?P<quoted>[^"\\]*)"|(?P<where>[^\[\]="]+)=(?P<value>[^\[\]]*))\]"""
)
_MAX_STEPS = 32


class Key(NamedTuple):
    """The member of an object."""

    name: str


class At(NamedTuple):
    """One element of a list, from its end where negative."""

    place: int


class All(NamedTuple):
    """Every element of a list."""


class Where(NamedTuple):
    """The elements of a list whose member `name` reads `value`."""

    name: str
    value: str


Step = Key | At | All | Where


@functools.lru_cache(maxsize=1024)
def steps(path: str) -> tuple[Step, ...]:
    """`path`, taken apart. Raises `ValueError`, one line."""
    found: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        dotted = path[at] == "."
        if match is None or (dotted and not found) or (match["key"] is not None and found and not dotted):
            raise ValueError(f'"{path}" is no path: write author.name, comments[0].text or members[].login')
        if dotted and match["key"] is None:
            raise ValueError(f'"{path}" is no path: no dot before a bracket')
        found.append(_step(match))
        at = match.end()
    if len(found) > _MAX_STEPS:
        raise ValueError(f'"{path[:60]}…" has more than {_MAX_STEPS} steps')
    return tuple(found)


def _step(match: re.Match[str]) -> Step:
    part = match.groupdict()
    if part["key"] is not None:
        return Key(part["key"])
    if part["at"] is not None:
        return At(int(part["at"]))
    if part["quoted"] is not None:
        return Key(part["quoted"])
    if part["where"] is not None:
        return Where(part["where"].strip(), part["value"].strip().strip('"'))
    return All()


def every(value: Any, path: str | tuple[Step, ...]) -> list[Any]:
    """All that stands at `path`; empty if nothing does."""
    values = [value]
    for step in steps(path) if isinstance(path, str) else path:
        values = [found for each in values for found in _walk(each, step)]
    return values


def first(value: Any, path: str) -> Any:
    """The first that stands at `path`; None if nothing does."""
    found = every(value, path)
    return found[0] if found else None


def _walk(value: Any, step: Step) -> list[Any]:
    match step:
        case Key(name):
            return [value[name]] if isinstance(value, dict) and name in value else []
        case At(place):
            return [value[place]] if isinstance(value, list) and -len(value) <= place < len(value) else []
        case Where(name, wanted):
            rows = value if isinstance(value, list) else []
            return [row for row in rows if isinstance(row, dict) and name in row and text_of(row[name]) == wanted]
        case _:
            return list(value) if isinstance(value, list) else []


def elements(value: Any, path: str | tuple[Step, ...]) -> list[Any]:
    """What a loop over `path` goes through: elements of lists, and what is no list; no nulls."""
    found: list[Any] = []
    for each in every(value, path):
        found.extend(one for one in (each if isinstance(each, list) else [each]) if one is not None)
    return found


def text_of(value: Any) -> str:
    """`value` for people: lists joined by commas, objects as JSON, null as nothing. Always text that UTF-8 carries."""
    match value:
        case str():
            plain = value.replace("\0", "")
            return plain if plain.isascii() else plain.encode("utf-8", "replace").decode()
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:d}" if value.bit_length() < 4096 else ""
        case float():
            return repr(value)
        case list():
            return ", ".join(filter(None, (text_of(each) if not isinstance(each, list) else "" for each in value)))
        case _:
            return canonical(value)


def scalar(value: Any) -> str:
    """The text of a name or a number, for ids; "" for anything else."""
    return text_of(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def is_set(value: Any) -> bool:
    """Whether a flag (or a date of deletion) says yes."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "false", "no", "null", "none")
    return bool(value)


def canonical(value: Any) -> str:
    """JSON that is the same for equal values; "" where it is nested too deeply to be written."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (RecursionError, ValueError):
        return ""
