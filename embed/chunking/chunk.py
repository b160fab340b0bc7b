"""Cut a document into chunks that fit the model, on the model's own tokens.

Nothing is dropped and nothing is truncated: every character that is not whitespace lies in a chunk, and every
chunk's ids are what the tokenizer makes of its text, at most `size` of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from penstock.embed.chunking.boundaries import HEADING, Boundaries
from penstock.embed.tokenize import Span, Tokenizer
from penstock.embed.types import Chunk

VERSION = "1"  # raise it when the same text would be cut in other places: it is part of a space's identity
DEFAULT_OVERLAP = 32
_PIECE = 1 << 16  # characters tokenised at once: bounds the tokenizer's own memory on huge documents
_CHARS_PER_TOKEN = 64  # a chunk of more characters than this for each of its tokens is not prose: cut it
_SAFE = frozenset(" \t\n\r\u00a0")  # whitespace for every tokenizer; others are control characters to some
_SMALLEST = 8  # tokens of content below which one character might not fit


def chunk(
    text: str,
    *,
    tokenizer: Tokenizer,
    pages: Sequence[tuple[int, int, int]] = (),
    headings: Sequence[tuple[int, int, tuple[str, ...]]] = (),
    size: int | None = None,
    overlap: int | None = None,
) -> list[Chunk]:
    """Chunks of `text` in order of their start; [] when it has nothing but whitespace.

    `size` (the model's maximum by default) is in tokens, specials and prompt included. `overlap`
    (`default_overlap(size)` by default) is the most tokens that a chunk repeats of the one before. `pages` are
    (start, end, page) and `headings` (start, end, path), sorted, in characters.

    A cut falls where the text allows it: before a heading, else after a paragraph, a sentence, a word. A word
    that is too long for the tokenizer's vocabulary is cut by characters, so that the model sees it. Linear in
    the text. Raises ValueError for a size or overlap that cannot work.
    """
    size = tokenizer.max_tokens if size is None else size
    overlap = default_overlap(size) if overlap is None else overlap
    room = size - tokenizer.overhead
    if room < _SMALLEST or size > tokenizer.max_tokens:
        low = tokenizer.overhead + _SMALLEST
        raise ValueError(f"chunks of {size} tokens: this model takes {low} to {tokenizer.max_tokens}")
    most = min(size // 2, room - 1)
    if not 0 <= overlap <= most:
        raise ValueError(f"an overlap of {overlap} tokens: 0 to {most} with chunks of {size}")
    span = _tokens(text, tokenizer)
    starts = [start for start, _, _ in headings]
    cuts = _plan(span, Boundaries(text, span, starts), room, overlap, tokenizer.word_limit)
    fitter = _Fitter(text, span, tokenizer, size)
    places = _Places(pages, headings)
    return [places.mark(piece) for first, last in cuts for piece in fitter.fit(first, last)]


def default_overlap(size: int) -> int:
    """Tokens of overlap for chunks of `size` tokens when nobody says: an eighth, at most `DEFAULT_OVERLAP`."""
    return min(DEFAULT_OVERLAP, size // 8)


def _tokens(text: str, tokenizer: Tokenizer) -> Span:
    """Tokens of the whole text, tokenised in pieces that end at whitespace where there is any."""
    spans, at = [], 0
    while at < len(text):
        end = min(at + _PIECE, len(text))
        if end < len(text):
            end = max(text.rfind(mark, at + _PIECE // 2, end) for mark in ("\n", " ")) + 1 or end
        part = tokenizer.span(text[at:end])
        spans.append(Span(part.ids, part.starts + at, part.ends + at))
        at = end
    if not spans:
        return tokenizer.span("")
    return Span(*(np.concatenate([span[k] for span in spans]) for k in range(3)))


def _plan(
    span: Span, boundaries: Boundaries, room: int, overlap: int, word_limit: int | None
) -> Iterator[tuple[int, int]]:
    """Token ranges [first, last) in order, each of at most `room` tokens; a word beyond the limit stands alone."""
    count = len(span.ids)
    lengths = span.ends - span.starts
    long = [] if word_limit is None else np.flatnonzero(lengths > word_limit).tolist()
    first = reached = floor = 0  # tokens before `reached` are in a chunk already; no overlap goes below `floor`
    if not count:
        yield 0, 0
    while reached < count:
        at = bisect_left(long, reached)
        stop = min(long[at], count) if at < len(long) else count
        if stop == reached:
            yield reached, reached + 1
            first = reached = floor = reached + 1
            continue
        last, level = boundaries.cut(first, reached, min(first + room, stop), stop)
        yield first, last
        reached = last
        first = last if level == HEADING else max(floor, boundaries.back(last, overlap))


class _Fitter:
    """Turns a token range into chunks whose ids are what the tokenizer makes of their text."""

    def __init__(self, text: str, span: Span, tokenizer: Tokenizer, size: int) -> None:
        self._text, self._span, self._tokenizer, self._size = text, span, tokenizer, size
        self._widest = size * _CHARS_PER_TOKEN

    def fit(self, first: int, last: int) -> Iterator[Chunk]:
        """Chunks of tokens [first, last) with the characters around them that no token covers."""
        starts, ends = self._span.starts, self._span.ends
        start = int(starts[first]) if first else 0
        end = int(starts[last]) if last < len(starts) else len(self._text)
        limit = self._tokenizer.word_limit
        if limit is not None and last == first + 1 and int(ends[first] - starts[first]) > limit:
            yield from self._word(start, end, limit)
            return
        start, end = self._strip(start, end)
        if self._tokenizer.sliceable and end - start <= self._widest and self._clear(start) and self._clear(end):
            if start < end:
                ids = tuple(self._span.ids[first:last].tolist())
                yield self._chunk(start, end, self._tokenizer.prefix + ids + self._tokenizer.suffix)
        else:
            yield from self._by_text(start, end)

    def _clear(self, at: int) -> bool:
        """Whether a word cannot reach across position `at`, whoever tokenises."""
        text = self._text
        if at in (0, len(text)):
            return True
        return text[at - 1] in _SAFE or text[at] in _SAFE

    def _word(self, start: int, end: int, limit: int) -> Iterator[Chunk]:
        """A word that would be one unknown token, in pieces that are not."""
        width = self._tokenizer.width(self._text[start:end])
        step = max(1, limit * (end - start) // max(width, end - start))
        for at in range(start, end, step):
            yield from self._by_text(at, min(at + step, end))

    def _by_text(self, start: int, end: int) -> Iterator[Chunk]:
        """Tokenise again what cannot be sliced, in halves until each fits."""
        pending = [(start, end)]
        while pending:
            start, end = self._strip(*pending.pop())
            if start == end:
                continue
            if end - start <= self._widest:
                ids = self._tokenizer.encode(self._text[start:end])
                if len(ids) <= self._size:
                    yield self._chunk(start, end, ids)
                    continue
                if end - start == 1:
                    raise ValueError(f"chunks of {self._size} tokens: too few for {self._text[start]!r}")
            middle = self._middle(start, end)
            pending += [(middle, end), (start, middle)]

    def _middle(self, start: int, end: int) -> int:
        """A position strictly inside, after a space if one lies in the second quarter."""
        half = (start + end) // 2
        space = self._text.rfind(" ", max(start + 1, (start + half) // 2), half)
        return space + 1 if space > start else max(half, start + 1)

    def _strip(self, start: int, end: int) -> tuple[int, int]:
        text = self._text
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        return start, end

    def _chunk(self, start: int, end: int, ids: tuple[int, ...]) -> Chunk:
        return Chunk(start=start, end=end, text=self._text[start:end], ids=ids)


class _Places:
    """Where a chunk stands: the page and the heading path at its first character."""

    def __init__(
        self, pages: Sequence[tuple[int, int, int]], headings: Sequence[tuple[int, int, tuple[str, ...]]]
    ) -> None:
        self._pages, self._page_starts = pages, [page[0] for page in pages]
        self._headings, self._heading_starts = headings, [heading[0] for heading in headings]

    def mark(self, piece: Chunk) -> Chunk:
        page = bisect_right(self._page_starts, piece.start) - 1
        heading = bisect_right(self._heading_starts, piece.start) - 1
        on_page = page >= 0 and piece.start < self._pages[page][1]
        under = heading >= 0 and piece.start < self._headings[heading][1]
        if not on_page and not under:
            return piece
        return Chunk(
            start=piece.start,
            end=piece.end,
            text=piece.text,
            ids=piece.ids,
            page=self._pages[page][2] if on_page else None,
            heading=tuple(self._headings[heading][2]) if under else (),
        )
