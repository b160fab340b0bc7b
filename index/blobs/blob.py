"""Blobs: immutable files that can be checked block by block, and read from whichever store has a good copy.

A blob is its content, then a trailer: an XXH3-64 (little-endian) for each 4 MiB block of content, the
content's size (u64), the block size (u32) and the magic `PSB1`. What reads the content alone, such as
`faiss.read_index`, ignores what follows it.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import xxhash

from penstock.index.blobs.bytesource import BLOCK, ByteSource, MemorySource, open_source
from penstock.index.blobs.deadline import Late, Slow
from penstock.index.errors import Corrupt, NoSpace, Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

PAGE = 16 << 10
"""What is read again of a block that was verified is compared in pieces of this size."""
MAGIC = b"PSB1"
_TAIL = struct.Struct("<QI4s")
_T = TypeVar("_T")
_NAME = re.compile(r"[0-9a-f]{64}\.[A-Za-z0-9_-]{1,64}")
SPARE = 9
"""The `suspicion` of a store that is no replica: it is asked last, and its damage is none of the index's."""
_HELD = 1 << 20
"""Blobs up to this size are kept in memory once open: thousands of small segments need no descriptors."""


def seal(path: Path, txn: str) -> BlobRef:
    """Append the trailer to the finished file at `path` and name it. Streams; the file is read once.

    Raises `NoSpace` when the trailer does not fit on the disk.
    """
    whole, sums, size = hashlib.sha256(), bytearray(), 0
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            whole.update(block)
            sums += xxhash.xxh3_64_intdigest(block).to_bytes(8, "little")
            size += len(block)
    trailer = bytes(sums) + _TAIL.pack(size, BLOCK, MAGIC)
    whole.update(trailer)
    try:
        with path.open("ab") as out:
            out.write(trailer)
    except OSError as fault:
        raise NoSpace(f"{path}: cannot finish the blob: {fault.strerror}; make room and run again") from fault
    if path.stat().st_size != size + len(trailer):
        raise NoSpace(f"{path}: the blob changed, or was cut short, while it was sealed; run again")
    ref = BlobRef(f"{whole.hexdigest()}.{txn}", size + len(trailer), xxhash.xxh3_128_hexdigest(trailer))
    key(ref)
    return ref


def key(ref: BlobRef) -> str:
    """Return where the blob lies in any store. Raises `Corrupt` for a name that no writer ever gave."""
    if not _NAME.fullmatch(ref.name):
        raise Corrupt(f"not the name of a blob: {ref.name[:100]!r}; run penstock verify")
    return f"blobs/{ref.name[:2]}/{ref.name}"


def check(blob: Path | bytes | Iterable[bytes], ref: BlobRef) -> None:
    """Compare all bytes (a file, or pieces of it) with the name: size, sha256 and trailer. Streams; raises `Corrupt`.

    A file that is not there, or cannot be read, stays the `OSError` that it is.
    """
    whole, size, trailer = hashlib.sha256(), 0, b""
    keep = trailer_size(ref.size)
    for piece in _pieces(blob):
        whole.update(piece)
        size += len(piece)
        trailer = (trailer + piece)[-keep:]
        if size > ref.size:
            break
    where = blob if isinstance(blob, Path) else f"blob {ref.name}"
    if size != ref.size:
        raise Corrupt(f"{where}: has not the {ref.size} bytes that it should; run penstock verify")
    if whole.hexdigest() != ref.name.split(".", 1)[0]:
        raise Corrupt(f"{where}: the bytes are not what the name says; run penstock verify")
    if xxhash.xxh3_128_hexdigest(trailer) != ref.sums:
        raise Corrupt(f"{where}: the block sums are not those of the manifest; run penstock verify")


