"""Reading an index: files in, ranked chunks out. No catalog, no writer, no configuration."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.index.blobs.blockcache import BlockCache, RecentBlocks
from penstock.index.blobs.watched import PATIENCE, Watched
from penstock.index.commits.state import StateView, TextView
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.reading import passages
from penstock.index.reading import places as published_at
from penstock.index.reading.finding import Finder
from penstock.index.reading.passages import Passage
from penstock.index.reading.places import Published
from penstock.index.reading.problems import Problems
from penstock.index.reading.served import Served
from penstock.index.segments.facets import Filter
from penstock.index.segments.search import Match, top_k
from penstock.index.segments.segment import VectorMemory
from penstock.index.stores.store import Store
from penstock.index.types import DocState, DocText, Hit, Manifest

T = TypeVar("T")
_log = logging.getLogger("penstock.index")
_RECENT = 8
"""This part of the memory holds blocks of stores without local files; the rest holds vectors."""


class Reader:
    """The newest published version of an index, searched.

    Everything is verified before it is used; a copy that is bad, missing or late is reported in one line and read
    from another replica, and the answer is the same from each. A version that is being served stays served when
    all stores are gone, as far as its files are held open or in memory, until `close`. One reader may be
    shared by threads. The version never goes back.

    Before the first commit the version is 0 and nothing is found. Raises `WrongIndex` (no index there, or
    a newer format), `Corrupt`, `Unavailable`.
    """

    def __init__(
        self,
        finder: Finder,
        problems: Problems,
        memory: VectorMemory,
        clock: Callable[[], float],
        lineage: str | None,
        version: int | None = None,
    ) -> None:
        """Use `open`."""
        self._only = version
        self._finder, self._problems, self._memory, self._clock = finder, problems, memory, clock
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._closed = threading.Event()
        self._served = Served.open(self._newest(lineage), problems, memory, None)

    @classmethod
    def open(
        cls,
        *places: str | Path | Store,
        lineage: str | None = None,
        version: int | None = None,
        report: Callable[[str], None] | None = None,
        cache: Path | None = None,
        cache_bytes: int = 2 << 30,
        memory_bytes: int = 256 << 20,
        refresh_seconds: float | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> Reader:
        """Open the index at a home, or at replicas of one: directories, URLs and stores, freely mixed.

        `lineage`: which index it must be; None for what most of the replicas say. `version`: exactly that one, which
        must be retained (else `NotRetained`); such a reader stays with it.
        `report` gets one line for everything that is wrong with a replica; by default it is logged. `cache`: a
        folder where blocks of stores without local files are kept, up to `cache_bytes`. `memory_bytes` bounds
        the vectors and blocks that are held. `refresh_seconds`: go on to new versions by itself, on a thread
        that `sleep`s in between. `patience`: seconds to wait for one replica while there is another.
        """
        problems = Problems(report or _log.warning, clock)
        blocks = BlockCache(cache, cache_bytes) if cache is not None else None
        recent = RecentBlocks(memory_bytes // _RECENT)

        def watch(store: Store) -> Watched:
            return Watched(store, clock=clock, cache=blocks, recent=recent, patience=patience)

        memory = VectorMemory(memory_bytes - memory_bytes // _RECENT)
        reader = cls(Finder(places, watch, clock=clock), problems, memory, clock, lineage, version)
        if refresh_seconds is not None:
            pause = sleep or reader._closed.wait
            follow = threading.Thread(
                target=_follow,
                args=(weakref.ref(reader), reader._closed, refresh_seconds, pause),
                name="penstock-refresh",
                daemon=True,
            )
            follow.start()
        return reader

    @property
    def version(self) -> int:
        """The version that is served."""
        return self._served.published.manifest.version

    @property
    def manifest(self) -> Manifest:
        """Everything that the served version is."""
        return self._served.published.manifest

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int = 10,
        *,
        space: str | None = None,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Return the k best chunks for each query vector, best first, equal scores by chunk id.

        `vectors`: float32 (q, d), made as the space's identity says. `space`: None for the live one. `where`:
        only rows that it lets through. `exact`: score every one of them, where an index of kind `ivf` would
        look only at what is near. Raises `ValueError` for k < 1, vectors that are not finite or not of the
        space's width, an unknown space, and after `close`; `Corrupt` or `Unavailable` when no replica has a
        good copy of what is needed, and none has a newer version either.
        """

        def find(served: Served) -> list[list[Hit]]:
            found = top_k(served.segments(space), vectors, k, where=where, exact=exact)
            return [[_hit(match) for match in matches] for matches in found]

        return self._answered(find)

    def states(self, source: str | None = None) -> Iterator[DocState]:
        """Yield the state of every document (of one source, if named), by uri."""
        published = self._served.published
        return StateView(published.manifest.state, published.stores, self._problems).scan(source)

    def find_states(self, uris: Iterable[str]) -> dict[str, DocState]:
        """Return the states of those uris that have one."""
        published = self._served.published
        return StateView(published.manifest.state, published.stores, self._problems).find(uris)

    def passages(self, uris: Iterable[str]) -> list[Passage]:
        """Return every served chunk of these documents, with its vector. Raises as `search` does."""
        wanted = list(uris)
        return self._answered(lambda served: list(passages.of_documents(served.segments(None), wanted)))

    def chunks(self, beginning: str, most: int = 2) -> list[Passage]:
        """Return served chunks whose ids begin so, `most` at most. Reads every row. Raises as `search` does."""
        return self._answered(lambda served: list(islice(passages.of_chunks(served.segments(None), beginning), most)))

    def sample(self, most: int) -> list[Passage]:
        """Return served chunks evenly spaced over the index, `most` at most: the same ones whenever it is asked of
        this version. Reads these and no others. Raises as `search` does."""
        return self._answered(lambda served: passages.spread(served.segments(None), most))

    def texts(self, uris: Iterable[str]) -> dict[str, DocText]:
        """Return the parsed texts of those documents that have one."""
        published = self._served.published
        return TextView(published.manifest.texts, published.stores, self._problems).find(uris)

    def refresh(self) -> bool:
        """Go on to the newest published version; True if that is another one.

        Never goes back, and never fails: when nothing newer can be read, that is reported and the version
        in hand is served on. Searches that run meanwhile end on the version they began with.
        """
        return self._go_on(failed=None)

    def problems(self) -> dict[str, tuple[str, ...]]:
        """What was reported since `open` (the last lines), by the name of the replica it was said of, else ""."""
        return self._problems.by(self._finder.names)

    def close(self) -> None:
        """Let go of all files and memory, each when the last search that needs it has ended.

        Waits for nothing and may be repeated. The reader cannot be used afterwards.
        """
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            served = self._served
        served.release()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _leased(self) -> Iterator[Served]:
        while not self._closed.is_set():
            served = self._served
            with served.lease() as alive:
                if alive:
                    yield served
                    return
        raise _Closed("the reader is closed")

    def _answered(self, find: Callable[[Served], T]) -> T:
        """Answer from the version in hand; where its files are gone, once more from what is published now."""
        with self._leased() as served:
            try:
                return find(served)
            except (Corrupt, Unavailable) as fault:
                first = fault
        self._problems(f"{first}; opening the newest version anew")
        self._go_on(failed=served)
        with self._leased() as served:
            try:
                return find(served)
            except (Corrupt, Unavailable) as fault:
                raise fault from first

    def _go_on(self, *, failed: Served | None) -> bool:
        """Open the newest version if it is newer. In place of one that `failed`, the same one will do, opened anew."""
        with self._refreshing:
            try:
                with self._leased() as old:
                    if failed is not None and failed is not old:
                        return False  # another search met the same and was faster
                    published = self._newest(old.published.manifest.lineage)
                    newer = _age(published) > _age(old.published)
                    if not newer and (failed is None or _age(published) < _age(old.published)):
                        return False
                    before = old if failed is None else None
                    self._swap(old, Served.open(published, self._problems, self._memory, before))
            except (IndexFault, OSError) as fault:
                self._problems(f"{fault}; still serving version {self.version}")
                return False
            except _Closed:
                return False
            return newer

    def _swap(self, old: Served, fresh: Served) -> None:
        with self._lock:
            closed = self._closed.is_set()
            if not closed:
                self._served = fresh
        (fresh if closed else old).release()

    def _newest(self, lineage: str | None) -> Published:
        stores = self._finder.stores(self._problems)
        published = published_at.newest(stores, self._problems, clock=self._clock, lineage=lineage, version=self._only)
        if published is None:
            raise WrongIndex(f"{self._finder.named}: there is no index here; name a home or a replica of one")
        return published


class _Closed(ValueError):
    """The reader was closed before this began."""


def _follow(
    reader: weakref.ref[Reader], closed: threading.Event, seconds: float, sleep: Callable[[float], object]
) -> None:
    """Refresh until the reader is closed, or nobody has it any more."""
    while not closed.is_set():
        sleep(seconds)
        there = reader()
        if there is None or closed.is_set():
            return
        there.refresh()
        del there


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
