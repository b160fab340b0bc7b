"""What a parser makes of bytes, before the file's own identity is added to it."""

from __future__ import annotations

import re

import msgspec

from penstock.connectors.types import HeadingSpan, PageSpan

_UNENCODABLE = re.compile("[\x00\ud800-\udfff]")
_TITLE_LIMIT = 300


class Parsed(msgspec.Struct, frozen=True):
    """Text and its spans; every offset counts characters of `text`, which can be encoded in UTF-8."""

    text: str
    title: str = ""
    pages: tuple[PageSpan, ...] = ()
    headings: tuple[HeadingSpan, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Unparsable(Exception):
    """The bytes cannot become a document. `reason` is a word of `reasons.REJECTIONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def tidy(text: str) -> str:
    """Text with `\\n` line ends and without what UTF-8 or a C string could not carry (NUL, lone surrogates).

    Call it before offsets are taken: it changes the length.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNENCODABLE.sub("", text)


def one_line(text: object) -> str:
    """A title or a metadata value: tidy, on one line, of bounded length."""
    return " ".join(tidy(str(text)).split())[:_TITLE_LIMIT]


def described(**values: object) -> dict[str, str]:
    """Metadata without the empty values."""
    lines = {key: one_line(value) for key, value in values.items() if value is not None}
    return {key: line for key, line in lines.items() if line}
