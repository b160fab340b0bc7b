"""Families of processes that go by turns, so that a machine whose speed changes is the same for all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import family

Command = Callable[[], subprocess.Popen[str]]


@dataclass(frozen=True, slots=True)
class Turn:
    """`began` and `ended`: as time.time(); a turn that goes on has no end yet."""

    side: str
    began: float
    ended: float = float("inf")


class Turns:
    """While it is entered, one side at a time goes, for `period` seconds; all others stand (SIGSTOP).

    `roots`: by side, the processes that stand with everything below them. Clocks do not stand: what is done less often
    than a turn is long is done more often for each second that its process goes.
    """

    def __init__(self, roots: Mapping[str, list[int]], period: float) -> None:
        self._roots = {side: list(pids) for side, pids in roots.items()}
        self._period = period
        self._turns: list[Turn] = []
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Turns:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        for roots in self._roots.values():
            _signal(roots, signal.SIGCONT)

    @contextmanager
    def going(self, side: str, command: Command | None = None) -> Iterator[subprocess.Popen[str] | None]:
        """From the beginning of a turn of that side's, with what `command` starts; afterwards it has no turn any more.

        No turn ends while it is started, so that it never goes in another's.
        """
        with self._changed:
            before = len(self._turns)
            self._changed.wait_for(lambda: self._over or (len(self._turns) > before and self._turns[-1].side == side))
            process = command() if command is not None else None
            self._roots[side] += [process.pid] if process is not None else []
        try:
            yield process
        finally:
            with self._changed:
                _signal(self._roots.pop(side), signal.SIGCONT)
                self._changed.notify_all()

    def seconds(self, side: str, began: float, ended: float) -> float:
        """How long that side went between two moments, as time.time()."""
        with self._changed:
            mine = [turn for turn in self._turns if turn.side == side]
        return sum(max(0.0, min(turn.ended, ended) - max(turn.began, began)) for turn in mine)

    def _run(self) -> None:
        with self._changed:
            while not self._over and self._roots:
                for side in list(self._roots):
                    if side in self._roots and not self._over:
                        self._turn(side)

    def _turn(self, side: str) -> None:
        """Holds the lock, but while it waits."""
        for other, roots in self._roots.items():
            if other != side:
                _signal(roots, signal.SIGSTOP)
        self._turns.append(Turn(side, time.time()))
        _signal(self._roots[side], signal.SIGCONT)
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._over or side not in self._roots, self._period)
        self._turns[-1] = Turn(side, self._turns[-1].began, time.time())


def _signal(roots: list[int], what: signal.Signals) -> None:
    """To all of them, and to those that were started while we looked."""
    told: set[int] = set()
    while new := {pid for root in roots for pid in family.members(root)} - told:
        for pid in new:
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass
        told |= new
