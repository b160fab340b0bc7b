"""Tokens of a model whose tokenizer we do not have: rather too many than too few.

Three letters of ASCII are taken for a token, begun anew at a capital; each digit, each sign and each line break is one;
of any other character, every two bytes of its UTF-8, rounded up. In penstock's own docs these are 1.48 times as many as
all-MiniLM-L6-v2 has tokens, so chunks are that much shorter than they might be. Text that is worse than this for a
tokenizer exists (long runs of rare letters): then the endpoint refuses it, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from penstock.embed.chunking.locality import Locality
from penstock.embed.tokenize import Span, Tokenizer

VERSION = "estimate-1"
_PIECE = re.compile(r"(\s*\n\s*)|[A-Z][a-z]{0,2}|[a-z]{1,3}|[^\sA-Za-z]")
_SPECIALS = 2


class EstimatingTokenizer(Tokenizer):
    """Stands where a model's tokenizer would, for `chunk`; of that it has nothing but the form. An "id" is the token's
    own bytes: equal texts, equal ids."""

    def __init__(self, *, max_tokens: int, prompt: str = "") -> None:
        self.max_tokens, self.prompt = max_tokens, prompt
        self.word_limit = None
        self.head = self.prefix = self.suffix = (0,)
        self.locality: Locality = "none"  # tokens of a slice are taken from the slice: a cut may fall into a piece
        self.overhead = _SPECIALS + (len(self.span(prompt).ids) + 2 if prompt else 0)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of prompt and text, specials included."""
        return (0, *self.span(self.prompt + text).ids.tolist(), 0)

    def encode_batch(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return [self.encode(text) for text in texts]

    def span(self, text: str) -> Span:
        """Tokens of the text alone with their character offsets. Those of one character share its offsets, and a line
        break those of what follows it, so that what lies between two tokens is white space as ever."""
        ids: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        breaks = 0
        for piece in _PIECE.finditer(text):
            if piece[1] is not None:
                breaks += 1
                continue
            data = piece[0].encode("utf-8", "surrogatepass")
            parts = [data] if data.isascii() else [data[at : at + 2] for at in range(0, len(data), 2)]
            made = [10] * breaks + [int.from_bytes(part, "big") for part in parts]
            breaks = 0
            ids += made
            starts += [piece.start()] * len(made)
            ends += [piece.end()] * len(made)
        return Span(np.array(ids, np.int32), np.array(starts, np.int64), np.array(ends, np.int64))

    def width(self, text: str) -> int:
        return len(text)
