"""Questions to places that may hang, asked again and again: who still owes an answer is not asked anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import TypeVar

from penstock.index.blobs.deadline import gather

_T = TypeVar("_T")


class Asking:
    """One place that hangs costs one thread, however often it is asked. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owed: set[str] = set()

    def __call__(self, work: Mapping[str, Callable[[], _T]], seconds: float) -> dict[str, _T | Exception]:
        """Do all of `work` at once; what came of each within `seconds`. Who is late, or still owes an answer to an
        earlier question of that name, is left out."""
        with self._lock:
            asked = {name: partial(self._answer, name, each) for name, each in work.items() if name not in self._owed}
            self._owed |= asked.keys()
        return gather(asked, lambda _: False, grace=0.0, limit=seconds, clock=time.monotonic)

    def _answer(self, name: str, work: Callable[[], _T]) -> _T:
        try:
            return work()
        finally:
            with self._lock:
                self._owed.discard(name)
