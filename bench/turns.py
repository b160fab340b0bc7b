"""One thing and another by turns while something runs: a machine whose speed changes is the same for both."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import family
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """`began` and `ended`: seconds since 1970."""

    side: str
    began: float
    ended: float


class Turns:
    """While it is entered: calls what a side is, leaves it so for `period` seconds, goes on to the next, and round."""

    def __init__(self, sides: Mapping[str, Callable[[], object]], period: float) -> None:
        self._sides, self._period = sides, period
        self.turns: list[Turn] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Turns:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for side in itertools.cycle(self._sides):
            self._sides[side]()
            began = time.time()
            over = self._over.wait(self._period)
            self.turns.append(Turn(side, began, time.time()))
            if over:
                return


def stand(root: int) -> None:
    """A process and all below it do nothing, until they go."""
    _tell(root, signal.SIGSTOP)


def go(root: int) -> None:
    _tell(root, signal.SIGCONT)


def _tell(root: int, what: signal.Signals) -> None:
    """To those too that were started while we looked."""
    told: set[int] = set()
    while new := family.members(root).keys() - told:
        for pid in new:
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass
        told |= new


def lost(batches: NDArray[np.float64], turns: list[Turn], side: str) -> tuple[float, float, int]:
    """Per cent that turns of `side` are slower than those around them, its standard error, and of how many.

    `batches`: float64 (batches, 2), the moment at which each ended, and its tokens, which count evenly from the end of
    the one before. A turn is held against the mean of the one before and the one after it, so that a machine that
    becomes slower or faster adds nothing; only turns between the first batch and the last count.
    """
    ends, done = batches[:, 0], np.cumsum(batches[:, 1])
    inside = [turn for turn in turns if turn.began >= ends[0] and turn.ended <= ends[-1]]
    tokens = [np.diff(np.interp([turn.began, turn.ended], ends, done))[0] for turn in inside]
    rates = [count / (turn.ended - turn.began) for count, turn in zip(tokens, inside, strict=True)]
    shares = np.array([
        100 * (1 - 2 * rates[at] / (rates[at - 1] + rates[at + 1]))
        for at in range(1, len(inside) - 1)
        if inside[at].side == side
    ])  # fmt: skip
    if len(shares) < 2:
        raise ValueError(f"only {len(shares)} turns lay between others: let it embed for longer, or turns be shorter")
    return float(shares.mean()), float(shares.std(ddof=1) / len(shares) ** 0.5), len(shares)
