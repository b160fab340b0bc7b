"""Filling replicas from DR stores: each blob is read once, and gets its name when all of it was checked.

A blob that is there under its name was checked when it came, so who goes on after a kill fetches only the rest.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from penstock.index.blobs import blob, copying
from penstock.index.errors import Corrupt, IndexFault, Unavailable, of_local_disk
from penstock.index.recovery.remedy import elsewhere
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef

AT_ONCE = 4
"""Blobs that are on their way at the same time. Each holds one piece in memory."""
WIDE = 32 << 20
"""A blob from this size on is written to all replicas while it is hashed; of smaller ones there are many at once."""
Write = Callable[[bytes], object]


class Lost(Corrupt):
    """A blob is whole in none of the DR stores."""

    def __init__(self, message: str, ref: BlobRef) -> None:
        super().__init__(message)
        self.ref = ref


class Filling:
    """Brings blobs from `sources`, the first that has each whole, to all of `replicas`.

    `scratch`: a folder for what goes to a store without local files. `progress(bytes, of so many)` is called from one
    thread at a time; `reach` after each blob. `blobs` and `bytes` count what was fetched.
    """

    def __init__(
        self,
        sources: Sequence[Store],
        replicas: Sequence[Store],
        scratch: Path,
        *,
        report: Callable[[str], None],
        progress: Callable[[int, int], None],
        reach: Callable[[str], None],
    ) -> None:
        self._sources, self._replicas, self._scratch = tuple(sources), tuple(replicas), scratch
        self._report, self._progress, self._reach = report, progress, reach
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._done = self._total = 0
        self.blobs = self.bytes = 0

    def fill(self, refs: Iterable[BlobRef]) -> None:
        """Return when every replica has them all, the small ones first. Raises `Lost`, and what a store raises."""
        needed = sorted(refs, key=lambda ref: (ref.size, ref.name))
        there = [frozenset(store.list("blobs/")) for store in self._replicas]
        self._done, self._total = 0, sum(ref.size for ref in needed)
        self._stop.clear()
        # The lanes are closed last: what is on its way when one blob is lost still needs them.
        with ThreadPoolExecutor(len(there) * AT_ONCE, "put") as lanes, ThreadPoolExecutor(AT_ONCE, "restore") as blobs:
            going: list[Future[None]] = []
            for ref in needed:
                key = blob.key(ref)
                lacking = [store for store, has in zip(self._replicas, there, strict=True) if key not in has]
                if lacking:
                    going.append(blobs.submit(self._bring, ref, lacking, lanes))
                else:
                    self._count(ref, fetched=False)
            try:
                wait(going, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()  # also where this thread was interrupted: nobody begins another blob
        for each in going:
            each.result()

    def _bring(self, ref: BlobRef, lacking: Sequence[Store], lanes: ThreadPoolExecutor) -> None:
        if self._stop.is_set():
            return
        try:
            self._from_first(ref, lacking, lanes)
        except BaseException:
            self._stop.set()
            raise
        self._count(ref, fetched=True)
        self._reach("restore.blob")

    def _from_first(self, ref: BlobRef, lacking: Sequence[Store], lanes: ThreadPoolExecutor) -> None:
        faults: list[IndexFault] = []
        for source in self._sources:
            try:
                self._copy(source, ref, lacking, lanes)
                return
            except _Unread as unread:
                faults.append(unread.fault)
                if len(self._sources) > 1:
                    said = f"{unread.fault}; taking that blob from another DR store"
                    self._report(elsewhere(said, source.name))
        if silent := next((fault for fault in faults if isinstance(fault, Unavailable)), None):
            raise silent
        raise Lost(elsewhere("; ".join(map(str, faults)), *(source.name for source in self._sources)), ref)

    def _copy(self, source: Store, ref: BlobRef, lacking: Sequence[Store], lanes: ThreadPoolExecutor) -> None:
        """Raises `_Unread` for what is wrong with the source, anything else for what is wrong here."""
        key = blob.key(ref)
        afar = [store for store in lacking if not isinstance(store, LocalStore)]
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(self._scratch_file(ref)) if afar else None
            with contextlib.ExitStack() as incoming:
                writes: list[Write] = [
                    incoming.enter_context(store.incoming(key)) for store in lacking if isinstance(store, LocalStore)
                ]
                if scratch is not None:
                    writes.append(incoming.enter_context(scratch.open("wb")).write)
                pieces = _passed(_read(source, key, ref), writes, lanes if ref.size >= WIDE else None)
                try:
                    blob.check(pieces, ref)
                except Corrupt as damage:
                    raise _Unread(Corrupt(f"{source.name}: {damage}")) from damage
            for store in afar:
                assert scratch is not None
                copying.put_blob(store, ref, scratch)

    @contextlib.contextmanager
    def _scratch_file(self, ref: BlobRef) -> Iterator[Path]:
        path = self._scratch / ref.name
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            yield path
        except OSError as fault:
            raise of_local_disk(fault, path) from fault
        finally:
            path.unlink(missing_ok=True)

    def _count(self, ref: BlobRef, *, fetched: bool) -> None:
        with self._lock:
            self._done += ref.size
            self.blobs += fetched
            self.bytes += ref.size if fetched else 0
            self._progress(self._done, self._total)


class _Unread(Exception):
    """A source does not have the blob whole, or does not answer."""

    def __init__(self, fault: IndexFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _read(source: Store, key: str, ref: BlobRef) -> Iterator[bytes]:
    try:
        yield from copying.pieces(source, key, ref.size)
    except FileNotFoundError as gone:
        raise _Unread(Corrupt(f"{source.name}: blob {ref.name} is missing")) from gone
    except Corrupt as damage:
        raise _Unread(Corrupt(f"{source.name}: {damage}")) from damage
    except Unavailable as silent:  # a store that is away, or a disk that fails at this place: nobody can tell which
        raise _Unread(Unavailable(f"blob {ref.name}: {silent}")) from silent


def _passed(pieces: Iterable[bytes], writes: Sequence[Write], lanes: ThreadPoolExecutor | None) -> Iterator[bytes]:
    """The pieces, each written before the next is read; with `lanes`, while whoever takes them looks at them."""
    for piece in pieces:
        if lanes is None:
            for write in writes:
                write(piece)
            yield piece
            continue
        going = [lanes.submit(write, piece) for write in writes]
        try:
            yield piece
        finally:  # also where the rest is not wanted: what is being written must not be closed
            wait(going)
        for each in going:
            each.result()
