"""What the engine tells the process that it lives in, and how long one waits for the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Announce = Callable[[Sequence[int] | NDArray[np.int64]], None]


class Announcing(Protocol):
    """An encoder that says which batch it is about to compute; one that does not is isolated more slowly.

    `announce` is set by the process that the encoder lives in. It takes positions into the input of the `encode` that
    is under way, may be called from any thread, and costs a few microseconds.
    """

    announce: Announce | None


class Patience(msgspec.Struct, frozen=True):
    """Seconds without a batch after which the process counts as hung; those in which we stood still do not count."""

    load: float = 600.0
    """For loading from disk: whoever makes the spec has found the model, and fetched it if need be."""
    first: float = 180.0
    """For the first batch of all: kernels may have to be compiled."""
    batch: float = 120.0
    """For any other batch, at least."""
    factor: float = 20.0
    """A batch may also take this many times the longest that there was before."""
    farewell: float = 3.0
    """For ending by itself when it is told to."""
    word_load: float = 60.0
    """For loading: after so many a person is told that it goes on, and each time that it has been twice as long."""
    word_batch: float = 30.0
    """For a batch, beyond the longest that there was before: the same."""

    @classmethod
    def hanging(cls, seconds: float | None) -> Patience:
        """The usual one, but for a batch of `seconds` that takes them for slow work, not for a hang; None: as usual."""
        if seconds is None:
            return cls()
        return cls(batch=seconds, first=max(cls().first, seconds))
