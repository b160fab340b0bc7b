"""A reader that is kept open and brought up to date, and how long searches take with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader
    from penstock.index.types import Manifest

PROBES, HITS = 5, 10
"""Searches at each look, each for so many passages."""


@dataclass(frozen=True, slots=True)
class Served:
    """What can be searched, and the seconds that each probe took."""

    manifest: Manifest
    searches: tuple[float, ...]


class Searching:
    """`opened`: opens the newest version, None where there is none yet. Not thread-safe."""

    def __init__(self, opened: Callable[[], Reader | None]) -> None:
        self._opened = opened
        self.reader: Reader | None = None
        self._version = -1
        self._vectors: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []

    def look(self) -> Served | None:
        """Go on to the newest version and search it; None where nothing was ever committed. Raises as a reader does."""
        if self.reader is None:
            self.reader = self._opened()
        else:
            self.reader.refresh()
        if self.reader is None:
            return None
        self._choose(self.reader)
        searches = []
        for vector in self._vectors:
            began = time.perf_counter()
            self.reader.search(vector[np.newaxis], k=HITS)
            searches.append(time.perf_counter() - began)
        return Served(self.reader.manifest, tuple(searches))

    def close(self) -> None:
        """Let go of the reader. May be repeated."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def _choose(self, reader: Reader) -> None:
        """Passages of this version; the first search opens what lies on disk, and is not one of those that count."""
        if reader.version == self._version:
            return
        self._vectors = [passage.vector for passage in reader.sample(PROBES)]
        self._version = reader.version
        if self._vectors:
            reader.search(self._vectors[0][np.newaxis], k=HITS)
