"""A process that takes a slot again and again, and writes down when it had it; told to, it dies while it has it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from penstock.flows.runs import slots


def main() -> None:
    where, priority, turns, dies_at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    os.write(1, b"ready\n")
    sys.stdin.readline()  # all begin at once
    for turn in range(turns):
        with slots.hold(
            "cpu",
            where=where,
            sleep=lambda _: time.sleep(0.001),
            stopped=lambda: False,
            waiting=lambda: None,
            priority=priority,
        ):
            os.write(1, b"from %d\n" % time.monotonic_ns())
            if turn == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.002)
            os.write(1, b"to %d\n" % time.monotonic_ns())


if __name__ == "__main__":
    main()
