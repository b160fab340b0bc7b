"""Lines that are said once: a hundred blobs may all meet the same replica that is away."""

from __future__ import annotations

import re

_TWICE = re.compile(r"(?<!\S)(\S+): (?:\1: )+")


def once_named(message: str) -> str:
    """Without a place that is named twice in a row: by who met the fault, and by the fault itself. Pure."""
    return _TWICE.sub(r"\1: ", message)


class Said:
    """What has been said. May be asked from several threads; at worst a line is there twice then."""

    def __init__(self) -> None:
        self._lines: set[str] = set()

    def new(self, line: str) -> bool:
        """Whether this line was not there yet; from now on it was."""
        known = line in self._lines
        self._lines.add(line)
        return not known

    def forget(self) -> None:
        """All may be said again."""
        self._lines.clear()
