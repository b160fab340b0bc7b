"""When a person is told that the process is silent, and in which words."""

from __future__ import annotations

from collections.abc import Callable


class Vigil:
    """Tells a person of a long silence: when it has lasted `first` seconds, and whenever it has lasted twice as long.

    `say` is given the seconds of silence. As `silent` of `Life.next`.
    """

    def __init__(self, first: float, say: Callable[[float], None]) -> None:
        self._due, self._say = first, say

    def __call__(self, waited: float) -> None:
        if waited >= self._due:
            self._say(waited)
        while waited >= self._due:
            self._due *= 2


def span(seconds: float) -> str:
    """Seconds as people say them: 45 s, 1 min, 3 min 20 s."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
