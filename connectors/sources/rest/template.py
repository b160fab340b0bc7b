"""A small language that makes text of JSON: values, loops, conditions, and nothing that could run for long.

    {subject}                                     a value, by its path (see `fields`)
    {description|raw}                             without escaping, where the format escapes (html, addresses)
    {for note in journals} {note.user.name} {end}     once for each element; outer names stay in reach
    {if assigned_to} … {else} … {end}, {if not …}     whether something that says yes stands there
    {{ and }}                                     braces

Filters, after a bar: `raw`, `date` (2024-01-31T12:00:00Z), `line` (white space folded), `lines` (line breaks kept in
html), `base64` (decoded). A tag that is alone on its line takes the line with it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from penstock.connectors.sources.rest.dates import iso, moment
from penstock.connectors.sources.rest.fields import Key, Step, elements, every, is_set, text_of
from penstock.connectors.sources.rest.grammar import Loop, Node, Text, Value, When, compiled

_MOST_STEPS = 1_000_000


class TooMuch(Exception):
    """The text grew beyond the limit, or the loops did."""


def render(
    template: str,
    value: Any,
    *,
    escape: Callable[[str], str] | None = None,
    zone: tzinfo = UTC,
    date_format: str = "",
    limit: int = 1 << 20,
) -> str:
    """The text that `template` makes of `value`; the same for the same. Raises `TooMuch` beyond `limit` characters."""
    work = _Rendering(escape, zone, date_format, limit, [])
    work.run(compiled(template), value, {})
    return "".join(work.out)


@dataclass(slots=True)
class _Rendering:
    escape: Callable[[str], str] | None
    zone: tzinfo
    date_format: str
    limit: int
    out: list[str]
    size: int = 0
    steps: int = 0

    def run(self, nodes: tuple[Node, ...], root: Any, scope: Mapping[str, Any]) -> None:
        for node in nodes:
            self.count()
            match node:
                case Text(text):
                    self.add(text)
                case Value(path, filters):
                    self.add(self.shown(self.found(path, root, scope), filters))
                case When(path, negated, body, otherwise):
                    said = any(is_set(each) for each in self.found(path, root, scope))
                    self.run(body if said != negated else otherwise, root, scope)
                case Loop(name, path, body):
                    for each in _look(path, root, scope, elements):
                        self.count()
                        self.run(body, root, {**scope, name: each})

    def found(self, path: tuple[Step, ...], root: Any, scope: Mapping[str, Any]) -> list[Any]:
        """What stands there. Each value is a step: within a loop, a long list is looked through again and again."""
        values = _look(path, root, scope, every)
        self.count(len(values))
        return values

    def count(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise TooMuch(f"its loops take more than {_MOST_STEPS} steps")

    def add(self, text: str) -> None:
        self.out.append(text)
        self.size += len(text)
        if self.size > self.limit:
            raise TooMuch(f"its text is longer than {self.limit} characters")

    def shown(self, values: list[Any], filters: tuple[str, ...]) -> str:
        if "date" in filters:
            values = [self.dated(each) for each in values]
        text = ", ".join(filter(None, (text_of(each) for each in values)))
        if "base64" in filters:
            text = _decoded(text)
        if "line" in filters:
            text = " ".join(text.split())
        if self.escape and "raw" not in filters:
            text = self.escape(text)
            if "lines" in filters:
                text = text.replace("\n", "<br>\n")
        return text

    def dated(self, value: Any) -> Any:
        found = moment(value, self.zone, self.date_format)
        try:
            return iso(found.seconds) if found else value
        except (ValueError, OverflowError):
            return value


def _look(
    path: tuple[Step, ...], root: Any, scope: Mapping[str, Any], how: Callable[[Any, tuple[Step, ...]], list[Any]]
) -> list[Any]:
    """What stands at `path`: in the loop that gave its first name, else in the whole."""
    if path and isinstance(path[0], Key) and path[0].name in scope:
        return how(scope[path[0].name], path[1:])
    return how(root, path)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
