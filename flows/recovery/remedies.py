"""What helps where a DR store cannot be shipped to: the next command, and what a person does before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.index.errors import Corrupt, NoSpace, Unavailable, WrongIndex

if TYPE_CHECKING:
    from penstock.index.recovery.lag import Obstacle

SHIP = "penstock ship"
EMPTY_PLACE = f"give [snapshots] store an empty place, then: {SHIP}"
RESTORED = "work with the index that was restored; this one can still be asked: penstock search QUESTION"
EMPTIED = f"mount it; if it is meant to be empty: {SHIP} --anew"


class Emptied(Unavailable):
    """A place that was shipped to is empty, or not there: not mounted, or meant."""


def of_fault(fault: Exception) -> str:
    """Where shipping ended with this."""
    from penstock.index.recovery.carrying import Unreadable

    if isinstance(fault, Emptied):
        return EMPTIED
    if isinstance(fault, NoSpace):
        return f"make room there, then: {SHIP}"
    if isinstance(fault, WrongIndex):
        return EMPTY_PLACE
    if isinstance(fault, Unreadable):
        return "penstock repair"
    return "penstock snapshot verify" if isinstance(fault, Corrupt) else SHIP


def of_obstacle(obstacle: Obstacle | None) -> str:
    """Where the DR store answers, and this lies in the way."""
    from penstock.index.recovery.lag import Obstacle

    steps = {
        None: SHIP,
        Obstacle.ANOTHERS: EMPTY_PLACE,
        Obstacle.MARKER: f"penstock snapshot verify; delete shipped.json in the DR store, then: {SHIP}",
        Obstacle.SHUT_OUT: RESTORED,
        Obstacle.FENCE: f"if nobody restored this index: delete that file in the DR store, then: {SHIP}",
    }
    return steps[obstacle]
