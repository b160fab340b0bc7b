"""A set of numbers that were handed out one after the other: a bit for each, in pieces that are made when needed."""

from __future__ import annotations

_BITS = 1 << 11


class SeenIds:
    """Ten million ids that were numbered through take about two megabytes."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether it was not there yet. `number` is not negative."""
        piece = self._pieces.setdefault(number // _BITS, bytearray(_BITS // 8))
        at, bit = number % _BITS // 8, 1 << number % 8
        new = not piece[at] & bit
        piece[at] |= bit
        return new
