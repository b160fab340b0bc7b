"""A bound on the processor time of a library, for a parser that has another way when it is too slow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfPatience(BaseException):
    """The time is up. Not an `Exception`: no library is to swallow it."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises `OutOfPatience` inside the block after `seconds` of processor time. It reaches Python code alone: in a
    call of native code it waits for the call's end. Off the main thread there is no bound. Blocks do not nest."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGPROF, _raise)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def _raise(signum: int, frame: FrameType | None) -> None:
    raise OutOfPatience("it took too long")
