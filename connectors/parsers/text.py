"""Plain text in whatever encoding."""

from __future__ import annotations

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import Parsed, Unparsable, tidy


def parse(data: bytes, name: str) -> Parsed:
    """The text as it stands; the encoding, where it was not UTF-8, is told in the metadata."""
    decoded = decode(data)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    plain = decoded.encoding in ("utf-8", "ascii")
    return Parsed(text=tidy(decoded.text), metadata={} if plain else {"encoding": decoded.encoding})
