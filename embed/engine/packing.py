"""Which sequences are computed together when they lie end to end, without padding: a pure planner over lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec


class Pack(msgspec.Struct, frozen=True):
    """Sequences end to end: `positions` into the input, their `lengths`, and tokens computed, filling counted."""

    positions: tuple[int, ...]
    lengths: tuple[int, ...]
    padded: int

    def runs(self) -> Iterator[tuple[int, int]]:
        """(how many, of which length) for each run of equally long neighbours: those can be attended to at once."""
        for length, run in groupby(self.lengths):
            yield sum(1 for _ in run), length


class Packing(msgspec.Struct, frozen=True):
    """Packs of at most `budget` tokens, or of one sequence that is longer.

    A pack is filled up to a multiple of `step`, and holds at most `most` sequences. Where the sum of its lengths may
    change a vector's bits, `step` is `budget`, which leaves one size.
    """

    budget: int
    step: int = 16
    most: int = 1 << 30

    def plan(self, lengths: Sequence[int]) -> list[Pack]:
        """Packs, longest sequences first; each position exactly once."""
        order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
        packs: list[Pack] = []
        held: list[int] = []
        room = self.budget
        for position in order:
            if held and (lengths[position] > room or len(held) == self.most):
                packs.append(self.pack(held, lengths))
                held, room = [], self.budget
            held.append(position)
            room -= lengths[position]
        if held:
            packs.append(self.pack(held, lengths))
        return packs

    def pack(self, positions: Sequence[int], lengths: Sequence[int]) -> Pack:
        """The pack of these positions, in this order."""
        inside = tuple(lengths[position] for position in positions)
        padded = -(-sum(inside) // self.step) * self.step
        return Pack(tuple(positions), inside, padded)

    def halves(self, pack: Pack) -> tuple[Pack, Pack] | None:
        """The same sequences in two packs; None for a lone one."""
        count = len(pack.positions)
        if count == 1:
            return None
        lengths = dict(zip(pack.positions, pack.lengths, strict=True))
        return tuple(  # type: ignore[return-value]
            Pack(part, sizes := tuple(lengths[p] for p in part), -(-sum(sizes) // self.step) * self.step)
            for part in (pack.positions[: count // 2], pack.positions[count // 2 :])
        )
