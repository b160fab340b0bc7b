"""When a document that failed is tried again: soon, then ever more rarely, never more rarely than once a day."""

from __future__ import annotations

FIRST, FACTOR, LONGEST = 60.0, 4.0, 86_400.0


def next_try(now: float, attempts: int, after: float = 0.0) -> float:
    """The time of the next try after `attempts` tries; `after` is the wait in seconds that the source asked for.

    After the first failure the next run tries again, whenever that is: most faults have passed by then.
    """
    wait = 0.0 if attempts <= 1 else min(FIRST * FACTOR ** min(attempts - 2, 20), LONGEST)
    return now + max(wait, min(max(after, 0.0), LONGEST))
