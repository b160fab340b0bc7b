"""Cut a document into chunks that fit the model, on the model's own tokens.

Nothing is dropped and nothing is truncated: every character that is not whitespace lies in a chunk, and every
chunk's ids are what the tokenizer makes of its text, at most `size` of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np

from penstock.embed.chunking.boundaries import HEADING, Boundaries
from penstock.embed.chunking.fitting import Fitter, Places
from penstock.embed.chunking.structure import structure
from penstock.embed.chunking.tokens import Tokens, tokens
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import Chunk

VERSION = "2"  # raise it when the same text would be cut in other places: it is part of a space's identity
DEFAULT_OVERLAP = 32
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

    A cut falls where the text allows it: before a heading, else after a paragraph, before an item of a list, after a
    sentence, a word. A table that fits is not cut, nor is a row or a line of code. A word that is too long for the
    tokenizer's vocabulary is cut by characters, so that the model sees it. Linear in the text. Raises ValueError for
    a size or overlap that cannot work.
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
    found = tokens(text, tokenizer)
    long = _long(found, tokenizer.word_limit)
    shape = structure(text, [start for start, _, _ in headings])
    cuts = _plan(found, Boundaries(found, shape, room, long), long, room, overlap)
    fitter, places = Fitter(text, found, tokenizer, size), Places(pages, headings)
    return [places.mark(piece) for first, last in cuts for piece in fitter.fit(first, last)]


def default_overlap(size: int) -> int:
    """Tokens of overlap for chunks of `size` tokens when nobody says: an eighth, at most `DEFAULT_OVERLAP`."""
    return min(DEFAULT_OVERLAP, size // 8)


def _long(tokens: Tokens, limit: int | None) -> list[int]:
    """Tokens that stand for more characters than the tokenizer reads."""
    return [] if limit is None else np.flatnonzero(tokens.ends - tokens.starts > limit).tolist()


def _plan(
    tokens: Tokens, boundaries: Boundaries, long: Sequence[int], room: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Token ranges [first, last) in order, each of at most `room` tokens; the `long` tokens stand alone."""
    count = len(tokens.ids)
    first = reached = floor = 0  # tokens before `reached` are in a chunk already; no overlap goes below `floor`
    if not count:
        yield 0, 0
    while reached < count:
        at = bisect_left(long, reached)
        stop = long[at] if at < len(long) else count
        if stop == reached:
            yield reached, reached + 1
            first = reached = floor = reached + 1
            continue
        last, level = boundaries.cut(first, reached, min(first + room, stop), stop)
        if last == reached:
            first = reached
            continue
        yield first, last
        reached = last
        first = last if level == HEADING else max(floor, boundaries.back(last, overlap))
