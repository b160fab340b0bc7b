"""An encoder in a process of its own, that may die, hang or lose its device without losing a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded, EncoderSpec, TokenIds
from penstock.embed.worker.types import Patience

ENGINE = "penstock.embed.engine.encoder:load_spec"


class WorkerEncoder:
    """An `Encoder`. Loading begins when it is made; `ready` waits for it. One thread at a time may use it.

    `engine`: what makes the encoder from the spec, in the process: `module:callable`. `clock`: seconds, monotonic.
    `note` is told, in one line for people, when the process had to be started again and when a text was given up.
    """

    dim: int
    max_tokens: int
    identity: dict[str, str]
    provenance: dict[str, str]

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        engine: str = ENGINE,
        clock: Callable[[], float],
        note: Callable[[str], None],
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._spec, self._engine, self._clock, self._note, self._patience = spec, engine, clock, note, patience

    def ready(self) -> WorkerEncoder:
        """Wait until the model is loaded: from here on `dim`, `identity`, `provenance` and `max_tokens` are there.

        Raises what loading raised (`UnknownModel`, ValueError, ImportError …), and `EncoderUnavailable` when the
        process died of loading, again and again.
        """
        raise NotImplementedError

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """As `Encoder.encode`; vectors are copies. Closing the iterator early stops the process at its next batch."""
        raise NotImplementedError

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Encoder.encode_queries`."""
        raise NotImplementedError

    def close(self) -> None:
        """End the process: kindly, then hard. May be repeated, and called from any thread."""
