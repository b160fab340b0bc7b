"""Run by test_crash.py as a process of its own: commits, and dies by SIGKILL at the named point.

Arguments: home, point, which time it is reached, and what to do: `create`, `commit`, `open`, `rollback` (to the
version before the head), or `race` (never dies: commits documents named after `point`, and one that all racers change).
Each acknowledged version is printed, flushed, before anything else happens.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from penstock.index.care.rollback import rollback
from tests.index.world import World, delta

CHANGE = {"s/a": "uno dos", "s/b": None, "s/c": "new one here"}


def main(home: str, point: str, times: int, what: str) -> None:
    left = times

    def reach(here: str) -> None:
        nonlocal left
        left -= here == point
        if here == point and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    world = World(Path(home))
    writer = world.create(reach) if what == "create" else world.open(reach)
    if what == "commit":
        print(writer.commit(delta(writer.head().version, CHANGE)).version, flush=True)
    if what == "rollback":
        print(rollback(writer, writer.head().version - 1).version, flush=True)
    if what == "race":
        made = {f"s/{point}.{n}": "own" for n in range(times)} | {"s/a": f"by {point}"}
        done = writer.commit(delta(1, made))
        print(done.version, *done.dropped, flush=True)
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
