"""A process that wants a slot: says `waiting`, `held`, and ends when its input does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from penstock.flows.runs import slots


def main() -> None:
    where, priority = Path(sys.argv[1]), int(sys.argv[2])
    with slots.hold(
        "cpu",
        where=where,
        sleep=lambda _: time.sleep(0.01),
        stopped=lambda: False,
        waiting=lambda: say("waiting"),
        priority=priority,
    ):
        say("held")
        sys.stdin.read()


def say(what: str) -> None:
    os.write(1, what.encode() + b"\n")


if __name__ == "__main__":
    main()
