"""JSON values as text for people: `path: value` lines, and a heading for each record that has a name.

Values come as `loads` makes them: objects as `Pairs`, so that no duplicate key is lost; numbers as the file spells
them, so that none is rounded and none is too long. Everything here walks with a stack of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from penstock.connectors.parsers.parsed import Unparsable, one_line
from penstock.connectors.parsers.sections import Sections

DEEPEST = 200
"""Objects and arrays in one another. Beyond, the paths alone would be longer than what they lead to."""

_NAMES = ("title", "name", "subject", "headline", "label", "summary", "id", "key")
_RANKS = {name: rank for rank, name in enumerate(_NAMES)}
_LONGEST_TITLE = 200
_LONGEST_LIST = 400
_BLOB = 512


class Pairs(list[tuple[str, Any]]):
    """The members of an object, in their order."""


class _Figure(str):
    """A number, as the file spells it."""

    __slots__ = ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_int=_Figure, parse_float=_Figure, parse_constant=_Figure, strict=False
)


def loads(text: str) -> Any:
    """Raises `ValueError` for what is not JSON, `Unparsable` (`damaged`) for what is nested too deeply."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise Unparsable("damaged", "its objects and arrays are nested too deeply") from error


class RecordWriter:
    """Writes values one after the other as sections of their own."""

    def __init__(self, out: Sections) -> None:
        self._out = out
        self.blobs = 0
        """Strings left out because they hold no words (pictures in base64 and the like)."""

    def write(self, value: Any, *, record: bool = False) -> None:
        """One value, as a `record` under its own name if it has one. Raises `Unparsable` (`damaged`, `too_large`)."""
        if record:
            self._out.leave(1)
        steps = [self._steps(value, "", 1, 0, record=record)]
        while steps:
            inner = next(steps[-1], None)
            if inner is None:
                steps.pop()
            else:
                steps.append(inner)

    def _steps(self, value: Any, path: str, level: int, depth: int, *, record: bool = False) -> Iterator[Iterator[Any]]:
        """Writes the value; what lies further in is yielded, to be written before it goes on."""
        if depth > DEEPEST:
            raise Unparsable("damaged", f"its objects and arrays are nested more than {DEEPEST} deep")
        if isinstance(value, Pairs):
            name = _name(value) if record else None
            if name is not None:
                key, title = value[name]
                self._out.heading(level, title, f"{one_line(key)}: {one_line(title)}")
                path, level = "", level + 1
            yield from self._object(value, name, path, level, depth)
        elif isinstance(value, list):
            yield from self._array(value, path, level, depth)
        else:
            self._scalar(path, value)

    def _object(self, pairs: Pairs, name: int | None, path: str, level: int, depth: int) -> Iterator[Iterator[Any]]:
        """Plain members first: they say what the rest belongs to. The one at `name` has been said."""
        for at, (key, value) in enumerate(pairs):
            if at != name and not isinstance(value, list):
                self._scalar(_joined(path, key), value)
        for key, value in pairs:
            if isinstance(value, list):
                yield self._steps(value, _joined(path, key), level, depth + 1)

    def _array(self, values: list[Any], path: str, level: int, depth: int) -> Iterator[Iterator[Any]]:
        if not any(isinstance(value, list) for value in values):
            self._list(path, values)
            return
        named = any(isinstance(value, Pairs) and _name(value) is not None for value in values)
        if named and path:
            self._out.heading(level, path)
            level += 1
        for at, value in enumerate(values):
            self._out.leave(level)
            loose = isinstance(value, Pairs) and (named or not path)
            yield self._steps(value, "" if loose else f"{path}[{at}]", level, depth + 1, record=True)
        self._out.leave(level - 1 if named and path else level)

    def _list(self, path: str, values: list[Any]) -> None:
        """Plain values in one line where they are short; a text cut into its lines is put together again."""
        said = [text for value in values if (text := self._said(value))]
        if len(said) > 1 and all(text.endswith("\n") for text in said[:-1]):
            self._scalar(path, "".join(said))
        elif sum(map(len, said)) <= _LONGEST_LIST and not any("\n" in text for text in said):
            self._scalar(path, ", ".join(said))
        else:
            for text in said:
                self._scalar(path, text)

    def _scalar(self, path: str, value: Any) -> None:
        text = self._said(value).strip("\n")
        if not text.strip():
            return
        label = f"{path}: " if path else ""
        if "\n" in text:
            self._out.paragraph(f"{label.rstrip(' ')}\n{text}" if label else text)
        else:
            self._out.line(label + text)

    def _said(self, value: Any) -> str:
        """A plain value in words; "" for null and for what holds no words."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None:
            return ""
        text = str(value)
        if len(text) > _BLOB and not isinstance(value, _Figure) and _is_blob(text):
            self.blobs += 1
            return ""
        return text


def title_of(value: Any) -> str:
    """What a record calls itself, "" if it has no name."""
    at = _name(value) if isinstance(value, Pairs) else None
    return "" if at is None else one_line(value[at][1])


def _name(pairs: Pairs) -> int | None:
    """The member that names the record, by the first of `_NAMES` that it has."""
    best, found = len(_NAMES), None
    for at, (key, value) in enumerate(pairs):
        rank = _RANKS.get(key.lower(), best)
        if rank < best and isinstance(value, str) and len(value) <= _LONGEST_TITLE and one_line(value):
            best, found = rank, at
    return found


@lru_cache(4096)  # the same few keys come in every record
def _joined(path: str, key: str) -> str:
    return f"{path}.{one_line(key)}" if path else one_line(key)


def _is_blob(text: str) -> bool:
    """Hundreds of letters, digits and marks in plain ASCII without a space: no language is written like that."""
    head = text[:4096].replace("\n", "")
    return head.isascii() and " " not in head and not head.startswith(("http://", "https://"))
