"""CSV and its kin: the delimiter is found by what makes the rows equally wide, the header by what it looks like."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, one_line, tidy
from penstock.connectors.parsers.rows import Row, TableWriter, cells
from penstock.connectors.parsers.sections import Sections

DELIMITERS = ",;\t|"
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_JUDGED_ROWS = 100
_JUDGED = 1 << 18
_LONGEST_FIELD = 1 << 20


def parse(data: bytes, name: str) -> Parsed:
    """One line for each row, with the names of its columns where a header can be made out; ragged rows are kept.

    `metadata`: `rows`, `columns` (their names), `delimiter`, and `encoding` where it was not UTF-8.
    """
    decoded = decode(data)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    text = tidy(decoded.text)
    delimiter = delimiter_of(text)
    out = Sections()
    writer = TableWriter(out)
    writer.write(_rows(text, delimiter))
    plain = decoded.encoding in ("utf-8", "ascii")
    return out.parsed(
        metadata=described(
            rows=writer.rows,
            columns=one_line(", ".join(writer.columns)),
            delimiter=_NAMES.get(delimiter),
            encoding=None if plain else decoded.encoding,
        )
    )


def delimiter_of(text: str) -> str:
    """The delimiter that cuts the first rows into equally many cells, "" when none cuts them at all."""
    best = max(DELIMITERS, key=lambda each: regularity(text, each))
    return best if regularity(text, best) else ""


def regularity(text: str, delimiter: str) -> float:
    """0 when `delimiter` cuts nothing; else the share of rows of the commonest width, plus a little for width."""
    head = text[:_JUDGED]
    head = head if len(head) == len(text) else head[: head.rfind("\n") + 1] or head
    widths = Counter(len(row) for row in islice(_split(head, delimiter, csv.QUOTE_MINIMAL), _JUDGED_ROWS) if row)
    if not widths:
        return 0.0
    width, rows = widths.most_common(1)[0]
    wide = sum(count for each, count in widths.items() if each > 1)
    if width < 2:
        return 0.1 * wide / widths.total()
    return rows / widths.total() + min(width, 50) / 1000


def _rows(text: str, delimiter: str) -> Iterator[Row]:
    """A quote that opens a field and is never closed would swallow the rest: then quotes are taken as they stand."""
    quoting: Literal[0, 3] = csv.QUOTE_NONE if _swallows(text, delimiter) else csv.QUOTE_MINIMAL
    return (cells(enumerate(row)) for row in _split(text, delimiter, quoting))


def _swallows(text: str, delimiter: str) -> bool:
    last: list[str] = []
    for row in _split(text, delimiter, csv.QUOTE_MINIMAL):
        if any(len(value) > _LONGEST_FIELD and value.count("\n") > 100 for value in row):
            return True
        last = row
    return bool(last) and text.count('"') % 2 == 1 and last[-1].count("\n") > 1


def _split(text: str, delimiter: str, quoting: Literal[0, 3]) -> Iterator[list[str]]:
    csv.field_size_limit(max(len(text), _LONGEST_FIELD))  # process-wide: a parser has its process to itself
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=delimiter or ",", quoting=quoting, skipinitialspace=True)
