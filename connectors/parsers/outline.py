"""Headings, as they are met while reading, turned into spans."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.connectors.parsers.parsed import one_line
from penstock.connectors.types import HeadingSpan


class Heading(msgspec.Struct, frozen=True):
    """A heading of `level` (smaller is further out) whose own text begins at character `start`."""

    start: int
    level: int
    title: str


def spans(headings: Sequence[Heading], length: int) -> tuple[HeadingSpan, ...]:
    """Spans from each heading up to the next one, or to `length`, with the path of headings above it.

    `headings` stand in order of `start`. The heading's own text belongs to its span. Text before the first
    heading has no span, and a heading without a title makes none.
    """
    found: list[HeadingSpan] = []
    above: list[Heading] = []
    titled = [heading for heading in headings if one_line(heading.title)]
    for at, heading in enumerate(titled):
        while above and above[-1].level >= heading.level:
            above.pop()
        above.append(heading)
        end = titled[at + 1].start if at + 1 < len(titled) else length
        if end > heading.start:
            path = tuple(one_line(each.title) for each in above)
            found.append(HeadingSpan(start=heading.start, end=end, path=path))
    return tuple(found)
