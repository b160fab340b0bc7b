"""Is a faster way of computing a model still that model? Compared with sentence-transformers, and with itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import TokenIds

LOWERED, EXACT = 0.9995, 0.99999
"""The smallest cosine to fp32 that is accepted of a lower precision, and of fp32 itself."""

Candidate = Callable[[Sequence[TokenIds]], NDArray[np.float32]]
"""Token ids in, vectors float32 (len, dim) of unit norm out, in the same order."""


class Parity(msgspec.Struct, frozen=True):
    """How far a candidate is from the reference: the smallest cosine, and the length in tokens where it was found."""

    min_cosine: float
    worst: int
    longest: int
    """Tokens of the longest text compared: less than the model takes where that is very long."""
    why_not: str | None = None
    """One line for the log: None if the candidate may be used."""


def probe(
    candidate: Candidate, reference: Any, tokenizer: Tokenizer, max_tokens: int, *, least: float = LOWERED
) -> Parity:
    """Compare a candidate with `SentenceTransformer.encode` of the same texts, 1 token to `max_tokens`.

    `reference`: a `SentenceTransformer` in fp32 with the candidate's `truncate_dim`. Its token ids are compared with
    the tokenizer's as well. `least`: the smallest cosine that passes.
    """
    raise NotImplementedError


def invariant(candidate: Candidate, tokenizer: Tokenizer, max_tokens: int) -> str | None:
    """None if a vector depends on its ids alone, to the last bit; else where it did not, one line."""
    raise NotImplementedError
