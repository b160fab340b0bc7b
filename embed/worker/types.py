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

    load: float = 1800.0
    """For loading: a model may have to be fetched."""
    first: float = 300.0
    """For the first batch of all: kernels may have to be compiled."""
    batch: float = 120.0
    """For any other batch, at least."""
    factor: float = 20.0
    """A batch may also take this many times the longest that there was before."""
    farewell: float = 3.0
    """For ending by itself when it is told to."""
