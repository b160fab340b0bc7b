"""Documents by source and state: counted when the version has changed, and a large index not for each version.

The manifest has the sums of all sources, and nothing of each: for that, document state must be read through. So much
time may go into it and no more (`DUTY`); in between the last count stands, with the version that it is of. It is kept
in the home's cache, so that a look by a process of its own need not count again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.recovery.drill_log import replace

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader

FILE = "documents.json"
DUTY = 20
"""After a count that took a second, so many pass before the next."""
STATES = ("indexed", "failed", "rejected")


class Counted(msgspec.Struct, frozen=True):
    """source → state → documents, of `version`. `ended`: when they were counted, `seconds`: how long that took."""

    lineage: str = ""
    version: int = 0
    sources: dict[str, dict[str, int]] = {}
    ended: float = 0.0
    seconds: float = 0.0


class Documents:
    """The counts of one home. `cache`: a folder; `clock`: seconds since 1970. Not thread-safe."""

    def __init__(self, cache: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = cache / FILE, clock
        self.last = _read(self._path)

    def count(self, reader: Reader) -> Counted:
        """The counts of what `reader` serves, or the last ones where it is too early to count again. Raises as reading
        does."""
        manifest, now = reader.manifest, self._clock()
        ours = self.last.lineage == manifest.lineage
        if ours and (self.last.version == manifest.version or now < self.last.ended + DUTY * self.last.seconds):
            return self.last
        counts = manifest.counts
        if len(manifest.sources) == 1 and not counts.get("failed"):
            (source,) = manifest.sources
            of_one = {"indexed": counts.get("documents", 0), "failed": 0, "rejected": counts.get("rejected", 0)}
            self.last = Counted(manifest.lineage, manifest.version, {source: of_one}, now)
            return self.last
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for name in manifest.sources:
            found[name].update(dict.fromkeys(STATES, 0))
        for state in reader.states():
            found[state.source][state.status] += 1
        sources = {name: dict(each) for name, each in found.items()}
        ended = self._clock()
        self.last = Counted(manifest.lineage, manifest.version, sources, ended, max(0.0, ended - now))
        with suppress(OSError):
            replace(self._path, msgspec.json.encode(self.last))
        return self.last


def _read(path: Path) -> Counted:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counted)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Counted()
