"""Which path and which number format: the fastest that is still the model, found out and not believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine import parity
from penstock.embed.engine.anatomy import NotKnown
from penstock.embed.engine.faults import Fault, fault, first_line
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.packed import Packed
from penstock.embed.engine.paths import Padded, Path
from penstock.embed.engine.precision import Precision
from penstock.embed.engine.shapes import Shapes
from penstock.embed.models import Model, UnknownModel
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import TokenIds


class Choice(NamedTuple):
    """A path, and one line each on why it is this one and why in this format."""

    path: Path[Any]
    dtype: str
    dtype_why: str
    path_why: str


def chosen(
    model: Model, device: str, formats: Sequence[Precision], *, tokenizer: Tokenizer, tokens: int, rows: int
) -> Choice:
    """Try the fast path and then the ordinary one in each format, the best first, and take the first that passes.

    `tokens`: computed together, to begin with; `rows`: at most, where they are padded. Raises `UnknownModel` for a
    model of which not even the ordinary path makes what sentence-transformers does, and ValueError for a format that
    was the only one and moves vectors.
    """
    reference = Ordinary.load(model, device)
    shapes = Shapes(model.max_tokens, tokens, max_rows=rows)
    against: list[str] = []
    for precision in formats:
        exact = precision.dtype == "float32"
        bar = _Bar(reference, tokenizer, model.max_tokens, parity.EXACT if exact else parity.LOWERED)
        fast, found = _fast(reference, precision.dtype, device, max(tokens, model.max_tokens), bar)
        if fast is not None:
            said = "; ".join(filter(None, (f"cosine {found} to sentence-transformers in fp32", reference.note)))
            return Choice(fast, precision.dtype, "; ".join([precision.why, *against]), said)
        plain = reference if exact else Ordinary.load(model, device)
        if not exact:
            plain.lower(precision.dtype)
        padded = Padded(plain, shapes)
        if (why_not := bar.probe(padded).why_not) is None:
            return Choice(
                padded,
                precision.dtype,
                "; ".join([precision.why, *against]),
                "; ".join(filter(None, (found, plain.note))),
            )
        against.append(why_not)
    if formats[-1].dtype == "float32":
        raise UnknownModel(f"model {model.name}: its vectors cannot be made as they should be: {against[-1]}")
    raise ValueError(f"dtype {formats[-1].dtype}: {against[-1]}; use auto or float32")


class _Bar(NamedTuple):
    """What a path has to pass."""

    reference: Ordinary
    tokenizer: Tokenizer
    longest: int
    least: float

    def probe(self, path: Path[Any]) -> parity.Parity:
        network, tokenizer = self.reference.network, self.tokenizer
        return parity.probe(_vectors(path, tokenizer.prompt), network, tokenizer, self.longest, least=self.least)

    def invariant(self, path: Path[Any]) -> str | None:
        return parity.invariant(_vectors(path, self.tokenizer.prompt), self.tokenizer, self.longest)


def _fast(reference: Ordinary, dtype: str, device: str, tokens: int, bar: _Bar) -> tuple[Packed | None, str]:
    """The fast path and its cosine, or None and why not. Raises what a device's own faults are."""
    model = reference.model
    try:
        fast = Packed.of(
            reference.network,
            dtype=dtype,
            device=device,
            longest=model.max_tokens,
            truncate=model.truncate_dim,
            budget=tokens,
        )
        found = bar.probe(fast)
        if (why_not := found.why_not or bar.invariant(fast)) is None:
            return fast, f"{found.min_cosine:.5f}"
    except NotKnown as unknown:
        why_not = str(unknown)
    except Exception as error:
        if fault(error) is not Fault.OTHER:
            raise
        why_not = first_line(error)
    return None, why_not


def _vectors(path: Path[Any], prompt: str) -> Callable[[Sequence[TokenIds]], NDArray[np.float32]]:
    left_out = path.prompt_tokens(prompt)

    def of(ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        found: dict[int, NDArray[np.float32]] = {}
        for work in path.plan([len(sequence) for sequence in ids]):
            rows = path.start([ids[position] for position in work.positions], work, prompt=left_out)()
            found.update(zip(work.positions, rows, strict=True))
        return np.stack([found[position] for position in range(len(ids))])

    return of
