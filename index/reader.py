"""Reading an index: files in, ranked chunks out. No catalog, no writer, no configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from penstock.index import places as found_at
from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.places import Published
from penstock.index.search import Match, top_k
from penstock.index.segment import Segment
from penstock.index.state import StateView
from penstock.index.types import DocState, Hit, Manifest, SpaceRef

_log = logging.getLogger("penstock.index")


class Reader:
    """The newest published version of an index, searched exactly.

    Everything is verified before it is used; a bad copy is reported in one line and read from another
    replica, and the answer is the same from each. A version that is being served stays served when all
    stores are gone, until `close`. One reader may be shared by threads.

    Before the first commit the version is 0 and nothing is found. Raises `WrongIndex` (no index there, or
    a newer format), `Corrupt`, `Unavailable`.
    """

    def __init__(self, places: Sequence[Path], report: Callable[[str], None]) -> None:
        """Use `open`."""
        self._places, self._report = tuple(places), report
        self._served = _Served.open(self._newest(None), report, None)

    @classmethod
    def open(cls, *places: str | Path, report: Callable[[str], None] | None = None) -> Reader:
        """Open the index at a home directory, or at one or more of its replica directories.

        `report` gets one line for everything that is wrong with a replica; by default it is logged.
        """
        return cls([Path(place) for place in places], report or _log.warning)

    @property
    def version(self) -> int:
        """The version that is served."""
        return self._served.published.manifest.version

    @property
    def manifest(self) -> Manifest:
        """Everything that the served version is."""
        return self._served.published.manifest

    def search(self, vectors: NDArray[np.float32], k: int = 10, *, space: str | None = None) -> list[list[Hit]]:
        """Return the k best chunks for each query vector, best first, equal scores by chunk id.

        `vectors`: float32 (q, d), made as the space's identity says. `space`: None for the live one.
        Raises `ValueError` for k < 1, vectors that are not finite or not of the space's width, and for an
        unknown space; `Corrupt` or `Unavailable` when no replica has a good copy of what is needed.
        """
        segments = self._served.segments(space)
        return [[_hit(match) for match in found] for found in top_k(segments, vectors, k)]

    def states(self, source: str | None = None) -> Iterator[DocState]:
        """Yield the state of every document (of one source, if named), by uri."""
        served = self._served
        return StateView(served.published.manifest.state, served.published.stores, self._report).scan(source)

    def refresh(self) -> bool:
        """Go on to the newest published version; True if that is another one.

        Never goes back, and never fails: when nothing newer can be read, that is reported and the version
        in hand is served on.
        """
        old = self._served
        try:
            published = self._newest(old.published.manifest.lineage)
            if _age(published) <= _age(old.published):
                return False
            self._served = _Served.open(published, self._report, old)
        except (IndexFault, OSError) as fault:
            self._report(f"{fault}; still serving version {self.version}")
            return False
        return True

    def close(self) -> None:
        """Let go of all files and memory. The reader cannot be used afterwards."""
        self._served.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _newest(self, lineage: str | None) -> Published:
        stores = found_at.replicas(self._places, self._report)
        published = found_at.newest(stores, self._report, lineage=lineage)
        if published is None:
            where = ", ".join(str(place) for place in self._places) or "no place given"
            raise WrongIndex(f"{where}: there is no index here; name a home or a replica of one")
        return published


class _Served:
    """One version, opened. It is swapped whole, so a search never sees two versions."""

    def __init__(self, published: Published, report: Callable[[str], None]) -> None:
        self.published, self._report = published, report
        self._spaces: dict[str, list[Segment]] = {}

    @classmethod
    def open(cls, published: Published, report: Callable[[str], None], before: _Served | None) -> _Served:
        """Open the live space's files now, so that they can be read on when the stores are gone."""
        served = cls(published, report)
        live = published.manifest.live
        for name in {live, *(before._spaces if before else ())} & published.manifest.spaces.keys():
            known = before._spaces.get(name, []) if before else []
            served._spaces[name] = served._opened(published.manifest.spaces[name], known)
        return served

    def segments(self, name: str | None) -> list[Segment]:
        """The segments of a space, the live one for None."""
        manifest = self.published.manifest
        chosen = manifest.live if name is None else name
        if chosen not in self._spaces:
            if chosen not in manifest.spaces:
                if name is None:
                    return []  # nothing was ever indexed
                there = ", ".join(sorted(manifest.spaces)) or "none"
                raise ValueError(f"no space {name!r} in this index; there are: {there}")
            self._spaces[chosen] = self._opened(manifest.spaces[chosen], [])
        return self._spaces[chosen]

    def close(self) -> None:
        for segment in (segment for segments in self._spaces.values() for segment in segments):
            segment.close()
        self._spaces.clear()

    def _opened(self, space: SpaceRef, known: Sequence[Segment]) -> list[Segment]:
        """Open what is new; a segment that was open before keeps its vectors, whatever died in it."""
        before = {(segment.ref.index, segment.ref.rows): segment for segment in known}
        opened = []
        for ref in space.segments:
            old = before.get((ref.index, ref.rows))
            stores = self.published.stores
            opened.append(old.renewed(ref, stores) if old else Segment(ref, stores, self._report))
            _ = opened[-1].dead  # small, and nothing may be found that died
        return opened


def _age(published: Published) -> tuple[int, int]:
    return published.manifest.version, published.epoch


def _hit(match: Match) -> Hit:
    row = match.row
    return Hit(
        uri=row.uri,
        score=match.score,
        text=row.text,
        page=row.page,
        start=row.start,
        end=row.end,
        chunk_id=row.chunk_id,
        heading=row.heading,
        title=row.title,
        metadata=row.metadata,
    )
