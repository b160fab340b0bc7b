"""Linear layers with their weights laid out once for the machine, and what follows them folded in where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Apply: TypeAlias = Callable[[Any], Any]
"""(rows, in) to (rows, out), both in the layer's number format."""


def linear(parts: Sequence[Any], scales: Sequence[float], dtype: Any, activation: str | None) -> Apply:
    """One product for several `torch.nn.Linear` that read the same input; outputs stand side by side.

    Each part's output is multiplied by its scale. `activation`: `none` or `tanh` (both GELU), `relu`; None: none.
    """
    import torch

    with torch.no_grad():
        weight = torch.cat([part.weight.float() * scale for part, scale in zip(parts, scales, strict=True)])
        width = [part.weight.shape[0] for part in parts]
        biases = [
            torch.zeros(rows, device=weight.device) if part.bias is None else part.bias.float() * scale
            for part, scale, rows in zip(parts, scales, width, strict=True)
        ]
        weight, bias = weight.to(dtype).contiguous(), torch.cat(biases).to(dtype).contiguous()
    return (_packed(weight, bias, activation) if weight.device.type == "cpu" else None) or _plain(
        weight, bias, activation
    )


def _packed(weight: Any, bias: Any, activation: str | None) -> Apply | None:
    """oneDNN's layer with weights in its own layout, as torch's own compiler uses it. None if this torch has none."""
    import torch

    attribute, algorithm = {None: ("none", ""), "relu": ("relu", "")}.get(activation) or ("gelu", activation)
    try:
        if not torch.backends.mkldnn.is_available():
            return None
        operations = torch.ops.mkldnn
        layout = operations._reorder_linear_weight(weight, _ROWS)

        def apply(rows: Any) -> Any:
            return operations._linear_pointwise(rows, layout, bias, attribute, [], algorithm)

        apply(torch.zeros((_ROWS, weight.shape[1]), dtype=weight.dtype))
    except (RuntimeError, AttributeError, NotImplementedError):
        return None
    return apply


_ROWS = 1024
"""For how many rows the layout is chosen; any number may come."""


def _plain(weight: Any, bias: Any, activation: str | None) -> Apply:
    from torch.nn import functional

    if activation is None:
        return lambda rows: functional.linear(rows, weight, bias)
    if activation == "relu":
        return lambda rows: functional.relu(functional.linear(rows, weight, bias))
    return lambda rows: functional.gelu(functional.linear(rows, weight, bias), approximate=activation)
