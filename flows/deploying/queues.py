"""The work queues: who is picked up first. Within a device the slots decide (`flows/runs/slots.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

Queue: TypeAlias = Literal["urgent", "scheduled", "backfill"]
QUEUES: tuple[Queue, ...] = ("urgent", "scheduled", "backfill")
"""The first goes first."""

DESCRIPTIONS: Mapping[Queue, str] = {
    "urgent": "What somebody waits for.",
    "scheduled": "What keeps the index in step with its sources.",
    "backfill": "What has time: it gives way to the others.",
}

LIMITS: Mapping[str, int] = {"scheduled": 4, "backfill": 2}
"""How many runs of a queue `penstock up` lets go at once, where nobody said so: each is a process with a Python of its
own, and one SQLite answers them all. What is urgent is never held up."""


def out_of_order(priorities: Mapping[str, int | None], wanted: Sequence[str] = QUEUES) -> bool:
    """Whether the queues that are there would be picked up from in another order than `wanted`.

    Only the order is ours: a queue of somebody's own may stand between any two.
    """
    found = [priorities[name] or 0 for name in wanted if name in priorities]
    return any(first >= second for first, second in pairwise(found))
