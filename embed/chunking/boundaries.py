"""Where a text may be cut: how good a place each gap between two tokens is, on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.chunking.structure import Structure
from penstock.embed.chunking.tokens import Tokens

ANYWHERE, WORD, LINE, SENTENCE, ITEM, BLOCK, PARAGRAPH, HEADING = range(8)
"""LINE: between rows of a table or lines of code. ITEM: before an item of a list. BLOCK: at a blank line before
something indented, as within a function; so what stands between two functions is a PARAGRAPH."""
# How far back from the full chunk each kind of place is worth going, as a share of the chunk.
_REACH = {PARAGRAPH: 0.5, BLOCK: 0.4, ITEM: 0.4, SENTENCE: 0.3, LINE: 0.3, WORD: 0.3}
_TINY = 0.15  # a chunk below this share is not closed for a heading
_Gaps = NDArray[np.int64]


class Boundaries:
    """The places of one text. Gaps are numbered by the token that comes after them.

    A table, a row, a line of code of at most `room` tokens is not cut, unless one of the `long` tokens, which stand
    alone, lies in it.
    """

    def __init__(self, tokens: Tokens, structure: Structure, room: int, long: Sequence[int] | _Gaps) -> None:
        self._headings = np.unique(np.searchsorted(tokens.starts, np.asarray(structure.headings, dtype=np.int64)))
        kinds = np.where(tokens.words, np.uint8(WORD), np.uint8(ANYWHERE))
        kinds[1:][tokens.starts[1:] == tokens.starts[:-1]] = ANYWHERE  # within one character
        for kind, places in (
            (LINE, [start for start, _ in structure.rows]),
            (SENTENCE, structure.sentences),
            (ITEM, structure.items),
            (BLOCK, structure.blocks),
            (PARAGRAPH, structure.paragraphs),
            (PARAGRAPH, structure.headings),
        ):
            kinds[_gaps(tokens, places)] = kind  # the better ones come later
        self._whole = _whole(tokens, structure, room, np.asarray(long, dtype=np.int64))
        for first, last in self._whole.tolist():
            kinds[first + 1 : last] = ANYWHERE
        self._places = {kind: np.flatnonzero(kinds >= kind) for kind in _REACH}

    def cut(self, first: int, reached: int, full: int, stop: int) -> tuple[int, int]:
        """(token to cut before, kind of place) for a chunk that starts at token `first` and must end by `full`.

        The cut lies beyond `reached`; the chunk takes all up to `stop` if that fits. A cut at `reached` says that only
        without an overlap there is room for what must not be cut.
        """
        size = full - first
        heading = self._heading(max(reached + 1, first + int(size * _TINY)), full)
        if heading is not None:
            return heading, HEADING
        if full == stop:
            return stop, HEADING
        limit = self._outside(full)
        if limit <= reached:
            if first < reached:
                return reached, ANYWHERE
            limit = full
        for kind, reach in _REACH.items():
            at = _last(self._places[kind], limit)
            if at > reached and limit - at <= size * reach:
                return at, kind
        return limit, ANYWHERE

    def back(self, last: int, overlap: int) -> int:
        """Where the next chunk starts: at most `overlap` tokens before `last`, at a sentence or else at a word."""
        for kind in (LINE, WORD):
            places = self._places[kind]
            at = int(places.searchsorted(last - overlap))
            if at < len(places) and places[at] < last:
                return int(places[at])
        return last

    def _heading(self, low: int, high: int) -> int | None:
        """The first section start in tokens [low, high]."""
        at = int(self._headings.searchsorted(low))
        if at < len(self._headings) and self._headings[at] <= high:
            return int(self._headings[at])
        return None

    def _outside(self, at: int) -> int:
        """`at`, or the start of the whole that it would cut."""
        row = int(self._whole[:, 0].searchsorted(at)) - 1
        return int(self._whole[row, 0]) if row >= 0 and at < self._whole[row, 1] else at


def _gaps(tokens: Tokens, places: Sequence[int]) -> _Gaps:
    """The gaps at these character positions; where a token reaches across one, there is none."""
    at = np.asarray(places, dtype=np.int64)
    gaps = np.searchsorted(tokens.starts, at)
    there = gaps < len(tokens.starts)
    gaps, at = gaps[there], at[there]
    clean: _Gaps = gaps[(gaps == 0) | (tokens.ends[gaps - 1] <= at)]
    return clean


def _whole(tokens: Tokens, structure: Structure, room: int, long: _Gaps) -> _Gaps:
    """Token ranges (n, 2), ascending and apart, of what is not to be cut: tables that fit, else rows and lines."""
    tables, rows = (
        _fitting(tokens, np.asarray(spans, dtype=np.int64).reshape(-1, 2), room, long)
        for spans in (structure.tables, structure.rows)
    )
    if len(tables) and len(rows):
        owner = np.searchsorted(tables[:, 0], rows[:, 0], side="right") - 1
        rows = rows[(owner < 0) | (rows[:, 0] >= tables[owner, 1])]
    both = np.concatenate([tables, rows])
    return both[np.argsort(both[:, 0], kind="stable")]


def _fitting(tokens: Tokens, spans: _Gaps, room: int, long: _Gaps) -> _Gaps:
    ranges = np.searchsorted(tokens.starts, spans)
    lengths = ranges[:, 1] - ranges[:, 0]
    alone = np.searchsorted(long, ranges)
    kept: _Gaps = ranges[(lengths > 1) & (lengths <= room) & (alone[:, 0] == alone[:, 1])]
    return kept


def _last(places: _Gaps, limit: int) -> int:
    """The last place at or before `limit`, -1 if there is none."""
    at = int(places.searchsorted(limit, side="right"))
    return int(places[at - 1]) if at else -1
