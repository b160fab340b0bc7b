"""The fast path: sequences end to end through a leaner transformer, nothing padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

_STEP = 16
_SEQUENCES = 16
"""On a GPU, so many tokens of a batch for each sequence that it may hold: shapes are fixed there."""


class Packed:
    """A model on this path. One thread at a time may use it."""

    name = "fast"

    def __init__(
        self,
        lean: Callable[[Any, Any, Any], Any],
        ends: Callable[[Pack], Any],
        pooling: Pooling,
        staging: Staging,
        packing: Packing,
        pad: int | None,
    ) -> None:
        """`ends`: what `lean` needs to know of where the sequences of a pack end. `pad`: as `Anatomy` says."""
        self._lean, self._ends, self._pooling, self._staging = lean, ends, pooling, staging
        self.packing, self._pad = packing, pad

    @classmethod
    def of(cls, network: Any, *, dtype: str, device: str, longest: int, truncate: int | None, budget: int) -> Packed:
        """Of a SentenceTransformer, whose weights are shared where they need no other layout.

        `longest`: tokens of the longest sequence. Raises `NotKnown` for a model that cannot go this way.
        """
        parts = anatomy(getattr(network[0], "auto_model", None))
        pooling = Pooling(list(network)[1:], device, truncate)
        if device == "cpu":
            return cls(*_on_cpu(parts, dtype, longest), pooling, Here(), Packing(budget, _STEP), parts.pad)
        packing = Packing(budget, budget, budget // _SEQUENCES)
        return cls(*_on_gpu(parts, dtype, longest, device), pooling, OnGpu(device), packing, parts.pad)

    def with_budget(self, tokens: int) -> None:
        """From now on, packs of at most so many tokens."""
        fixed = self.packing.step == self.packing.budget
        self.packing = Packing(tokens, tokens, tokens // _SEQUENCES) if fixed else Packing(tokens, self.packing.step)

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
            places[at:end] = self._placed(ids[at:end])
            at = end
        with torch.inference_mode():
            hidden = self._lean(*self._staging.sent(), self._ends(work))
            return self._staging.back(self._pooling(hidden, work.lengths))

    def _placed(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        pad = self._pad
        if pad is None:
            return np.arange(len(ids))
        counted = ids != pad
        found: NDArray[np.int64] = np.cumsum(counted) * counted + pad
        return found


def _on_cpu(parts: Anatomy, dtype: str, longest: int) -> tuple[Lean, Callable[[Pack], Any]]:
    import torch

    attend = attention.ByRun(parts.heads, None if parts.bias is None else parts.bias(longest))
    return Lean(parts, getattr(torch, dtype), attend), lambda pack: pack


def _on_gpu(parts: Anatomy, dtype: str, longest: int, device: str) -> tuple[Lean, Callable[[Pack], Any]]:
    import torch

    attend = attention.varlen(parts.heads, longest)
    if attend is None:
        raise NotKnown("this torch has no attention without padding; it came with 2.10")
    if parts.bias is not None:
        raise NotKnown("attention with a bias has no fast path on a GPU")
    if dtype == "float32":
        raise NotKnown("attention without padding wants half precision")

    def ends(pack: Pack) -> Any:
        count = pack.padded // _SEQUENCES + pack.padded // longest + 2
        return torch.from_numpy(attention.bounds(pack.lengths, pack.padded, longest, count)).to(device)

    return Lean(parts, getattr(torch, dtype), attend), ends
