"""The tokens of a whole document, tokenised once, in pieces that bound the tokenizer's own memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.embed.tokenize import Span, Tokenizer

_PIECE = 1 << 15  # characters tokenised at once
_SPACES = np.array([chr(code).isspace() for code in range(0x3001)])
_CLAUSE = np.array([ord(mark) for mark in "、，；：。！？｡．।॥؟۔"], dtype=np.uint32)
# Characters that no normaliser joins with a space beside them: no combining marks, no joiners, no controls.
_PLAIN = "!-~À-ɏͰ-҂Ҋ-ՖА-яא-תؠ-يअ-ह가-힣ぁ-ゖァ-ヺ一-鿿"
SEAM = re.compile(f"(?<=[{_PLAIN}]) (?=[{_PLAIN}])")


class Tokens(NamedTuple):
    """`ids`, `starts`, `ends` of every token of a document, as in `Span`; `words` bool (n,): whether whitespace, or a
    mark that stands for a pause, comes right before the token. `torn`: positions where two pieces met in the middle of
    something, so that the tokens around may be others than those of the whole."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    words: NDArray[np.bool_]
    torn: tuple[int, ...]


def tokens(text: str, tokenizer: Tokenizer) -> Tokens:
    """All tokens of `text`, without specials and prompt. At no time is there a Python object for each of them."""
    parts, torn, at = list[tuple[Span, NDArray[np.bool_]]](), list[int](), 0
    for end, clean in _ends(text, tokenizer.locality == "words"):
        context = at > 0 and tokenizer.locality != "words" and not (torn and torn[-1] == at)
        parts.append(_piece(text, at - context, at, end, tokenizer))
        if not clean:
            torn.append(end)
        at = end
    if not parts:
        parts.append(_piece(text, 0, 0, 0, tokenizer))
    spans, words = [span for span, _ in parts], np.concatenate([flags for _, flags in parts])
    ids, starts, ends = (np.concatenate(column) for column in zip(*spans, strict=True))
    return Tokens(ids, starts, ends, words, tuple(torn))


def _ends(text: str, words: bool) -> Iterator[tuple[int, bool]]:
    """(end of a piece, whether nothing is torn there): after whitespace for `words`, else before a plain space."""
    at = 0
    while at < len(text):
        end = min(at + _PIECE, len(text))
        clean = end == len(text)
        if not clean:
            low = at + _PIECE // 2
            found = max(text.rfind(mark, low, end) for mark in "\n ") + 1 if words else _last_seam(text, low, end)
            end, clean = (found, True) if found else (end, False)
        yield end, clean
        at = end


def _last_seam(text: str, low: int, high: int) -> int:
    """The last plain space in a window that has plain characters around it, 0 if there is none."""
    while (at := text.rfind(" ", low, high)) > low:
        if SEAM.match(text, at):
            return at
        high = at
    return 0


def _piece(text: str, context: int, start: int, end: int, tokenizer: Tokenizer) -> tuple[Span, NDArray[np.bool_]]:
    """Tokens of text[start:end], tokenised from `context` on."""
    piece = text[context:end]
    span = tokenizer.span(piece)
    span = Span(span.ids, span.starts + context, span.ends + context)
    if context < start:
        inside = span.starts >= start
        span = Span(span.ids[inside], span.starts[inside], span.ends[inside])
    codes = np.frombuffer(piece.encode("utf-32-le"), dtype=np.uint32)
    spaces = _SPACES[np.minimum(codes, len(_SPACES) - 1)]
    first = np.minimum(span.starts - context, max(len(codes) - 1, 0))
    before = np.maximum(first - 1, 0)
    if not len(codes):
        return span, np.zeros(len(span.ids), dtype=np.bool_)
    words = spaces[first] | (first == 0) | spaces[before] | np.isin(codes[before], _CLAUSE)
    return span, words
