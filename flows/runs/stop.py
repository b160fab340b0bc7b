"""A polite stop: the first signal asks, the second insists.

After the first, the commit in hand is finished, the shard on the device keeps what it has in the spool, and
the run says how to go on. After the second the process ends at once; that loses nothing acknowledged either.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from penstock.flows import prefect_api

INTERRUPTED = 130
LOADING = "load-model"
"""The name of the thread that loads a model."""


class Halted(BaseException):
    """Raised out of a wait when the run is being stopped. No failure of anybody: what waited is done by the next run.

    Not an `Exception`: whoever handles the faults of a source must not take it for one.
    """


class Stop:
    """Says whether somebody asked the run to stop. Safe to ask from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        self._event.set()

    def __call__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until the stop is requested; whether it was."""
        return self._event.wait(seconds)


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
        with suppress(Exception):  # the signal may have come in the middle of a line being written
            told("stopping: the commit in hand is finished first; once more ends at once")

    with _handling({signal.SIGINT: handle, signal.SIGTERM: handle}):
        yield


@contextmanager
def interrupting(stop: Stop) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM raise `KeyboardInterrupt`: there is nothing to finish yet.

    They request the stop as well: an exception that comes at any moment may be lost in a library's callback, and then
    the next wait ends all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.request()
        raise KeyboardInterrupt

    with _handling({signal.SIGINT: handle, signal.SIGTERM: handle}):
        yield


def leave(code: int) -> None:
    """End the process here if its exit would wait for what nobody needs any more; else return.

    For a model that is still being loaded: it takes seconds, and the interpreter cannot be torn down around a library
    that is just being loaded. For a Prefect that is away: its client would try for minutes to tell the rest. Where it
    is there it is waited for: Prefect sends its last logs at exit.
    """
    if "prefect" in sys.modules:
        if not prefect_api.configured() or prefect_api.there(seconds=2.0):
            return
    elif all(thread.name != LOADING for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object]]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
