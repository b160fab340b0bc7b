"""`penstock restore` in processes that are made to be killed, one after another.

The one argument is JSON, a list of `Child`. Each is a process of its own, forked from this one, which has imported
everything and done nothing. Prints what became of each as JSON: its exit status as wait(2) has it, and the lineage
that the home was being given when it died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from penstock.flows.config.settings import load
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery.restoring import Request, restore
from penstock.index.recovery import progress


class Child(msgspec.Struct):
    """What a process does. `die_at`, reached `times` times, or `die_after` seconds: SIGKILL by its own hand."""

    home: str
    dr: str
    die_at: str = ""
    times: int = 1
    die_after: float = -1.0


class Ended(msgspec.Struct):
    """`status`: 0, or minus the signal. `lineage`: empty where the home is whole, or nothing was begun."""

    status: int
    lineage: str


def main(argument: str) -> int:
    ended = []
    for child in msgspec.json.decode(argument, type=list[Child]):
        pid = os.fork()
        if pid == 0:
            run(child)
        _, status = os.waitpid(pid, 0)
        half = progress.unfinished(Path(child.home))
        ended.append(Ended(os.waitstatus_to_exitcode(status), half.lineage if half else ""))
    print(msgspec.json.encode(ended).decode(), flush=True)
    return 0


def run(child: Child) -> None:
    left = child.times
    counting = threading.Lock()

    def reach(point: str) -> None:
        nonlocal left
        with counting:
            left -= point == child.die_at
            if point == child.die_at and left == 0:
                die()

    if child.die_after >= 0:
        threading.Timer(child.die_after, die).start()
    try:
        request = Request((StorePlace(child.dr),))
        restore(load(None), Path(child.home), request, lambda _: None, lambda *_: None, reach=reach)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
