"""What chunking makes and what an encoder promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

TokenIds: TypeAlias = Sequence[int] | NDArray[np.uint32]
"""Token ids of one text. A shard's are views of one mapped array: as Python ints they would take eight times that."""


class Chunk(msgspec.Struct, frozen=True):
    """A contiguous span of one document that fits the model.

    `text` is exactly `document.text[start:end]`. `ids` are the model's own token ids for that text, special
    tokens (and prompt) included: what is counted, what is embedded, never truncated.
    """

    start: int
    end: int
    text: str
    ids: tuple[int, ...]
    page: int | None = None
    heading: tuple[str, ...] = ()


class Encoded(msgspec.Struct, frozen=True):
    """A batch that came out: `positions` into the input, `vectors` float32 (len(positions), dim), unit norm."""

    positions: NDArray[np.int64]
    vectors: NDArray[np.float32]
    tokens: int
    """Tokens embedded, padding not counted."""
    padded: int
    """Tokens computed, padding counted."""


class Encoder(Protocol):
    """Turns token ids into vectors. A vector depends only on its ids, never on its neighbours, on one device."""

    dim: int
    identity: dict[str, str]
    """What decides whether two vectors may be compared: weights digest, tokenizer, pooling, prompts, normalise."""
    provenance: dict[str, str]
    """Dtype, device, library versions: recorded, never a reason to embed again."""

    def encode(self, ids: Sequence[TokenIds]) -> Iterator[Encoded]:
        """Yield batches, longest first; each position exactly once. Ids longer than the model takes raise."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions with the model's query prompt: float32 (len(texts), dim), unit norm."""
        ...