def trailer_size(size: int) -> int:
    """Return how many of a blob's `size` bytes are its trailer. Raises `Corrupt` if no blob has that size."""
    blocks = max(0, -(-(size - _TAIL.size) // (BLOCK + 8)))
    if size < _TAIL.size or 0 < size - _TAIL.size - (blocks - 1) * (BLOCK + 8) <= 8:
        raise Corrupt(f"no blob has {size} bytes; run penstock verify")
    return blocks * 8 + _TAIL.size


def open_blob(stores: Sequence[Store], ref: BlobRef, *, report: Callable[[str], None]) -> Blob:
    """Open the first good copy: size and trailer are verified now, blocks when they are first touched.

    A copy that is missing or damaged is reported in one line and passed over. Raises `Corrupt` when no
    copy is good, `Unavailable` when none could be looked at.
    """
    return Blob(stores, ref, report)


class Blob:
    """One blob's content, verified. A block found bad, even late, is read from the next store instead.

    `size` is the content's, in bytes. Safe to share between threads. No byte is returned that was not verified
    since it was read: a block when it is first touched, against the trailer; what is read of it again, in pages,
    against sums that were taken then. So a file that is damaged while it is open is noticed too.

    A store that is read with a deadline and does not answer in time is asked again, with more patience, only
    when no other has a good copy.
    """

    def __init__(self, stores: Sequence[Store], ref: BlobRef, report: Callable[[str], None]) -> None:
        self.ref = ref
        self._key = key(ref)
        self._trailer = trailer_size(ref.size)
        self.size = ref.size - self._trailer
        self._stores = tuple(stores)
        self._report = report
        self._lock = threading.RLock()
        self._sums: tuple[bytes, ...] = ()
        self._at: Store | None = None
        self._source: ByteSource = _NOTHING
        self._good: dict[int, bytes] = {}
        """The blocks that were verified, with the sums of their pages."""
        self._trying(lambda: None)

    @property
    def path(self) -> Path | None:
        """The local file that is being read, None when the store is not local."""
        return self._source.path

    def read(self, start: int, end: int) -> bytes:
        """Return content bytes [start, end). Raises `ValueError` outside the content, else as `open_blob`."""
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"bytes [{start}, {end}) of a content of {self.size}")
        return self._trying(lambda: self._read(start, end))

    def check_all(self) -> None:
        """Verify every block against its XXH3, whether it was touched before or not."""

        def check() -> None:
            self._good.clear()
            for number in range(len(self._sums)):
                self._block(number)

        self._trying(check)

    def close(self) -> None:
        """Let go of the file; reading afterwards is an error."""
        self._source.close()

    def _trying(self, what: Callable[[], _T]) -> _T:
        """Do `what` with the store in hand, then with each of the others, until one can."""
        with self._lock:
            turns = _Turns(self._key, self._stores, self._at if self._source is not _NOTHING else None)
            while True:
                turn = turns.next() if self._source is _NOTHING else None
                try:
                    if turn is not None:
                        self._adopt(*turn)
                    return what()
                except FileNotFoundError:
                    self._pass_over(turns, Corrupt(f"{self._where()} is missing"), missing=True)
                except (Corrupt, Unavailable) as fault:
                    self._pass_over(turns, fault)
                except OSError as fault:
                    self._pass_over(turns, Unavailable(f"{self._where()}: cannot be read: {fault.strerror}"))

    def _pass_over(self, turns: _Turns, fault: Corrupt | Unavailable, missing: bool = False) -> None:
        damaged = isinstance(fault, Corrupt)
        spare = self._at is not None and suspicion(self._at) == SPARE
        turns.failed(self._at, damaged=damaged and not missing and not spare, late=isinstance(fault, Late))
        if not isinstance(fault, Slow):
            self._report(f"{fault}; reading another copy{', run penstock verify' if damaged else ''}")
        self._source.close()
        self._source, self._good = _NOTHING, {}

    def _where(self) -> str:
        return f"{self._at.name if self._at else 'no store'}: {self._key}"

    def _read(self, start: int, end: int) -> bytes:
        pieces = []
        for number in range(start // BLOCK, -(-end // BLOCK)) if end > start else ():
            base = number * BLOCK
            first, last = max(start, base), min(end, base + BLOCK)
            if number in self._good:
                pieces.append(self._again(number, first, last))
            else:
                pieces.append(self._block(number)[first - base : last - base])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, number: int) -> bytes:
        """Read a block and compare it with the trailer."""
        start, end = number * BLOCK, min((number + 1) * BLOCK, self.size)
        data = self._verified(start, end, lambda data: _sum(data) == self._sums[number])
        if data is None:
            raise Corrupt(f"{self._source.name}: block {number} is damaged")
        self._good[number] = b"" if self._source.steady else _page_sums(data)
        return data

    def _again(self, number: int, start: int, end: int) -> bytes:
        """Read a part of a block that was verified before; compare its pages with what they were then."""
        if self._source.steady:
            return self._source.read(start, end)
        base, sums = number * BLOCK, self._good[number]
        page, beyond = (start - base) // PAGE, -(-(end - base) // PAGE)
        first, last = base + page * PAGE, min(base + beyond * PAGE, base + BLOCK, self.size)
        data = self._verified(first, last, lambda data: _page_sums(data) == sums[8 * page : 8 * beyond])
        if data is None:
            raise Corrupt(f"{self._source.name}: block {number} was damaged while it was open")
        return data[start - first : end - first]

    def _verified(self, start: int, end: int, good: Callable[[bytes], bool]) -> bytes | None:
        """Bytes [start, end) of the file if they are `good`; a bad copy that was kept nearby is fetched anew."""
        while True:
            data = self._source.read(start, end)
            if len(data) == end - start and good(data):
                self._source.keep(start, end, data)
                return data
            if not self._source.discard(start, end):
                return None

    def _adopt(self, store: Store, patient: bool) -> None:
        """Read from this store from now on, if its copy has the right size and trailer."""
        self._at = store
        source = open_source(store, self._key, self.size, patient=patient)
        self._source, self._good = source, {}
        held = self.ref.size <= _HELD
        # One byte more than there should be is asked for: a file that is longer is damaged too.
        start, end = (0 if held else self.size), self.ref.size + 1
        data = source.read(start, end)
        wrong = self._wrong(data, start)
        if wrong and source.discard(start, end):
            data = source.read(start, end)
            wrong = self._wrong(data, start)
        if wrong:
            raise Corrupt(f"{source.name}: {wrong}")
        source.keep(start, end, data)
        self._sums = _sums_of(data[-self._trailer :])
        if held:
            self._source = MemorySource(data, source.name, source.path)
            self._good = dict.fromkeys(range(len(self._sums)), b"")
            source.close()

    def _wrong(self, data: bytes, start: int) -> str:
        """What is wrong with the file's bytes from `start` on, the trailer among them; nothing if all is well."""
        if len(data) != self.ref.size - start:
            return f"has not the {self.ref.size} bytes that it should"
        tail = data[-self._trailer :]
        if xxhash.xxh3_128_hexdigest(tail) != self.ref.sums:
            return "the block sums at its end are damaged"
        if _TAIL.unpack(tail[-_TAIL.size :]) != (self.size, BLOCK, MAGIC):
            return "ends in a trailer of another format"
        for number, expected in enumerate(_sums_of(tail) if start < self.size else ()):
            if _sum(memoryview(data)[number * BLOCK : min((number + 1) * BLOCK, self.size)]) != expected:
                return f"block {number} is damaged"
        return ""


_NOTHING: ByteSource = MemorySource(b"", "no store")


class _Turns:
    """Which store is asked next while one thing is read: each once, those that were late once more, with patience."""

    def __init__(self, key: str, stores: Sequence[Store], current: Store | None) -> None:
        self._key, self._stores = key, stores
        self._current = current
        self._order: list[tuple[Store, bool]] | None = None
        self._late: list[Store] = []
        self._damaged = self._patient = False

    def next(self) -> tuple[Store, bool]:
        """The next store, and whether to wait for it. Raises `Corrupt` or `Unavailable` after the last."""
        if self._order is None:
            others = [store for store in self._stores if store is not self._current]
            alone = len(self._stores) == 1
            self._order = [(store, alone) for store in sorted(others, key=suspicion)]
        if not self._order:
            self._order, self._late = [(store, True) for store in self._late], []
        if not self._order:
            # Somebody may repair a copy: the next read starts over.
            kind = Corrupt if self._damaged else Unavailable
            raise kind(f"{self._key}: no store has a good copy of this blob; run penstock verify")
        store, self._patient = self._order.pop(0)
        return store, self._patient

    def failed(self, store: Store | None, *, damaged: bool, late: bool) -> None:
        self._damaged = self._damaged or damaged
        if late and store is not None and not self._patient:
            self._late.append(store)


def suspicion(store: Store) -> int:
    """How much there is against asking this store first; a store that is not watched is never suspect."""
    level: int = getattr(store, "suspicion", 0)
    return level


def _sum(data: bytes | memoryview) -> bytes:
    return xxhash.xxh3_64_intdigest(data).to_bytes(8, "little")


def _sums_of(trailer: bytes) -> tuple[bytes, ...]:
    return tuple(trailer[at : at + 8] for at in range(0, len(trailer) - _TAIL.size, 8))


def _page_sums(data: bytes) -> bytes:
    view = memoryview(data)
    return b"".join(_sum(view[at : at + PAGE]) for at in range(0, len(view), PAGE))


def _pieces(blob: Path | bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(blob, bytes):
        yield blob
        return
    if not isinstance(blob, Path):
        yield from blob
        return
    with blob.open("rb") as file:
        while piece := file.read(BLOCK):
            yield piece
