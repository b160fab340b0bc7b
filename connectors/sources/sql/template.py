"""Text made of columns: `{subject}`, `{subject:text}`; `{{` and `}}` are braces."""

from __future__ import annotations

import html
from collections.abc import Mapping
from string import Formatter
from typing import Any

from penstock.connectors.sources.sql.values import rendered


class Template:
    """Raises `ValueError`, one line, for what is no template. `columns`: those it needs, in order."""

    def __init__(self, text: str, *, markup: bool = False) -> None:
        """With `markup`, a column written `{name:text}` holds plain text and is escaped for HTML."""
        self._parts: list[tuple[str, str, bool]] = []
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{error}; write {{column}}, and {{{{ for a brace") from None
        for literal, column, spec, conversion in parts:
            if column is not None and (not column or conversion or spec not in ("", "text")):
                raise ValueError("between braces stands a column's name, or its name and :text; {{ is a brace")
            self._parts.append((literal, column or "", markup and spec == "text"))
        self.columns = tuple(dict.fromkeys(column for _, column, _ in self._parts if column))

    def fill(self, row: Mapping[str, Any]) -> str:
        """The text for one row."""
        found = []
        for literal, column, escaped in self._parts:
            value = rendered(row[column]) if column else ""
            found.append(literal + (html.escape(value) if escaped else value))
        return "".join(found)
