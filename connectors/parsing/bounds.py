"""How much a parser may make of one file, and that its spans are what they claim."""

from __future__ import annotations

import msgspec

from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.types import HeadingSpan, PageSpan


class Misplaced(Exception):
    """What a parser or a transform returned is no document: its spans, its types or its characters."""


class Bounds(msgspec.Struct, frozen=True):
    """Limits for one file. `path_characters` bounds all heading paths together, `metadata_characters` all metadata."""

    text: int = 64_000_000
    spans: int = 200_000
    path_characters: int = 64_000_000
    metadata_characters: int = 64_000

    def check(self, parsed: object, name: str) -> Parsed:
        """`parsed`, if it is a document within the limits.

        Raises `Unparsable` (`too_large`, `empty`) and `Misplaced`.
        """
        if not isinstance(parsed, Parsed):
            raise Misplaced(f"a {type(parsed).__name__} in place of Parsed")
        sizes = (
            (len(parsed.text), self.text, "characters of text"),
            (max(len(parsed.pages), len(parsed.headings)), self.spans, "pages or headings"),
            (sum(len(step) for span in parsed.headings for step in span.path), self.path_characters, "of headings"),
            (sum(len(key) + len(said) for key, said in _lines(parsed)), self.metadata_characters, "of metadata"),
        )
        for size, limit, what in sizes:
            if size > limit:
                raise Unparsable("too_large", f"{name} holds {size} {what}, the limit is {limit}")
        _in_order(parsed.pages, len(parsed.text))
        _in_order(parsed.headings, len(parsed.text))
        if not parsed.text.strip():
            raise Unparsable("empty", f"{name} holds no text")
        return parsed


def _lines(parsed: Parsed) -> list[tuple[str, str]]:
    lines = [("title", parsed.title), *parsed.metadata.items()]
    if not all(isinstance(each, str) for line in lines for each in line):
        raise Misplaced("metadata that are no text")
    return lines


def _in_order(spans: tuple[PageSpan, ...] | tuple[HeadingSpan, ...], length: int) -> None:
    at = 0
    for span in spans:
        if not at <= span.start < span.end <= length:
            raise Misplaced(f"a span from {span.start} to {span.end}, after {at}, in {length} characters")
        at = span.end
