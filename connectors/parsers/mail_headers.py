"""Headers of messages, read without trust: any length, any bytes, any charset.

The library's own header objects are not used: they take minutes for a header of a megabyte, and raise on some.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_to_datetime

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import one_line

_LONGEST = 8_000
_FOLD = re.compile(r"\r?\n[ \t]")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")


def header(message: Message, name: str) -> str:
    """One line of words, "" where there is none. Of a header that stands twice the first counts."""
    for key, raw in message.raw_items():
        if key.lower() == name:
            return one_line(decoded(str(raw)[:_LONGEST]))
    return ""


def decoded(raw: str) -> str:
    """Encoded words in words; raw bytes beyond ASCII by their likely charset."""
    raw = _BETWEEN_WORDS.sub(r"\1\2", _FOLD.sub(" ", raw))
    if "=?" not in raw:
        return _words(raw.encode("utf-8", "surrogateescape"), "")
    try:
        pieces = decode_header(raw)
    except (HeaderParseError, ValueError, LookupError):  # not base64 after all
        return _words(raw.encode("utf-8", "surrogateescape"), "")
    said = []
    for piece, charset in pieces:
        binary = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogateescape")
        said.append(_words(binary, charset or ""))
    return "".join(said)


def written(message: Message) -> str:
    """The date in ISO 8601 in its own time zone, "" for one that makes no sense."""
    try:
        return parsedate_to_datetime(header(message, "date")).isoformat()
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


def _words(binary: bytes, charset: str) -> str:
    found = decode(binary, charset)
    return binary.decode("latin-1") if found is None else found.text
