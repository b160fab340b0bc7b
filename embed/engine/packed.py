"""The fast path: sequences end to end through a leaner transformer, nothing padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine import attention
from penstock.embed.engine.anatomy import Anatomy, NotKnown, anatomy
from penstock.embed.engine.lean import Lean
from penstock.embed.engine.packing import Pack, Packing
from penstock.embed.engine.pooling import Pooling
from penstock.embed.engine.staging import Here, OnGpu, Result, Staging
from penstock.embed.types import TokenIds


class Packed:
    """A model on this path. One thread at a time may use it."""

    name = "fast"

    def __init__(
        self, network: Any, *, dtype: str, device: str, longest: int, truncate: int | None, budget: int
    ) -> None:
        """`network`: a SentenceTransformer, whose weights are shared where they need no other layout.

        `longest`: tokens of the longest sequence. Raises `NotKnown` for a model that cannot go this way.
        """
        import torch

        parts = anatomy(network[0].auto_model)
        self._pad = parts.pad
        self._pooling = Pooling(list(network)[1:], device, truncate)
        self._lean = Lean(parts, getattr(torch, dtype))
        self._attend = _on_gpu(parts, dtype, longest) if device != "cpu" else _on_cpu(parts, longest)
        self._staging: Staging = Here() if device == "cpu" else OnGpu(device)
        self.packing = Packing(budget, step=16 if device == "cpu" else budget)

    def with_budget(self, tokens: int) -> None:
        """From now on, packs of at most so many tokens."""
        step = self.packing.step if self.packing.step < self.packing.budget else tokens
        self.packing = Packing(tokens, step)

    def prompt_tokens(self, prompt: str) -> int:
        """0: a model that leaves its prompt out of pooling does not come this way."""
        return 0

    def plan(self, lengths: Sequence[int]) -> list[Pack]:
        """What is computed together, longest sequences first."""
        return self.packing.plan(lengths)

    def halves(self, work: Pack) -> tuple[Pack, Pack] | None:
        """The same in two; None for a lone sequence."""
        return self.packing.halves(work)

    def start(self, rows: Sequence[TokenIds], work: Pack, *, prompt: int = 0) -> Result:
        """Begin to compute the vectors of `rows`, the sequences of `work` in its order."""
        import torch

        ids, places = self._staging.room(work.padded)
        at = 0
        for row in rows:
            end = at + len(row)
            ids[at:end] = row
            places[at:end] = self._places(ids[at:end])
            at = end
        with torch.inference_mode():
            hidden = self._lean(*self._staging.sent(), self._attend(work))
            return self._staging.back(self._pooling(hidden, work.lengths))

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        pad = self._pad
        if pad is None:
            return np.arange(len(ids))
        counted = ids != pad
        found: NDArray[np.int64] = np.cumsum(counted) * counted + pad
        return found


def _on_cpu(parts: Anatomy, longest: int) -> Callable[[Pack], Callable[[Any, Any], object]]:
    attend = attention.ByRun(parts.heads, None if parts.bias is None else parts.bias(longest))
    return lambda work: lambda states, out: attend(states, work.runs(), out)


def _on_gpu(parts: Anatomy, dtype: str, longest: int) -> Callable[[Pack], Callable[[Any, Any], object]]:
    import torch

    attend = attention.varlen(parts.heads, longest)
    if attend is None:
        raise NotKnown("this torch has no attention without padding; it came with 2.10")
    if parts.bias is not None:
        raise NotKnown("attention with a bias has no fast path on a GPU")
    if dtype == "float32":
        raise NotKnown("attention without padding wants half precision")

    device = parts.words.device

    def of(work: Pack) -> Callable[[Any, Any], object]:
        # the filling is attended to as sequences too, none longer than the longest
        bounds = [0, *accumulate(work.lengths)]
        bounds += [*range(bounds[-1] + longest, work.padded, longest), *([work.padded] * (bounds[-1] < work.padded))]
        there = torch.tensor(bounds, dtype=torch.int32).to(device, non_blocking=True)
        return lambda states, out: attend(states, there, out)

    return of
