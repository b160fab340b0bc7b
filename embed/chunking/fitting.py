"""Ranges of tokens become chunks whose ids are what the tokenizer makes of their text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from penstock.embed.chunking.tokens import SEAM, Tokens
from penstock.embed.tokenize import WHITESPACE, Tokenizer
from penstock.embed.types import Chunk

_CHARS_PER_TOKEN = 64  # a chunk of more characters than this for each of its tokens is not prose: cut it
_STOPS = frozenset("。！？｡．।॥؟۔、，；：")  # words of their own to BERT's pipeline
_WINDOW = 200  # characters in which the first and the last plain space of a slice are looked for


class Fitter:
    """Makes the chunks of one text. Ids are sliced where that is right, else the slice is tokenised again."""

    def __init__(self, text: str, tokens: Tokens, tokenizer: Tokenizer, size: int) -> None:
        self._text, self._tokens, self._tokenizer, self._size = text, tokens, tokenizer, size
        self._widest = size * _CHARS_PER_TOKEN
        self.again = 0
        """Chunks that were tokenised again."""

    def fit(self, first: int, last: int) -> Iterator[Chunk]:
        """Chunks of tokens [first, last) with the characters around them that no token covers."""
        starts, ends = self._tokens.starts, self._tokens.ends
        start = int(starts[first]) if first else 0
        end = int(starts[last]) if last < len(starts) else len(self._text)
        limit = self._tokenizer.word_limit
        if limit is not None and last == first + 1 and int(ends[first] - starts[first]) > limit:
            yield from self._word(start, end, limit)
            return
        start, end = self._strip(start, end)
        if start == end:
            return
        ids = self._sliced(start, end, first, last)
        if ids is not None and len(ids) <= self._size:
            yield self._chunk(start, end, ids)
        else:
            yield from self._by_text(start, end)

    def _sliced(self, start: int, end: int, first: int, last: int) -> tuple[int, ...] | None:
        """Ids of text[start:end] without tokenising all of it, None where that cannot be known to be right."""
        torn = self._tokens.torn
        if end - start > self._widest or bisect_right(torn, start) < bisect_right(torn, end - 1):
            return None
        match self._tokenizer.locality:
            case "words" if self._clear(start) and self._clear(end):
                own = tuple(self._tokens.ids[first:last].tolist())
                return self._tokenizer.head + own + self._tokenizer.suffix
            case "spaces":
                return self._spliced(start, end)
            case _:
                return None

    def _clear(self, at: int) -> bool:
        """Whether a word of BERT's pipeline cannot reach across position `at`."""
        text = self._text
        if at in (0, len(text)) or text[at - 1] in WHITESPACE or text[at] in WHITESPACE:
            return True
        return text[at - 1] in _STOPS and text[at].isalnum()

    def _spliced(self, start: int, end: int) -> tuple[int, ...] | None:
        """The first word and the last one tokenised again, and what lies between two plain spaces taken as it is."""
        text, tokenizer = self._text, self._tokenizer
        head = SEAM.search(text, start + 1, min(end, start + _WINDOW) + 1)
        if head is None or head.start() >= end:
            return None
        tail = end if SEAM.match(text, end) else self._last_seam(head.start(), end)
        first, last = self._token(head.start()), self._token(tail)
        if first is None or last is None:
            return None
        inner = self._tokens.ids[first:last].tolist()
        rest = tokenizer.follow(text[tail - 1 : end]) if tail < end else ()
        return (*tokenizer.lead(text[start : head.start()]), *inner, *rest, *tokenizer.suffix)

    def _last_seam(self, low: int, end: int) -> int:
        """The last plain space before `end`, not before that at `low`."""
        high = end
        while (at := self._text.rfind(" ", max(low, end - _WINDOW), high)) > low:
            if SEAM.match(self._text, at):
                return at
            high = at
        return low

    def _token(self, at: int) -> int | None:
        """The token that begins at the space at `at` or behind it; None if one reaches across."""
        first = int(self._tokens.starts.searchsorted(at))
        return first if not first or self._tokens.ends[first - 1] <= at else None

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
                self.again += 1
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


class Places:
    """Where a chunk stands: the page and the heading path at its first character."""

    def __init__(
        self, pages: Sequence[tuple[int, int, int]], headings: Sequence[tuple[int, int, tuple[str, ...]]]
    ) -> None:
        self._pages, self._page_starts = pages, [page[0] for page in pages]
        self._headings, self._heading_starts = headings, [heading[0] for heading in headings]

    def mark(self, piece: Chunk) -> Chunk:
        """The chunk with its page and heading, where it has any."""
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
