"""One version, opened, and who still needs it: its files are let go of when the last search on it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from penstock.index.blobs.deadline import spread
from penstock.index.reading.places import Published
from penstock.index.segments.segment import Segment, VectorMemory
from penstock.index.types import SegmentRef, SpaceRef


class Served:
    """A version that a reader serves. It is swapped whole, so a search never sees two versions.

    It is made with one holder, who lets go with `release`; `lease` is held by each search. Segments that are
    also in the version before are shared with it, with what was read of them, however many versions follow.
    """

    def __init__(self, published: Published, report: Callable[[str], None], memory: VectorMemory) -> None:
        self.published, self._report, self._memory = published, report, memory
        self._lock = threading.Lock()
        self._holders = 1
        self._spaces: dict[str, list[Segment]] = {}
        self._shared: dict[tuple[str, str], _Shared] = {}
        self._opening = threading.RLock()

    @classmethod
    def open(
        cls, published: Published, report: Callable[[str], None], memory: VectorMemory, before: Served | None
    ) -> Served:
        """Open the live space's files now, so that they can be read on when the stores are gone.

        `before`, if given, must be leased by the caller.
        """
        served = cls(published, report, memory)
        old = dict(before._spaces) if before else {}
        try:
            for name in sorted({published.manifest.live, *old} & published.manifest.spaces.keys()):
                served._open(name, published.manifest.spaces[name], before)
        except BaseException:
            served.release()
            raise
        return served

    @contextmanager
    def lease(self) -> Iterator[bool]:
        """Hold it meanwhile; False if it was let go of before."""
        with self._lock:
            alive = self._holders > 0
            self._holders += alive
        try:
            yield alive
        finally:
            if alive:
                self.release()

    def release(self) -> None:
        """Let go. The last one closes the files that no other version shares."""
        with self._lock:
            self._holders -= 1
            if self._holders:
                return
        for shared in self._shared.values():
            shared.release()
        self._shared, self._spaces = {}, {}

    def segments(self, name: str | None) -> list[Segment]:
        """The segments of a space, the live one for None. The caller holds a lease. `ValueError` if unknown."""
        manifest = self.published.manifest
        chosen = manifest.live if name is None else name
        with self._opening:
            if chosen not in self._spaces:
                if chosen not in manifest.spaces:
                    if name is None:
                        return []  # nothing was ever indexed
                    there = ", ".join(sorted(manifest.spaces)) or "none"
                    raise ValueError(f"no space {name!r} in this index; there are: {there}")
                self._open(chosen, manifest.spaces[chosen], None)
            return self._spaces[chosen]

    def _open(self, name: str, space: SpaceRef, before: Served | None) -> None:
        """Open what is new; a segment that was open before keeps its vectors, whatever died in it."""
        known = {_key(one.ref): one for one in before._spaces.get(name, ())} if before else {}
        opened: dict[str, Segment] = {}

        def open_one(ref: SegmentRef) -> None:
            segment = self._held(ref, before)
            newest = known.get(_key(ref), segment)
            opened[ref.id] = newest if newest.ref == ref else newest.renewed(ref, self.published.stores)
            _ = opened[ref.id].dead  # small, and nothing may be found that died

        work = [partial(open_one, ref) for ref in space.segments]
        if getattr(next(iter(self.published.stores), None), "remote", False):
            spread(work)  # each waits for a server
        else:
            for each in work:
                each()
        self._spaces[name] = [opened[ref.id] for ref in space.segments]

    def _held(self, ref: SegmentRef, before: Served | None) -> Segment:
        """The open segment with these rows, held by this version: shared with the one before if it has it."""
        key = _key(ref)
        shared = self._shared.get(key)
        if shared is None:
            shared = before._shared.get(key) if before else None
            if shared is None:
                shared = _Shared(Segment(ref, self.published.stores, self._report, self._memory))
            else:
                shared.hold()
            self._shared[key] = shared
        return shared.segment


def _key(ref: SegmentRef) -> tuple[str, str]:
    return ref.index.name, ref.rows.name


class _Shared:
    """An open segment, and how many versions hold it."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._lock = threading.Lock()
        self._holders = 1

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self.segment.close()
