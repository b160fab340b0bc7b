"""What is computed next, after any sequence of deaths: a pure state machine, without processes.

A death proves little: it may be the machine's, or a batch's, or one text's. What was in flight is remembered. Whatever
is in flight at a second death is suspected, and split; the least suspected go first, so that all that is innocent
lands and shows that the device is well before anything is accused. A text that is alone when it kills, twice, and the
second time as the first thing that a process was given, is condemned. With `n` in flight that takes O(log n) deaths.

Condemning needs a device that works. A verdict is held back until a vector came after it, or nothing is left to do;
and after some deaths with nothing between them the device is sick, not the texts.
"""

from __future__ import annotations

import heapq

import msgspec
import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
_NONE: Positions = np.empty(0, dtype=np.int64)

_AT_ONCE = -1

PARTS = 16
"""A group of suspects is split into this many: parts are cheap, since all but one of them come at the first try."""
MOST_UNEXPLAINED = 3
"""Deaths in a row, with nothing between them, of which none of the suspects was the cause."""
MOST_BARREN = 10
"""Deaths in a row, with nothing between them, whatever the cause."""


class Health(msgspec.Struct):
    """What deaths say about the device. It outlives a shard: a vector that comes puts it right."""

    barren: int = 0
    """Deaths since the last vector."""
    unexplained: int = 0
    """Those of them at which no suspect was in flight."""

    @property
    def sick(self) -> bool:
        """Trying again helps no more."""
        return self.unexplained >= MOST_UNEXPLAINED or self.barren >= MOST_BARREN

    def well(self) -> None:
        """A vector came."""
        self.barren = self.unexplained = 0


class Isolation:
    """The positions 0 to `count` - 1: which are done, which come next, which are condemned."""

    def __init__(self, count: int, health: Health) -> None:
        self._health = health
        self._done = np.zeros(count, dtype=bool)
        self._blamed = np.zeros(count, dtype=bool)
        self._queue: list[tuple[int, int, Positions]] = []
        self._serial = 0
        self._group: Positions | None = None
        self._rank = 0
        self._fresh = False
        self._accused: set[int] = set()
        self._held: list[int] = []
        self._condemned: list[int] = []
        self._put(np.arange(count, dtype=np.int64), 0)

    @property
    def left(self) -> int:
        """Positions without an outcome."""
        return int(len(self._done) - np.count_nonzero(self._done))

    def next(self) -> Positions | None:
        """What to compute now, in one call of the engine; None when nothing is left."""
        if not self._queue:
            return None
        self._rank, _, self._group = heapq.heappop(self._queue)
        return self._group

    def came(self, positions: Positions) -> None:
        """These have a vector."""
        self._done[positions] = True
        if len(positions):
            self._fresh = False
            self._health.well()
            self._release()

    def refused(self, position: int) -> None:
        """The engine itself makes no vector of this one."""
        self._done[position] = True
        self._fresh = False

    def finished(self) -> Positions:
        """The group has been computed, or its process is gone. Gives those of it that have no outcome."""
        group, self._group = self._group, None
        return _NONE if group is None else group[~self._done[group]]

    def died(self, announced: Positions | None = None) -> list[int]:
        """The process died, or was given up. Gives the position that was alone, if one was.

        `announced`: positions that it was known to have begun, None if nobody knows.
        """
        alone = self._group is not None and len(self._group) == 1
        fresh, self._fresh = self._fresh, True
        missing = self.finished()
        flying = missing if announced is None else np.intersect1d(missing, announced)
        if not len(flying):
            flying = missing  # it died of the group, but before it had come to a batch
        repeated = flying[self._blamed[flying]]
        self._blamed[flying] = True
        self._health.barren += 1
        self._health.unexplained += not len(repeated)
        if alone and len(missing):
            self._accuse(int(missing[0]), fresh)
            return [int(missing[0])]
        if len(repeated):
            self._put(np.setdiff1d(missing, repeated), self._rank)
            for part in np.array_split(repeated, min(PARTS, len(repeated))):
                self._put(part, self._rank + 1)
        else:
            self._put(missing, self._rank)
        return []

    def condemned(self) -> list[int]:
        """Positions that killed the process twice while they were alone; each is given once."""
        if not self._queue and self._group is None:
            self._release()
        told, self._condemned = self._condemned, []
        return told

    def _accuse(self, position: int, fresh: bool) -> None:
        if fresh and position in self._accused:
            self._done[position] = True
            self._held.append(position)
            return
        self._accused.add(position)
        rank = self._rank + 1 if fresh else _AT_ONCE  # what the process had computed before may have made it sick
        self._put(np.array([position], dtype=np.int64), rank)

    def _release(self) -> None:
        self._condemned += self._held
        self._held = []

    def _put(self, positions: Positions, rank: int) -> None:
        """The least suspected are computed first; among these, those that have waited longest."""
        if len(positions):
            heapq.heappush(self._queue, (rank, self._serial, positions))
            self._serial += 1
