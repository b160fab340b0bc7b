"""Where a text may be cut: how good a place each gap between two tokens is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from penstock.embed.tokenize import Span

ANYWHERE, WORD, SENTENCE, PARAGRAPH, HEADING = range(5)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
# How far back from the full chunk each kind of place is worth going, as a share of the chunk.
_REACH = {PARAGRAPH: 0.5, SENTENCE: 0.3, WORD: 0.3}
_TINY = 0.15  # a chunk below this share is not closed for a heading


class Boundaries:
    """The places of one text. `headings` are the character positions at which a heading's section starts."""

    def __init__(self, text: str, span: Span, headings: Sequence[int]) -> None:
        self._text, self._starts, self._ends = text, span.starts, span.ends
        # a heading's section starts at the first token at or after its position
        self._headings = np.unique(np.searchsorted(span.starts, np.asarray(headings, dtype=np.int64)))

    def cut(self, first: int, reached: int, full: int, stop: int) -> tuple[int, int]:
        """(token to cut before, kind of place) for a chunk that starts at token `first` and must end by `full`.

        The cut lies beyond `reached`; the chunk takes all up to `stop` if that fits.
        """
        size = full - first
        heading = self._heading(max(reached + 1, first + int(size * _TINY)), full)
        if heading is not None:
            return heading, HEADING
        if full == stop:
            return stop, HEADING
        best = ANYWHERE, full
        for at in range(full, max(reached, first + size // 2), -1):
            kind = self.kind(at)
            if kind > best[0] and full - at <= size * _REACH[kind]:
                best = kind, at
                if kind == PARAGRAPH:
                    break
        return best[1], best[0]

    def back(self, last: int, overlap: int) -> int:
        """Where the next chunk starts: at most `overlap` tokens before `last`, at a sentence or else at a word."""
        low = max(0, last - overlap)
        words = last
        for at in range(low, last):
            kind = self.kind(at)
            if kind >= SENTENCE:
                return at
            if kind == WORD and words == last:
                words = at
        return words

    def kind(self, at: int) -> int:
        """How good a place the gap before token `at` is."""
        if at == 0:
            return PARAGRAPH
        gap = self._text[int(self._ends[at - 1]) : int(self._starts[at])]
        if not gap or not any(map(str.isspace, gap)):
            return ANYWHERE
        if _BLANK_LINE.search(gap):
            return PARAGRAPH
        before = self._text[max(0, int(self._ends[at - 1]) - 4) : int(self._ends[at - 1])]
        return SENTENCE if _SENTENCE_END.search(before) else WORD

    def _heading(self, low: int, high: int) -> int | None:
        """The first section start in tokens [low, high]."""
        at = int(np.searchsorted(self._headings, low))
        if at < len(self._headings) and self._headings[at] <= high:
            return int(self._headings[at])
        return None
