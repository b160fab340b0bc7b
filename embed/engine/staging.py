"""How token ids get to the device and vectors back, without anybody waiting in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Result = Callable[[], NDArray[np.float32]]
"""The vectors of what was started, float32 (sequences, dim), unit norm; waits for the device."""
Ints = NDArray[np.int64]


class Staging(Protocol):
    """Fill the two arrays that `room` gives, then `sent` makes tensors of them; `back` brings vectors here."""

    def room(self, tokens: int) -> tuple[Ints, Ints]: ...

    def sent(self) -> tuple[Any, Any]: ...

    def back(self, vectors: Any) -> Result: ...


class Here:
    """The device is this computer's CPU."""

    def room(self, tokens: int) -> tuple[Ints, Ints]:
        """Zeros int64 (tokens,): token ids, and places of tokens in their sequence."""
        self._held = np.zeros((2, tokens), dtype=np.int64)
        return self._held[0], self._held[1]

    def sent(self) -> tuple[Any, Any]:
        import torch

        ids, places = torch.from_numpy(self._held)
        return ids, places

    def back(self, vectors: Any) -> Result:
        found: NDArray[np.float32] = vectors.numpy()
        return lambda: found


class OnGpu:
    """Pinned memory that is used again once its copy is through, so that the host runs ahead of the device."""

    def __init__(self, device: str, depth: int = 3) -> None:
        self._device, self._depth = device, depth
        self._ring: list[tuple[Any, Any]] = []
        self._turn = 0

    def room(self, tokens: int) -> tuple[Ints, Ints]:
        """As `Here.room`; waits for the copy of the batch before the last but one."""
        import torch

        if not self._ring or self._ring[0][0].shape[1] < tokens:
            torch.cuda.synchronize(self._device)
            self._ring = [
                (torch.zeros((2, tokens), dtype=torch.int64, pin_memory=True), torch.cuda.Event())
                for _ in range(self._depth)
            ]
        self._turn = (self._turn + 1) % self._depth
        pinned, copied = self._ring[self._turn]
        copied.synchronize()
        self._tokens = tokens
        held = pinned.numpy()[:, :tokens]
        held.fill(0)
        return held[0], held[1]

    def sent(self) -> tuple[Any, Any]:
        pinned, copied = self._ring[self._turn]
        there = pinned[:, : self._tokens].to(self._device, non_blocking=True)
        copied.record()
        return there[0], there[1]

    def back(self, vectors: Any) -> Result:
        import torch

        here = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        here.copy_(vectors, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def result() -> NDArray[np.float32]:
            done.synchronize()
            found: NDArray[np.float32] = here.numpy()
            return found

        return result
