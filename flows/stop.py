"""A polite stop: the first signal asks, the second insists.

After the first, the commit in hand is finished, the shard on the device keeps what it has in the spool, and
the run says how to go on. After the second the process ends at once; that loses nothing acknowledged either.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


class Stop:
    """Says whether somebody asked the run to stop. Safe to ask from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        self._event.set()

    def __call__(self) -> bool:
        return self._event.is_set()


@contextmanager
def on_signals(stop: Stop, told: Callable[[str], None]) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM request the stop; a second one ends the process with 130.

    Does nothing outside the main thread, where Python takes no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop():
            os._exit(INTERRUPTED)
        stop.request()
        told("stopping: the commit in hand is finished first; once more ends at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
