"""The process that outlives `penstock up` by a moment, and ends what it left.

Run as `python -P -m penstock.flows.deploying.watchman MARK DATA`, with one end of a pipe as stdin. Nothing is ever
said there: it closes when `up` is gone, whatever it died of. Then all that has the mark is killed, worker, server, flow
runs and what they started, and the lock on DATA, which came with us, is let go.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from penstock.flows.deploying import services
from penstock.flows.wiring import sleep


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # it ends when `up` does, not before
    while os.read(0, 1):
        pass
    services.end(sys.argv[1], Path(sys.argv[2]), sleep)


if __name__ == "__main__":
    main()
