"""What a reader met that is not as it should be: said once, and remembered by replica."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

AGAIN = 300.0
"""Seconds after which the same line is said again: a replica that is down must not fill a log."""
_MOST = 50


class Problems:
    """Passes lines on to `tell` and remembers the last ones. `clock` counts seconds. Shared by threads."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._tell, self._clock = tell, clock
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        now = self._clock()
        with self._lock:
            before = self._said.pop(line, None)
            new = before is None or now - before >= AGAIN
            self._said[line] = now if new or before is None else before
            while len(self._said) > _MOST:
                del self._said[next(iter(self._said))]
        if new:
            self._tell(line)

    def by(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The last lines, oldest first, by the replica that each begins with; "" for what is said of none."""
        known = sorted(names, key=len, reverse=True)
        found: dict[str, list[str]] = {}
        with self._lock:
            lines = list(self._said)
        for line in lines:
            whose = next((name for name in known if line.startswith((f"{name}:", f"{name}/", f"{name} "))), "")
            found.setdefault(whose, []).append(line)
        return {name: tuple(said) for name, said in found.items()}
