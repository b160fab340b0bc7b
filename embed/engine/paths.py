"""The ways in which token ids become vectors, behind one seam: the encoder does not know which it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.shapes import Batch, Shapes
from penstock.embed.engine.staging import Result
from penstock.embed.types import TokenIds

W = TypeVar("W", bound="Work")


class Work(Protocol):
    """What is computed together: positions into the input, and tokens computed, filling counted."""

    @property
    def positions(self) -> tuple[int, ...]: ...

    @property
    def padded(self) -> int: ...


class Path(Protocol[W]):
    """A loaded model on one path. One thread at a time may use it."""

    name: str
    """`fast` or `ordinary`."""

    def with_budget(self, tokens: int) -> None:
        """From now on, at most so many tokens are computed together."""
        ...

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens at the start of a text with this prompt pooling leaves out: 0 for most models."""
        ...

    def plan(self, lengths: Sequence[int]) -> list[W]:
        """What is computed together, longest sequences first; each position once."""
        ...

    def halves(self, work: W) -> tuple[W, W] | None:
        """The same in two; None for a lone sequence."""
        ...

    def start(self, rows: Sequence[TokenIds], work: W, *, prompt: int = 0) -> Result:
        """Begin to compute the sequences of `work`, in its order. Pooling leaves out `prompt` tokens at each start."""
        ...


class Padded:
    """The ordinary path: rows padded to fixed shapes, which follow from a sequence's own length."""

    name = "ordinary"

    def __init__(self, ordinary: Ordinary, shapes: Shapes) -> None:
        self._ordinary, self._shapes = ordinary, shapes

    def with_budget(self, tokens: int) -> None:
        shapes = self._shapes
        self._shapes = Shapes(shapes.max_length, tokens, shapes.step, shapes.max_rows)

    def prompt_tokens(self, prompt: str) -> int:
        return self._ordinary.prompt_tokens(prompt)

    def plan(self, lengths: Sequence[int]) -> list[Batch]:
        return self._shapes.pack(lengths)

    def halves(self, work: Batch) -> tuple[Batch, Batch] | None:
        count = len(work.positions)
        if count == 1:
            return None
        first, second = work.positions[: count // 2], work.positions[count // 2 :]
        return Batch(first, len(first), work.length), Batch(second, len(second), work.length)

    def start(self, rows: Sequence[TokenIds], work: Batch, *, prompt: int = 0) -> Result:
        vectors = self._ordinary.forward(rows, work.rows, work.length, prompt=prompt)
        return lambda: vectors
