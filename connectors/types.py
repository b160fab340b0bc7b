"""What a source lists and what a parser makes of it.

A bad item is a value (`Rejected`, `Failed`) by the time a run counts it; only a bad run raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One entry that a source lists.

    `uri` is the document's name in the index: `SOURCE/relative/path`, stable when the source is re-bound.
    `locator` is what the source needs to fetch it and means nothing to anybody else; it is kept in the index
    for documents that failed, so it holds no secret and nothing that expires.
    `version` is an opaque token: equal tokens mean that neither the content, nor the metadata, nor who may read
    it changed, so that it need not be fetched again. Never empty.
    `size` is a hint in bytes; -1 when the source does not say.
    `modified`: when the source says that it last changed, in seconds since 1970; None when it does not say.
    """

    uri: str
    locator: str
    version: str
    size: int = -1
    modified: float | None = None


class Gap(msgspec.Struct, frozen=True):
    """A part of the source that could not be listed: no deletion may be inferred below `uri_prefix`."""

    uri_prefix: str
    reason: str


class Gone(msgspec.Struct, frozen=True):
    """The changes feed says that this document is no longer there (deleted, or moved away)."""

    uri: str


class Mark(msgspec.Struct, frozen=True):
    """Where `changes` may go on after what was yielded before is accounted for. `cursor` means something to the
    source alone; the index keeps it, so it holds no secret."""

    cursor: str


class Fetched(msgspec.Struct, frozen=True):
    """An item's bytes, on local disk."""

    path: Path
    name: str
    """File name, a hint for parsers that cannot tell from content alone (Markdown against plain text)."""
    version: str = ""
    """The version token of exactly these bytes (it may be newer than the listed one). Empty for a file that lies
    where the source has it: then the parser takes the token from the file."""
    temporary: bool = False
    """True: made for this fetch, and whoever asked for it deletes it. False: it belongs to the source."""
    title: str = ""
    """What the source calls it; "" where it is for the parser to say."""
    url: str = ""
    """Where a person can read it; becomes the metadata key `url`."""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """Who may read it, as the source says; added to those of the configuration."""
    retries: int = 0
    """Requests that had to be repeated for it."""
    resolved: bool = False
    """True: `path` is absolute and no link was in it when it was looked at. Should one be there when it is opened, even
    in the place of a folder, then it is not read."""


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
    """What it was parsed as: a key of `parsing.pool.parser_names()`."""
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
    cpu: float = 0.0
    """Seconds of processor time that parsing took."""


class Rejected(msgspec.Struct, frozen=True):
    """An item that cannot become a document until its content or the parser changes."""

    reason: str
    """One word of the vocabulary in `connectors/parsing/pool.py`."""
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
    """The item may work later. `after` is the wait in seconds that the source asked for, 0 if it did not.

    `reason` is a word of `reasons.FAILURES`; `retries` is how often it was tried again before this.
    """

    def __init__(self, message: str, after: float = 0.0, *, reason: str = "unreachable", retries: int = 0) -> None:
        super().__init__(message)
        self.after = after
        self.reason = reason
        self.retries = retries


class RejectItem(SourceError):
    """The item cannot be had until it changes. `reason` is a word of `reasons.REJECTIONS`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StopSource(SourceError):
    """Nothing more can be had from this source now (gone, credentials, contract). The message says what to do.

    `after`: seconds until it may be worth trying again, None where only a person can help.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class CursorExpired(SourceError):
    """The changes feed no longer reaches back to this cursor: list everything."""


class Source(Protocol):
    """A named place that documents come from. All methods may be called from several threads at once.

    `list` may be repeated and is cheap; it yields items in any order, each uri at most once. Returning
    normally means that the listing is complete *and was stable while it was read*; deletions are inferred from
    nothing less. A part that could not be listed, or that shifted while it was read, is yielded as a `Gap`. It
    may yield one `Mark`, anywhere: the position, taken before the listing began, from which `changes` goes on.
    It raises `StopSource` or `RetryLater` if the source cannot be listed at all.

    `fetch` may be repeated. It raises `RetryLater`, `RejectItem` or `StopSource`, and `FileNotFoundError` if the
    item went away since it was listed.
    """

    name: str

    def list(self) -> Iterator[Item | Gap | Mark]: ...

    def fetch(self, item: Item) -> Fetched: ...


@runtime_checkable
class Incremental(Protocol):
    """A source with a changes feed: an accelerator, never the truth, so everything is listed now and then as well.

    `changes` yields what changed since `cursor` in any order (an item that did not change does no harm), what is
    gone, and last one `Mark`. Absence means nothing. Raises as `list` does, and `CursorExpired`.
    """

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]: ...
