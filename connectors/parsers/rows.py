"""Rows of a table as lines that can be understood alone.

Each line carries the names of its columns (`Name: Ada | Born: 1815`): a chunk is cut out of the middle of a
table, where the header is far away, and a row of bare values means nothing to an embedding model or a reader.
Where no header can be made out, cells are set off by tabs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice

from penstock.connectors.parsers.sections import Sections

Row = dict[int, str]
"""Cells by column from 0, without the empty ones."""

_AHEAD = 30
_HEADER_WITHIN = 5
_LONGEST_NAME = 100
_LONG_ROW = 400
_FIGURE = re.compile(
    r"[-+(]?[\d.,'\s%€$£¥)]*\d[\d.,'\s%€$£¥)]*(?:e[-+]?\d+)?"
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|true|false|\d{1,2}:\d\d.*|#\S+",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")


def cells(values: Iterable[tuple[int, str]]) -> Row:
    """A row of stripped cells, the empty ones left out."""
    stripped = ((column, value.strip()) for column, value in values)
    return {column: value for column, value in stripped if value}


class TableWriter:
    """Writes rows as they come. An empty row ends a table; what follows it may have a header of its own."""

    def __init__(self, out: Sections) -> None:
        self._out = out
        self._header: Row = {}
        self._unused: Row = {}
        self.rows = 0
        """Rows written, headers not counted."""
        self.columns: list[str] = []
        """The column names of the first header."""

    def write(self, rows: Iterable[Row]) -> None:
        """Raises `Unparsable` (`too_large`)."""
        for filled, table in groupby(rows, bool):
            if filled:
                self._table(table)
                self._out.gap()

    def _table(self, rows: Iterator[Row]) -> None:
        head = list(islice(rows, _AHEAD))
        at = _header_at(head, strict=self.rows > 0)
        if at is not None:
            for row in head[:at]:
                self._plain(row)
            self._out.gap()
            self._header = {column: " ".join(name.split()) for column, name in head[at].items()}
            self._unused = dict(self._header)
            self.columns = self.columns or list(self._header.values())
            head = head[at + 1 :]
        elif not head[0].keys() <= self._header.keys():
            self._header = {}  # a table of another shape
        for row in chain(head, rows):
            if self._header and row != self._header:
                self._named(row)
            elif not self._header:
                self._plain(row)
        if self._unused:  # nothing is lost: the name of a column says what a file is about
            self._out.line(f"Columns without values: {', '.join(self._unused.values())}")
            self._unused = {}

    def _plain(self, row: Row) -> None:
        self.rows += 1
        self._out.line("\t".join(" ".join(value.split()) for value in row.values()))

    def _named(self, row: Row) -> None:
        self.rows += 1
        for column in row.keys() & self._unused.keys():
            del self._unused[column]
        named = [f"{name}: {value}" if (name := self._header.get(at)) else value for at, value in row.items()]
        if sum(map(len, named)) > _LONG_ROW or any("\n" in value for value in named):
            self._out.gap()
            for value in named:
                self._out.line(value)
            self._out.gap()
        else:
            self._out.line(" | ".join(named))


def _header_at(head: list[Row], *, strict: bool) -> int | None:
    """The first row that reads like column names. Not at the very top, only figures below words are convincing."""
    for at, row in enumerate(head[:_HEADER_WITHIN]):
        below = [other for other in head[at + 1 :] if other != row]
        if _may_name(row, below) and (_contrasts(row, below) or (at == 0 and not strict)):
            return at
    return None


def _may_name(row: Row, below: list[Row]) -> bool:
    """Short, distinct words over at least half of the columns, and none that stands below as a value."""
    if len(row) < 2 or not below:
        return False
    names = [value.casefold() for value in row.values()]
    if len(set(names)) < len(names) or max(map(len, names)) > _LONGEST_NAME:
        return False
    wide = Counter(len(other) for other in below).most_common(1)[0][0]
    if len(row) * 2 < wide or not any(not _FIGURE.fullmatch(name) for name in names):
        return False
    return all(_names_column(value, [other.get(column, "") for other in below]) for column, value in row.items())


def _names_column(value: str, below: list[str]) -> bool:
    if value in below:
        return False
    if _YEAR.fullmatch(value):  # a column for each year is common; a column of years is not named by one
        return not any(_YEAR.fullmatch(other) for other in below)
    return not _FIGURE.fullmatch(value)


def _contrasts(row: Row, below: list[Row]) -> bool:
    for column in row:
        values = [other[column] for other in below if column in other]
        if values and sum(bool(_FIGURE.fullmatch(value)) for value in values) * 2 > len(values):
            return True
    return False
