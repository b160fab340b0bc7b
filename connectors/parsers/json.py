"""JSON as `path: value` lines, records with a name under a heading of their own."""

from __future__ import annotations

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, tidy
from penstock.connectors.parsers.records import RecordWriter, loads, title_of
from penstock.connectors.parsers.sections import Sections


def parse(data: bytes, name: str) -> Parsed:
    """Strings decoded, numbers as they are spelt, duplicate keys kept; null and strings of base64 left out.

    `metadata`: `values_left_out` counts the latter. Raises `Unparsable`: `damaged` when it is not JSON or nested
    more than 200 deep, `no_text` when nothing but such values is in it, `too_large`.
    """
    decoded = decode(data)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    try:
        value = loads(decoded.text)
    except ValueError as error:
        raise Unparsable("damaged", f"{name} is not valid JSON: {error}") from error
    out = Sections()
    writer = RecordWriter(out)
    title = title_of(value)
    writer.write(value)
    parsed = out.parsed(title=title, metadata=described(values_left_out=writer.blobs or None))
    if not parsed.text and writer.blobs:
        raise Unparsable("no_text", f"{name} holds no words")
    if not parsed.text and any(char.isalnum() for char in decoded.text):
        return Parsed(text=tidy(decoded.text))  # names that lead to nothing are all that it says
    return parsed if title else Parsed(text=parsed.text, headings=parsed.headings, metadata=parsed.metadata)
