"""File names are bytes; a uri is text. Two forms: one for people and the index, one that maps back exactly."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes


def shown(path: str) -> str:
    """`path` as text that UTF-8 can carry: bytes that are none become `\\xNN`. Two names may look the same."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def quoted(path: str) -> str:
    """`path` in ASCII, byte for byte."""
    return quote_from_bytes(os.fsencode(path), safe="/")


def unquoted(locator: str) -> str:
    """The path that `quoted` was given."""
    return os.fsdecode(unquote_to_bytes(locator))
