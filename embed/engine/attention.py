"""Attention among the tokens of each sequence, for sequences that lie end to end: nothing is padded, nothing masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine.packing import Pack

_LONGEST = 1024
"""Tokens; the scores of a longer sequence are not held whole."""


class ByRun:
    """On a CPU: two batched products for each run of equally long sequences.

    Scores and their softmax are fp32; shares and values in the states' own format. Faster than the fused kernel for
    heads as narrow as these, and each sequence's result depends on its own length alone.
    """

    def __init__(self, heads: int, bias: Any = None) -> None:
        """`bias`: float32 (heads, longest, longest), or None."""
        self._heads, self._bias = heads, bias
        self._kept: dict[str, Any] = {}

    def __call__(self, states: Any, pack: Pack, out: Any) -> None:
        """`states` (tokens, 3 * hidden): queries (scaled already), keys and values; writes `out` (tokens, hidden)."""
        at = 0
        for count, length in pack.runs():
            if length > _LONGEST:
                step, attend = 1, self._fused
            else:
                step, attend = max(1, _LONGEST * _LONGEST // (length * length)), self._whole
            while count > 0:
                many = min(step, count)
                end = at + many * length
                attend(states[at:end], many, length, out[at:end])
                at, count = end, count - many

    def _whole(self, states: Any, many: int, length: int, out: Any) -> None:
        import torch

        heads, low = self._heads, states.dtype
        parts = states.view(many, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        wide, narrow = many * heads, parts.shape[-1]
        query, key = (self._room(name, torch.float32, wide, length, narrow) for name in ("query", "key"))
        value, mixed = (self._room(name, low, wide, length, narrow) for name in ("value", "mixed"))
        for kept, part in zip((query, key, value), parts, strict=True):
            kept.view(part.shape).copy_(part)
        scores = self._room("scores", torch.float32, wide, length, length)
        torch.bmm(query, key.transpose(1, 2), out=scores)
        if self._bias is not None:
            scores.view(many, heads, length, length).add_(self._bias[:, :length, :length])
        torch.softmax(scores, -1, out=scores)
        shares = scores if low == torch.float32 else self._room("shares", low, wide, length, length).copy_(scores)
        torch.bmm(shares, value, out=mixed)
        out.view(many, length, heads, -1).copy_(mixed.view(many, heads, length, -1).transpose(1, 2))

    def _fused(self, states: Any, many: int, length: int, out: Any) -> None:
        from torch.nn.functional import scaled_dot_product_attention

        query, key, value = states.view(many, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if self._bias is None else self._bias[None, :, :length, :length].to(query.dtype)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        out.view(many, length, self._heads, -1).copy_(mixed.transpose(1, 2))

    def _room(self, name: str, dtype: Any, *shape: int) -> Any:
        """Memory that is kept: new memory for each batch costs more than what is computed in it."""
        import torch

        need = prod(shape)
        if name not in self._kept or self._kept[name].numel() < need:
            self._kept[name] = torch.empty(need, dtype=dtype)
        return self._kept[name][:need].view(shape)


def varlen(heads: int, longest: int) -> Callable[[Any, Any, Any], Any] | None:
    """torch's unpadded attention, on a GPU in half precision; None if this torch has none (before 2.10).

    As `ByRun`, with `bounds` int32 (sequences + 1,) on the device for a pack: where each sequence begins, and the end.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None

    def attend(states: Any, bounds: Any, out: Any) -> Any:
        query, key, value = states.view(states.shape[0], 3, heads, -1).unbind(1)
        mixed = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=1.0)
        return out.copy_(mixed.reshape(out.shape))

    return attend


def bounds(lengths: Sequence[int], padded: int, longest: int, count: int) -> NDArray[np.int32]:
    """Where each sequence begins, and the end: int32 (count,), whatever the lengths are.

    The filling up to `padded` tokens is attended to as sequences too, none longer than `longest`; then come empty ones.
    """
    ends = [0, *accumulate(lengths)]
    ends += range(ends[-1] + longest, padded, longest)
    found = np.full(count, padded, dtype=np.int32)
    found[: len(ends)] = ends
    return found
