"""Text put together block by block, with its headings and pages: for files that are not one running text."""

from __future__ import annotations

from penstock.connectors.parsers.flow import Flow
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, one_line, tidy
from penstock.connectors.types import HeadingSpan, PageSpan

MOST_TEXT = 64_000_000
"""Characters. What holds more is refused while it is read, and not when memory ends."""

MOST_HEADINGS = 100_000
"""Further ones are text like any other: a file of a million named records stays readable."""

Path = tuple[str, ...]


class Sections:
    """Blocks are set off by blank lines, lines by line ends.

    Whatever writes raises `Unparsable` (`too_large`) past `most` characters.
    """

    def __init__(self, most: int = MOST_TEXT) -> None:
        self._flow = Flow()
        self._most = self._left = most
        self._above: list[tuple[int, str]] = []
        self._marks: list[tuple[int, Path]] = []
        self._pages: list[tuple[int, int]] = []
        self._turn: Path | None = None  # noted when text follows: a mark without text would leave blanks at the end
        self._page = 0
        self.title = ""
        """The first heading."""

    @property
    def path(self) -> Path:
        """The headings above, outermost first."""
        return tuple(title for _, title in self._above)

    def heading(self, level: int, title: str, text: str | None = None) -> None:
        """A block of its own, `text` or else `title`; what follows stands under it. An empty title makes none."""
        said = one_line(title)
        self.gap()
        if said:
            self.leave(level)
            self._above.append((level, said))
            self._turn = self.path
            self.title = self.title or said
        self._write(said if text is None else text)
        self.gap()

    def leave(self, level: int) -> None:
        """What follows stands under no heading of `level` or further in."""
        while self._above and self._above[-1][0] >= level:
            self._above.pop()
        self._turn = self.path
        self.gap()

    def page(self, number: int) -> None:
        """What follows, up to the next call, stands on this page."""
        self._page = number
        self.gap()

    def gap(self) -> None:
        """What follows is set off by a blank line."""
        self._flow.block(2)

    def line(self, text: str) -> None:
        """Text on a line of its own."""
        self._flow.block(1)
        self._write(text)
        self._flow.block(1)

    def paragraph(self, text: str) -> None:
        """Text set off by blank lines."""
        self.gap()
        self._write(text.strip("\n"))
        self.gap()

    def adopt(self, parsed: Parsed) -> None:
        """Another document's text, its headings beneath those above; its pages are dropped."""
        text, inside = parsed.text, 0
        if not text:
            return
        self.gap()
        start = self._begin()
        for span in parsed.headings:
            if span.start > inside:
                self._marks.append((start + inside, self.path))
            self._marks.append((start + span.start, self.path + span.path))
            inside = span.end
        if parsed.headings and inside < len(text):
            self._marks.append((start + inside, self.path))
        self._write(text)
        self._turn = self.path
        self.gap()

    def parsed(self, *, title: str = "", metadata: dict[str, str] | None = None) -> Parsed:
        """The whole. `title` defaults to the first heading."""
        text = self._flow.text()
        return Parsed(
            text=text,
            title=described(title=title).get("title", "") or self.title,
            pages=_page_spans(self._pages, text),
            headings=_heading_spans(self._marks, len(text)),
            metadata=metadata or {},
        )

    def _write(self, text: str) -> None:
        text = tidy(text)
        self._left -= len(text) + 1
        if self._left < 0:
            raise Unparsable("too_large", f"it holds more than {self._most} characters of text")
        if text:
            self._begin()
            self._flow.verbatim(text)

    def _begin(self) -> int:
        """Where the next text begins; what was owed to it is noted."""
        start = self._flow.settle()
        if self._turn is not None:
            self._marks.append((start, self._turn))
            self._turn = None
        if self._page:
            self._pages.append((start, self._page))
            self._page = 0
        return start


def _heading_spans(marks: list[tuple[int, Path]], length: int) -> tuple[HeadingSpan, ...]:
    """Each mark holds up to the next one; of several at one place the last holds."""
    found: list[HeadingSpan] = []
    last = dict(marks)
    starts = list(last)
    for start, end in zip(starts, [*starts[1:], length], strict=False):
        path = last[start]
        if found and found[-1].path == path and found[-1].end == start:
            start = found.pop().start
        if path and end > start:
            found.append(HeadingSpan(start=start, end=end, path=path))
    return tuple(found[:MOST_HEADINGS])


def _page_spans(pages: list[tuple[int, int]], text: str) -> tuple[PageSpan, ...]:
    """A page ends with the last of its characters that is no white space."""
    ends = [*(start for start, _ in pages[1:]), len(text)]
    found = []
    for (start, number), end in zip(pages, ends, strict=False):
        length = len(text[start:end].rstrip())
        if length:
            found.append(PageSpan(start=start, end=start + length, page=number))
    return tuple(found)
