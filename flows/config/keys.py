"""One table of a TOML file made into one typed struct, with errors that name the key and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from penstock.flows.config import choices, periods, schedules

T = TypeVar("T")


class SettingsError(Exception):
    """The configuration is wrong. The message is one line: the file, the key, the fix."""


def typed(value: Any, kind: type[T], where: str, prefix: str, also: Iterable[str] = ()) -> T:
    """`value` as `kind`, strictly: nothing is converted on the quiet. Raises `SettingsError`.

    `also`: keys of the same table that are known elsewhere, for the hint after a misspelt one.
    """
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {prefix} is {_name(value)}, but a table is needed: write [{prefix}]")
    fields = getattr(kind, "__struct_fields__", None)
    for key in value:
        if fields is not None and key not in fields:
            raise SettingsError(_unknown(where, prefix, key, [*fields, *also]))
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(_wrong(where, prefix, str(error), value) + _hint(kind, str(error))) from None


MOST = 1e15
"""No number of a configuration is more."""
_FORMS = {
    "schedule": schedules.FORMS,
    **dict.fromkeys(("freshness", "ship_behind", "snapshot_age", "drill_age"), f"{periods.PERIODS}, in quotes"),
}
"""How to write what is a text, and looks as if a number would do."""


def sane(value: Any, where: str, key: str = "") -> None:
    """Raises `SettingsError` for what nothing here can mean: zero bytes, and numbers without end."""
    if isinstance(value, dict):
        for name, each in value.items():
            sane(name, where, key)
            sane(each, where, _join(key, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            sane(each, where, f"{key}[{number}]")
    elif isinstance(value, str) and "\0" in value:
        raise SettingsError(f"{where}: {key or 'a key'} has a zero byte in it; take it out")
    elif isinstance(value, int | float) and not abs(value) <= MOST:
        raise SettingsError(f"{where}: {key} is no number that can be worked with; write one of at most {MOST:g}")


_REFERENCE = "block:[a-z0-9-]+"
"""What msgspec quotes of the pattern of `Secret`."""


def _unknown(where: str, prefix: str, key: str, fields: Iterable[str]) -> str:
    known = sorted(fields)
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    place = f"{prefix}.{key}" if prefix else key
    if near:
        return f"{where}: unknown key {place}; did you mean {near[0]}?"
    return f"{where}: unknown key {place}; known here: {', '.join(known)}"


def _wrong(where: str, prefix: str, message: str, value: dict[str, Any]) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.workers`": the same, by the key as it is written."""
    if missing := re.match(r"Object missing required field `(\w+)`", message):
        return f"{where}: {_join(prefix, missing[1])} is missing; add {missing[1]} = … under [{prefix}]"
    what, _, path = message.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    place = _join(prefix, key)
    if _REFERENCE in what:
        return (
            f"{where}: {place} is a secret, and none belongs in the file: "
            "write ${VARIABLE} or block:NAME in its place, and set that"
        )
    what = what.replace("`", "")
    return f"{where}: {place}{_quoted(value.get(key))}: {what[:1].lower()}{what[1:]}"


def _hint(kind: type, message: str) -> str:
    """The words or keys that are known there, after one that is not."""
    key = re.search(r"(\w+)`?$", message)
    if message.startswith("Expected `str") and key and key[1] in _FORMS:
        return f"; {_FORMS[key[1]]}"
    if not re.match(r"Invalid (enum )?value|Object contains unknown field", message):
        return ""
    known = choices.at(kind, message.partition(" - at `$")[2].rstrip("`"))
    return f"; known here: {', '.join(known)}" if known else ""


def _quoted(said: Any) -> str:
    """What was written, unless it may be a secret written by mistake: tables, URLs and long texts may hold one."""
    fit = isinstance(said, bool | int | float) or (isinstance(said, str) and len(said) <= 40 and ":" not in said)
    return f" = {said!r}" if fit else ""


def _join(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix and key else prefix or key


def _name(value: Any) -> str:
    names = {str: "text", int: "a number", float: "a number", bool: "true or false", list: "a list"}
    return names.get(type(value), type(value).__name__)
