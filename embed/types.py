"""What chunking makes and what an encoder promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

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


class Refused(msgspec.Struct, frozen=True):
    """A text that no vector can be made of: its document is quarantined, all others land.

    `position` into the input. `reason`: the vector was not finite, or zero (`not_finite`); it alone does not fit into
    the device's memory (`too_large`); it alone killed or hung its process, twice (`crash`); the endpoint refuses it
    (`refused`). `detail`: one line for people, without the text.
    """

    position: int
    reason: Literal["not_finite", "too_large", "crash", "refused"]
    detail: str


class EncoderUnavailable(Exception):
    """No vectors can be had for now: what was embedded is kept, the next run goes on. The message says what to do.

    `after`: seconds until it is worth trying again, where known.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class EncoderSpec(msgspec.Struct, frozen=True):
    """All that an encoder is made from: plain values, so that another process can be told.

    `device`, `threads` None: the best there is, all that this process may use. `query_prompt`, `document_prompt` None:
    what the model's files say. `remember`: a directory for what probes found out; empty: probe each time.
    """

    model: str
    device: str | None = None
    threads: int | None = None
    dtype: str = "auto"
    truncate_dim: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    remember: str = ""


class Encoded(msgspec.Struct, frozen=True):
    """A batch that came out: `positions` into the input, `vectors` float32 (len(positions), dim), unit norm."""

    positions: NDArray[np.int64]
    vectors: NDArray[np.float32]
    tokens: int
    """Tokens embedded, padding not counted."""
    padded: int
    """Tokens computed, padding counted."""
    refused: tuple[Refused, ...] = ()
    """Positions that will have no vector; not among `positions`."""
    billed: int = 0
    """Tokens that somebody asks money for."""


class Encoder(Protocol):
    """Turns token ids into vectors. A vector depends only on its ids, never on its neighbours, on one device."""

    dim: int
    identity: dict[str, str]
    """What decides whether two vectors may be compared: weights digest, tokenizer, pooling, prompts, normalise."""
    provenance: dict[str, str]
    """Dtype, device, library versions: recorded, never a reason to embed again."""

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """Yield batches; each position exactly once, as a vector or as refused. Ids longer than the model takes raise.

        `texts`: the same, as text, in the same order; only an encoder that sends texts to somebody else looks at them,
        and that one needs them. Raises `EncoderUnavailable`.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions with the model's query prompt: float32 (len(texts), dim), unit norm."""
        ...

    def close(self) -> None:
        """Let go of the device. May be repeated."""
        ...


@runtime_checkable
class Resting(Protocol):
    """An encoder that can let go of its device for a while."""

    def rest(self) -> bool:
        """Let go of the device and its memory, at once: both are free on return. The next `encode` takes them again.

        Whether it did. Not while a batch is being asked for.
        """
        ...
