"""What a source lists and what a parser makes of it.

A bad item is a value (`Rejected`); only a bad run raises (`RetryLater`, `StopSource`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One entry that a source lists.

    `uri` is the document's name in the index: `SOURCE/relative/path`, stable when the source is re-bound.
    `locator` is what the source needs to fetch it and means nothing to anybody else.
    `version` is an opaque token: equal tokens mean that the content need not be fetched again.
    `size` is a hint in bytes; -1 when the source does not say.
    """

    uri: str
    locator: str
    version: str
    size: int = -1


class Gap(msgspec.Struct, frozen=True):
    """A part of the source that could not be listed: no deletion may be inferred below `uri_prefix`."""

    uri_prefix: str
    reason: str


class Fetched(msgspec.Struct, frozen=True):
    """An item's bytes, on local disk. `path` belongs to the source: read it, never move or delete it."""

    path: Path
    name: str
    """File name, a hint for parsers that cannot tell from content alone (Markdown against plain text)."""


class PageSpan(msgspec.Struct, frozen=True):
    """Characters [start, end) of `Document.text` stand on `page` (counted from 1)."""

    start: int
    end: int
    page: int


class HeadingSpan(msgspec.Struct, frozen=True):
    """Characters [start, end) stand under the heading path `path`, outermost first."""

    start: int
    end: int
    path: tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """An item fetched and parsed. Offsets count characters of `text`; spans are sorted and do not overlap."""

    text: str
    kind: str
    """`pdf`, `html`, `markdown`, `docx` or `text`."""
    content: str
    """sha256 of the bytes that were parsed, in hex."""
    version: str
    """The version token of the bytes that were parsed (it may be newer than the listed one)."""
    parser: str
    """Parser name and version: a rejected item is tried again when this changes."""
    title: str = ""
    pages: tuple[PageSpan, ...] = ()
    headings: tuple[HeadingSpan, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """An item that cannot become a document until its content or the parser changes."""

    reason: str
    """One word of the vocabulary in `connectors/parsing.py`."""
    detail: str
    content: str = ""
    version: str = ""
    parser: str = ""


class Failed(msgspec.Struct, frozen=True):
    """An item that may become a document later: nothing is wrong with it, something was in the way."""

    reason: str
    detail: str


class SourceError(Exception):
    """Base of what a source raises."""


class RetryLater(SourceError):
    """The item may work later. `after` is the wait in seconds that the source asked for, 0 if it did not."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class StopSource(SourceError):
    """Nothing more can be had from this source now (gone, credentials, contract). The message says what to do."""


class Source(Protocol):
    """A named place that documents come from.

    `list` may be repeated and is cheap; it yields items in any order, each uri at most once. Returning
    normally means that the listing is complete; deletions are inferred from nothing less. A part that
    could not be listed is yielded as a `Gap`. It raises `StopSource` if the source cannot be listed at all.

    `fetch` may be repeated. It raises `RetryLater` or `StopSource`, and `FileNotFoundError` if the item
    went away since it was listed.
    """

    name: str

    def list(self) -> Iterator[Item | Gap]: ...

    def fetch(self, item: Item) -> Fetched: ...
