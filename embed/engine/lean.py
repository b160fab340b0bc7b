"""A BERT-like transformer without what embedding does not need: no padding, no mask, no copies between its parts.

Queries, keys and values come out of one product; weights are laid out once for the machine; the residual stream and
the normalisations are fp32 whatever the products are in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.embed.engine.anatomy import Anatomy, Layer, Norm
from penstock.embed.engine.linear import linear

Attend = Callable[[Any, Any, Any], object]
"""Given queries, keys and values (tokens, 3 * hidden) and what says where sequences end, writes what was attended to
(tokens, hidden)."""


class Lean:
    """The transformer part of a model; thread-safe as long as `attend` is."""

    def __init__(self, parts: Anatomy, dtype: Any, attend: Attend) -> None:
        self._words, self._places, self._norm, self._dtype = parts.words, parts.places, parts.norm, dtype
        scale = (parts.hidden // parts.heads) ** -0.5
        self._blocks = [_Block(layer, scale, dtype, parts.activation, attend) for layer in parts.layers]

    def __call__(self, ids: Any, places: Any, ends: Any) -> Any:
        """Hidden states float32 (tokens, hidden) of `ids` and their `places`, both int64 (tokens,).

        `ends`: what `attend` needs to know of where sequences end.
        """
        stream = _normed(self._words[ids].float().add_(self._places[places]), self._norm)
        mixed = stream.new_zeros(stream.shape, dtype=self._dtype)
        for block in self._blocks:
            stream = block(stream, mixed, ends)
        return stream


class _Block:
    def __init__(self, layer: Layer, scale: float, dtype: Any, activation: str, attend: Attend) -> None:
        self._dtype, self._attend = dtype, attend
        self._in = linear((layer.query, layer.key, layer.value), (scale, 1.0, 1.0), dtype, None)
        self._out = linear((layer.out,), (1.0,), dtype, None)
        self._up = linear((layer.up,), (1.0,), dtype, activation)
        self._down = linear((layer.down,), (1.0,), dtype, None)
        self._first, self._second = layer.attention_norm, layer.norm

    def __call__(self, stream: Any, mixed: Any, ends: Any) -> Any:
        self._attend(self._in(stream.to(self._dtype)), ends, mixed)
        stream = _normed(stream.add_(self._out(mixed)), self._first)
        return _normed(stream.add_(self._down(self._up(stream.to(self._dtype)))), self._second)


def _normed(states: Any, norm: Norm) -> Any:
    from torch.nn.functional import layer_norm

    return layer_norm(states, (states.shape[-1],), norm.weight, norm.bias, norm.eps)
