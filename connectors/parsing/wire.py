"""What the pool and a parser process say to each other: length, then msgpack.

The process says `Ready` once, then for each `Ask` one `Begun` and one `Verdict`. `Begun` comes before the
parser touches the bytes, so that a parser which is killed is still told apart by content.
"""

from __future__ import annotations

import struct

import msgspec

from penstock.connectors.types import Failed, HeadingSpan, PageSpan

LENGTH = struct.Struct("!I")


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A file to parse; names are bytes because file names need not be text."""

    path: bytes
    name: str
    max_bytes: int
    max_text: int
    cpu_seconds: float
    resolved: bool = False
    """The path holds no link; if it leads elsewhere by now, somebody changed it."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The process has started and takes questions."""


class Begun(msgspec.Struct, frozen=True, array_like=True, tag="begun"):
    """The file has been read, and is of this kind."""

    kind: str
    content: str
    version: str


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """The file became a document."""

    text: str
    title: str
    pages: tuple[PageSpan, ...]
    headings: tuple[HeadingSpan, ...]
    metadata: dict[str, str]
    kind: str = ""
    """What it was parsed as in the end; empty for what `Begun` says."""
    cpu: float = 0.0
    """Seconds of processor time that it took."""


class Unfit(msgspec.Struct, frozen=True, array_like=True, tag="unfit"):
    """The file cannot become a document. `last` means that the process ends itself after this."""

    reason: str
    detail: str
    last: bool = False
    kind: str = ""


class Trouble(msgspec.Struct, frozen=True, array_like=True, tag="trouble"):
    """Something was in the way."""

    failed: Failed


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="gone"):
    """There is no such file."""


Verdict = Text | Unfit | Trouble | Gone
Message = Ready | Begun | Text | Unfit | Trouble | Gone


def packed(message: msgspec.Struct) -> bytes:
    """One frame."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
