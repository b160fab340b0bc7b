"""Values of a row: as text that is the same on every day, as part of a locator, as a moment in time."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_DAY = 86400
_FALSE = frozenset(("", "0", "f", "n", "no", "false", "off"))
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f%/]")


def rendered(value: Any) -> str:
    """The value as text. NULL is nothing; moments with a zone are in UTC; bytes are UTF-8 if they can be, else hex."""
    match value:
        case None:
            return ""
        case str():
            return value.replace("\0", "")
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f") if value.is_finite() else str(value)
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return f"{value / timedelta(seconds=1):g} s"
        case bytes() | bytearray() | memoryview():
            return _bytes(bytes(value))
        case dict() | list() | tuple():
            return json.dumps(value, ensure_ascii=False, sort_keys=True, default=rendered)
        case set() | frozenset():
            return json.dumps(sorted(map(rendered, value)), ensure_ascii=False)
    return str(value).replace("\0", "")


def _bytes(value: bytes) -> str:
    try:
        return value.decode().replace("\0", "")
    except UnicodeDecodeError:
        return value.hex()


def named(key: Sequence[Any]) -> str:
    """A key as the end of a uri: its parts with slashes between; what would not be a name is percent-encoded."""
    return "/".join(_UNPRINTABLE.sub(lambda each: f"%{ord(each[0]):02X}", _name(part)) or "%" for part in key)


def _name(value: Any) -> str:
    return value if isinstance(value, str) else rendered(value)


def coded(value: Any) -> Any:
    """A value of a key or a cursor as JSON can hold it, such that `decoded` gives it back with its type.

    Raises `TypeError` for a type that no key has.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case Decimal():
            return {"decimal": str(value)}
        case datetime():
            return {"moment": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case uuid.UUID():
            return {"uuid": str(value)}
        case bytes() | bytearray() | memoryview():
            return {"bytes": bytes(value).hex()}
    raise TypeError(type(value).__name__)


_DECODERS: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "moment": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "uuid": uuid.UUID,
    "bytes": bytes.fromhex,
}


def decoded(value: Any) -> Any:
    """What `coded` was given. Raises `ValueError` for what it never gives."""
    if not isinstance(value, dict):
        return value
    try:
        ((kind, text),) = value.items()
        return _DECODERS[kind](text)
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError("not a value of a key") from error


def is_set(flag: Any) -> bool:
    """Whether a flag such as `deleted` says yes: a moment does, as many tables have `deleted_at`."""
    return flag is not None and rendered(flag).strip().lower() not in _FALSE


def readers(value: Any) -> list[str]:
    """Labels: a list (an array, a JSON list), or a line with commas."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            pass
    parts = value if isinstance(value, list | tuple | set | frozenset) else rendered(value).split(",")
    return sorted({name for part in parts if (name := rendered(part).strip())})


def seconds(value: Any) -> float | None:
    """A moment as seconds since 1970; None if it is none. One without a zone is taken for UTC.

    Numbers are seconds, or thousandths or millionths of them where they are too large for that.
    """
    match value:
        case bool() | None:
            return None
        case int() | float() | Decimal():
            return float(value) / _unit(value)
        case str():
            found = _moment(value)
            return None if found is None else seconds(found)
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return None


def earlier(value: Any, by: float) -> Any:
    """A value that compares, in the database, as at least `by` seconds before `value`; None if there is no telling."""
    match value:
        case bool() | None:
            return None
        case int() | float() | Decimal():
            return value - math.ceil(by * _unit(value))
        case datetime():
            return value - timedelta(seconds=by)
        case date():
            return value - timedelta(days=math.ceil(by / _DAY))
        case str() if found := _moment(value):
            # Cut to whole seconds and without its zone: the beginning of a text comes before the text.
            text = (found - timedelta(seconds=by)).isoformat(sep=value[10] if len(value) > 10 else " ")[:19]
            return text if len(value) > 10 else text[:10]
    return None


def granule(value: Any) -> int:
    """The seconds within which two changes may leave the same moment: a day, a second, 0 for less than that."""
    if isinstance(value, str) and len(value) == 10:
        return _DAY
    if isinstance(value, date) and not isinstance(value, datetime):
        return _DAY
    found = seconds(value)
    return 1 if found is not None and found == int(found) else 0


def until(now: Any, value: Any) -> Any:
    """`value`, or one like it that is not ahead of `now`; None if there is no telling.

    What has no zone may be ahead by a day: it may be the time of anywhere.
    """
    found, moment = seconds(value), seconds(now)
    if found is None or moment is None:
        return value
    zoned = isinstance(value, int | float | Decimal) or (isinstance(value, datetime) and value.tzinfo is not None)
    ahead = found - moment
    return value if ahead <= (0 if zoned else _DAY) else earlier(value, ahead + (0 if zoned else _DAY))


def _unit(value: Any) -> int:
    """How many of the units in which a number counts time make a second."""
    return 1_000_000 if abs(value) > 1e14 else 1_000 if abs(value) > 1e11 else 1


def _moment(text: str) -> datetime | None:
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
