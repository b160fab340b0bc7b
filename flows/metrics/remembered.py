"""What one look leaves for the next where each is a process of its own: since when problems last, who was told.

It lies in the home, `watch.json`. A file that cannot be read knows nothing: then somebody may be told again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.flows.metrics.look import Problem
from penstock.flows.recovery.drill_log import replace

FILE = "watch.json"


class Remembered(msgspec.Struct, frozen=True):
    """`since`: problem → when it was first seen; `told`: those that somebody was told of. `counts`, `sum`: searches."""

    since: dict[str, float] = {}
    told: tuple[str, ...] = ()
    counts: list[int] = []
    sum: float = 0.0

    def seen(self, problems: Iterable[Problem], now: float) -> Remembered:
        """With the problems of a look: what is well again is forgotten."""
        keys = {each.key for each in problems}
        since = {key: min(self.since.get(key, now), now) for key in sorted(keys)}
        return msgspec.structs.replace(self, since=since, told=tuple(key for key in self.told if key in keys))

    def due(self, problems: Iterable[Problem], now: float) -> list[Problem]:
        """Those that lasted beyond their patience, and that nobody was told of."""
        return [each for each in problems if each.key not in self.told and now - self.since[each.key] >= each.patience]

    def telling(self, problems: Iterable[Problem]) -> Remembered:
        """Somebody was told of these."""
        return msgspec.structs.replace(self, told=tuple(sorted({*self.told, *(each.key for each in problems)})))


def read(home: Path) -> Remembered:
    """Nothing where there is no file, or one that cannot be read."""
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=Remembered)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Remembered()


def write(home: Path, remembered: Remembered) -> None:
    """Whole or not at all. Raises `OSError`."""
    replace(home / FILE, msgspec.json.encode(remembered))
