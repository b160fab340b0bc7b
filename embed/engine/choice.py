"""Which path and which number format: the fastest that is still the model, found out and not believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine import parity
from penstock.embed.engine.anatomy import NotKnown
from penstock.embed.engine.faults import Fault, fault
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.packed import Packed
from penstock.embed.engine.paths import Padded, Path
from penstock.embed.engine.precision import Precision
from penstock.embed.engine.shapes import Shapes
from penstock.embed.models import Model
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import TokenIds


class Choice(NamedTuple):
    """A path, and one line each on why it is this one and why in this format."""

    path: Path[Any]
    dtype: str
    dtype_why: str
    path_why: str


def chosen(
    model: Model,
    device: str,
    formats: Sequence[Precision],
    *,
    tokenizer: Tokenizer,
    tokens: int,
    rows: int,
) -> Choice:
    """Try the fast path and then the ordinary one in each format, the best first, and take the first that passes.

    `tokens`: computed together, to begin with; `rows`: at most, where they are padded. Raises `UnknownModel`, and
    ValueError for a format that was the only one and moves vectors.
    """
    reference = Ordinary.load(model, device)
    against: list[str] = []
    for number, precision in enumerate(formats):
        least = parity.EXACT if precision.dtype == "float32" else parity.LOWERED
        try:
            fast = Packed.of(
                reference.network,
                dtype=precision.dtype,
                device=device,
                longest=model.max_tokens,
                truncate=model.truncate_dim,
                budget=max(tokens, model.max_tokens) if device != "cpu" else tokens,
            )
            found = parity.probe(_vectors(fast), reference.network, tokenizer, model.max_tokens, least=least)
            why_not = found.why_not or parity.invariant(_vectors(fast), tokenizer, model.max_tokens)
            if why_not is None:
                said = f"cosine {found.min_cosine:.5f} to sentence-transformers in fp32, up to {found.longest} tokens"
                return Choice(fast, precision.dtype, _why(precision, against), said)
        except NotKnown as unknown:
            why_not = str(unknown)
        except Exception as error:
            if fault(error) is not Fault.OTHER:
                raise
            why_not = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        padded = Padded(reference, Shapes(model.max_tokens, tokens, max_rows=rows))
        if precision.dtype == "float32":
            return Choice(padded, precision.dtype, _why(precision, against), why_not)
        lowered = Ordinary.load(model, device)
        lowered.lower(precision.dtype)
        padded = Padded(lowered, Shapes(model.max_tokens, tokens, max_rows=rows))
        found = parity.probe(_vectors(padded), reference.network, tokenizer, model.max_tokens, least=least)
        if found.why_not is None:
            return Choice(padded, precision.dtype, _why(precision, against), why_not)
        against.append(found.why_not)
        if number == len(formats) - 1:
            raise ValueError(f"dtype {precision.dtype}: {found.why_not}; use auto or float32")
    raise ValueError("no number format to choose from")


def _why(precision: Precision, against: list[str]) -> str:
    return "; ".join([precision.why, *against])


def _vectors(path: Path[Any]) -> Callable[[Sequence[TokenIds]], NDArray[np.float32]]:
    def of(ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        found: dict[int, NDArray[np.float32]] = {}
        for work in path.plan([len(sequence) for sequence in ids]):
            rows = path.start([ids[position] for position in work.positions], work)()
            found.update(zip(work.positions, rows, strict=True))
        return np.stack([found[position] for position in range(len(ids))])

    return of
