"""Which sequences are computed together: a pure planner over lengths.

A sequence's shape (rows, length) follows from its own length and from nothing else. Kernels pick their
blocking by shape, so this is what makes a vector depend only on its ids: neither its neighbours nor how many
there are can change a bit of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec


class Batch(msgspec.Struct, frozen=True):
    """`positions` into the input, at most `rows` of them; computed as (rows, length), missing rows being dummies."""

    positions: tuple[int, ...]
    rows: int
    length: int

    @property
    def padded(self) -> int:
        """Tokens computed, padding and dummy rows counted."""
        return self.rows * self.length


class Shapes(msgspec.Struct, frozen=True):
    """The fixed set of shapes: lengths in multiples of `step`, as many rows as the token `budget` holds."""

    max_length: int
    budget: int
    step: int = 16
    max_rows: int = 64

    def of(self, length: int) -> tuple[int, int]:
        """(rows, padded length) for a sequence of `length` tokens. Raises ValueError beyond `max_length`.

        The padded length is longer than the sequence by at least one, except at `max_length`: transformers
        drops the attention mask when a batch has no padding at all, and another code path is other bits.
        """
        if not 0 < length <= self.max_length:
            raise ValueError(f"a sequence of {length} tokens: this model takes 1 to {self.max_length}")
        padded = min((length // self.step + 1) * self.step, self.max_length)
        return max(1, min(self.max_rows, self.budget // padded)), padded

    def pack(self, lengths: Sequence[int]) -> list[Batch]:
        """Batches, longest first; each position exactly once. Raises ValueError for a length that does not fit."""
        buckets: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for position, length in enumerate(lengths):
            _, padded = self.of(length)
            buckets[padded, padded == length].append(position)
        batches = []
        for (padded, _), members in sorted(buckets.items(), reverse=True):
            rows, _ = self.of(min(padded, lengths[members[0]]))
            batches += [Batch(tuple(members[k : k + rows]), rows, padded) for k in range(0, len(members), rows)]
        return batches
