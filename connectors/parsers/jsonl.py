"""JSON Lines: a record on each line, each a block of `path: value` lines, under its name where it has one."""

from __future__ import annotations

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described
from penstock.connectors.parsers.records import RecordWriter, loads
from penstock.connectors.parsers.sections import Sections

_SHOWN = 20


def parse(data: bytes, name: str) -> Parsed:
    """As JSON, record by record. A broken line (the last one of a file that is still written, often) costs itself.

    `metadata`: `records`, `lines_damaged` (their numbers), `values_left_out`. Raises `Unparsable`: `damaged` when
    no line can be read, `too_large`.
    """
    decoded = decode(data)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    out = Sections()
    writer = RecordWriter(out)
    records, damaged = 0, []
    for number, line in enumerate(decoded.text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = loads(line)
        except (ValueError, Unparsable):
            damaged.append(number)
            continue
        records += 1
        writer.write(value, record=True)
    if damaged and not records:
        raise Unparsable("damaged", f"no line of {name} is valid JSON")
    counts = described(records=records, lines_damaged=_numbers(damaged), values_left_out=writer.blobs or None)
    parsed = out.parsed()
    return Parsed(text=parsed.text, headings=parsed.headings, metadata=counts)


def _numbers(lines: list[int]) -> str:
    more = len(lines) - _SHOWN
    return ", ".join(map(str, lines[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
