"""A store that is read with a deadline, and asked last for a while when it was late or failed.

Only reading: a reader that must answer does not wait for one replica while another has the same bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from penstock.index.blobs.blockcache import BlockCache, RecentBlocks
from penstock.index.blobs.bytesource import ByteSource, FileSource, RangeSource
from penstock.index.blobs.deadline import Late, Slow, call
from penstock.index.errors import Unavailable
from penstock.index.stores.store import Store

PATIENCE = 0.75
"""Seconds that a read may take while another replica may have the answer."""
LONGEST = 10.0
"""Seconds that a read may take when no other replica has it: more than a client of an object store tries."""
SLOW = 0.1
"""A read that takes longer than this is answered, but others are asked first from then on."""
SUSPECT_FOR = 30.0
_MOST_STUCK = 4
"""Reads that are left behind at the same time: each holds a thread. A store with more is not asked at all."""
_T = TypeVar("_T")


class Watched:
    """Reads `store` like the store itself, but raises `Late` where that would wait. Shared by threads.

    `suspicion`: 0, 1 for a slow store, 2 for one that was late or failed within the last 30 s, or still hangs.
    `clock` counts seconds. Blocks of a store without local files are kept in `cache` and `recent`.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        cache: BlockCache | None = None,
        recent: RecentBlocks | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.name, self.store = store.name, store
        self.remote: bool = getattr(store, "remote", False)
        self._clock, self._patience = clock, patience
        self._cache, self._recent = cache, recent
        self._lock = threading.Lock()
        self._slow_until = self._suspect_until = float("-inf")
        self.stuck = 0

    @property
    def suspicion(self) -> int:
        now = self._clock()
        if self.stuck or now < self._suspect_until:
            return 2
        return 1 if now < self._slow_until else 0

    def get(self, key: str) -> bytes:
        return self.ask(lambda: self.store.get(key))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self.ask(lambda: self.store.get_range(key, start, end))

    def size(self, key: str) -> int | None:
        return self.ask(lambda: self.store.size(key))

    def list(self, prefix: str) -> Iterator[str]:
        return iter(self.ask(lambda: [*self.store.list(prefix)]))

    def local_path(self, key: str) -> Path | None:
        return self.ask(lambda: self.store.local_path(key))

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        raise AssertionError("a reader writes nothing")

    def delete(self, key: str) -> None:
        raise AssertionError("a reader writes nothing")

    def probe(self) -> None:
        raise AssertionError("a reader writes nothing")

    def source(self, key: str, content: int, patient: bool) -> ByteSource:
        """Open a blob's bytes; see `bytesource.open_source`."""
        where = f"{self.name}: {key}"

        def opened() -> ByteSource:
            path = self.store.local_path(key)
            if path is not None:
                return FileSource(path, where)
            return RangeSource(self.store, key, content, where, self._cache, self._recent)

        if self._cache is not None and self.remote:
            return _WatchedSource(opened(), self, patient)  # asks nobody yet: all of it may be in the cache
        return _WatchedSource(self.ask(opened, patient), self, patient)

    def ask(self, work: Callable[[], _T], patient: bool = False) -> _T:
        """Do `work` and raise what it raises; `Late` when it takes too long. What fails is noted."""
        seconds = LONGEST if patient else self._patience
        errand = self.errand(work)
        try:
            return call(errand, seconds)
        except Late:
            errand.abandon()
            raise Late(f"{self.name}: no answer within {seconds:g} s") from None

    def errand(self, work: Callable[[], _T]) -> Errand[_T]:
        """`work`, to be done on another thread. Raises `Late` when too many of these hang already."""
        if self.stuck >= _MOST_STUCK:
            raise Late(f"{self.name}: does not answer")
        return Errand(self, work)

    def answered(self, errand: Errand[_T], seconds: float, fault: BaseException | None) -> None:
        """An errand came back, in time or not."""
        now = self._clock()
        failed = isinstance(fault, (OSError, Unavailable)) and not isinstance(fault, FileNotFoundError)
        with self._lock:
            if errand.left:
                self.stuck -= 1
                self._suspect_until = now + SUSPECT_FOR
            errand.over = True
            if failed:
                self._suspect_until = now + SUSPECT_FOR
            elif not errand.left:
                self._suspect_until = now
                if seconds > SLOW:
                    self._slow_until = now + SUSPECT_FOR

    def left(self, errand: Errand[_T]) -> None:
        """Nobody waits for this errand any more."""
        with self._lock:
            if not errand.over:
                errand.left = True
                self.stuck += 1
            self._suspect_until = self._clock() + SUSPECT_FOR

    def now(self) -> float:
        return self._clock()


class Errand(Generic[_T]):
    """One piece of work at a store, done by whoever calls it."""

    def __init__(self, store: Watched, work: Callable[[], _T]) -> None:
        self._store, self._work = store, work
        self.over = self.left = False

    def __call__(self) -> _T:
        began, fault = self._store.now(), None
        try:
            return self._work()
        except BaseException as failed:
            fault = failed
            raise
        finally:
            self._store.answered(self, self._store.now() - began, fault)
            fault = None

    def abandon(self) -> None:
        """Stop waiting for it."""
        self._store.left(self)


class _WatchedSource:
    """A source whose reads end. What is nearby is read on the caller's own thread."""

    steady = False

    def __init__(self, source: ByteSource, store: Watched, patient: bool) -> None:
        self._source, self._store, self._patient = source, store, patient
        self.name = source.name
        self._level = store.suspicion

    @property
    def path(self) -> Path | None:
        return self._source.path

    def read(self, start: int, end: int) -> bytes:
        data = self.read_now(start, end)
        if data is not None:
            return data
        level = 0 if self._patient else self._store.suspicion
        if level > self._level:  # since it was opened here: another store may be better now
            raise (Slow if level == 1 else Late)(
                f"{self._store.name}: {'is slow' if level == 1 else 'does not answer'}"
            )
        return self._store.ask(lambda: self._source.read(start, end), self._patient)

    def read_now(self, start: int, end: int) -> bytes | None:
        return self._source.read_now(start, end)

    def keep(self, start: int, end: int, data: bytes) -> None:
        self._source.keep(start, end, data)

    def discard(self, start: int, end: int) -> bool:
        return self._source.discard(start, end)

    def close(self) -> None:
        self._source.close()
