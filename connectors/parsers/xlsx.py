"""Excel workbooks by openpyxl, its one door: each sheet a page and a heading, each row a line.

Cells are read as the file holds them, one row at a time. openpyxl's own rows are padded to the size that a sheet
declares, which a file of 5 KB may put at 17 thousand million cells; the reader below looks at real cells alone.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.etree.ElementTree import iterparse

from openpyxl import load_workbook
from openpyxl.worksheet._reader import WorkSheetParser

from penstock.connectors.parsers.archive import check_office
from penstock.connectors.parsers.parsed import Parsed, described
from penstock.connectors.parsers.rows import Row, TableWriter, cells
from penstock.connectors.parsers.sections import Sections

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ROW, _DATA, _FORMULA, _VALUE = _MAIN + "row", _MAIN + "sheetData", _MAIN + "f", _MAIN + "v"


def parse(data: bytes, name: str) -> Parsed:
    """Values as last calculated; hidden sheets too. Figures and dates in one form, whatever the locale.

    Not read: charts, comments, headers and footers. `metadata`: `sheets`, `hidden_sheets`, `rows`,
    `formulas_without_value` (a program wrote the file and nothing has calculated it since). Raises `Unparsable`:
    as `check_office`, and `too_large`.
    """
    check_office(data, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on what openpyxl would lose in saving
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        try:
            return _book(book)
        finally:
            book.close()


def _book(book: Any) -> Parsed:
    out = Sections()
    rows, uncalculated, empty = 0, 0, []
    for number, sheet in enumerate(book.worksheets, 1):
        reader = _Sheet(sheet, book)
        lines = reader.rows()
        first = next((row for row in lines if row), None)
        if first is None:
            empty.append(sheet.title)
        else:
            out.page(number)
            out.heading(1, sheet.title)
            writer = TableWriter(out)
            writer.write(_after(first, lines))
            rows += writer.rows
        uncalculated += reader.uncalculated
    facts = book.properties
    hidden = [sheet.title for sheet in book.worksheets if sheet.sheet_state != "visible"]
    metadata = described(
        author=facts.creator if facts.creator != "openpyxl" else "",
        subject=facts.subject,
        keywords=facts.keywords,
        sheets=len(book.worksheets),
        empty_sheets=", ".join(empty),
        hidden_sheets=", ".join(hidden),
        rows=rows,
        formulas_without_value=uncalculated or None,
    )
    found = out.parsed(metadata=metadata)
    return Parsed(
        text=found.text,
        title=described(title=facts.title).get("title", ""),
        pages=found.pages,
        headings=found.headings,
        metadata=metadata,
    )


def _after(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


class _Sheet(WorkSheetParser):  # type: ignore[misc]
    """The real cells of a sheet, row by row; formulas that were never calculated are counted."""

    def __init__(self, sheet: Any, book: Any) -> None:
        super().__init__(
            None,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        self._sheet = sheet
        self._percent = _percent_styles(book)
        self.uncalculated = 0

    def rows(self) -> Iterator[Row]:
        """Rows in order, an empty one wherever one or more are missing or empty."""
        last = 0
        with self._sheet._get_source() as source:
            for _, element in iterparse(source):  # noqa: S314 - a part with entities was refused before
                if element.tag == _ROW:
                    number, found = self.parse_row(element)
                    element.clear()
                    row = cells((cell["column"], self._said(cell)) for cell in found)
                    if row and number > last + 1 > 1:
                        yield {}
                    if row:
                        last = number
                        yield row
                elif element.tag == _DATA:
                    return

    def parse_cell(self, element: Any) -> dict[str, Any]:
        if element.find(_FORMULA) is not None and not element.findtext(_VALUE):
            self.uncalculated += 1
        try:
            found: dict[str, Any] = super().parse_cell(element)
            return found
        except (ValueError, IndexError, OverflowError):  # one cell that makes no sense costs itself
            return {"column": self.col_counter, "value": element.findtext(_VALUE), "style_id": 0}

    def _said(self, cell: dict[str, Any]) -> str:
        value = cell["value"]
        if isinstance(value, int | float) and not isinstance(value, bool) and cell["style_id"] in self._percent:
            return f"{value * 100:.12g}%"
        return said(value)


def _percent_styles(book: Any) -> set[int]:
    """Styles whose figures are shown in percent: 0.25 is 25% to whoever reads the sheet."""
    custom = {164 + at: code for at, code in enumerate(book._number_formats)}
    codes = {9: "%", 10: "%", **custom}
    return {
        at for at, style in enumerate(book._cell_styles) if codes.get(style.numFmtId, "").split(";")[0].endswith("%")
    }


def said(value: object) -> str:
    """A cell's value, the same on every machine: ISO dates, fifteen significant digits as Excel itself keeps."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
        case date():
            return value.isoformat()
        case time():
            return value.isoformat("seconds")
        case timedelta():
            seconds = round(value.total_seconds())
            sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
            return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        case _:
            return str(value)
