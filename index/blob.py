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

import xxhash

from penstock.index.bytesource import ByteSource, FileSource, MemorySource
from penstock.index.errors import Corrupt, NoSpace, Unavailable
from penstock.index.store import Store
from penstock.index.types import BlobRef

BLOCK = 4 << 20
MAGIC = b"PSB1"
_TAIL = struct.Struct("<QI4s")
_NAME = re.compile(r"[0-9a-f]{64}\.[A-Za-z0-9_-]{1,64}")
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

    `size` is the content's, in bytes. Safe to share between threads.
    """

    def __init__(self, stores: Sequence[Store], ref: BlobRef, report: Callable[[str], None]) -> None:
        self.ref = ref
        self._key = key(ref)
        self._trailer = trailer_size(ref.size)
        self.size = ref.size - self._trailer
        self._stores = tuple(stores)
        self._rest = iter(self._stores)
        self._report = report
        self._damaged = False
        self._lock = threading.RLock()
        self._sums: tuple[bytes, ...] = ()
        self._source: ByteSource = _NOTHING
        self._good: set[int] = set()
        self._next()

    @property
    def path(self) -> Path | None:
        """The local file that is being read, None when the store is not local."""
        return self._source.path

    def read(self, start: int, end: int) -> bytes:
        """Return content bytes [start, end). Raises `ValueError` outside the content, else as `open_blob`."""
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"bytes [{start}, {end}) of a content of {self.size}")
        with self._lock:
            if self._source is _NOTHING:
                self._next()
            while True:
                try:
                    return self._read(start, end)
                except (Corrupt, OSError) as fault:
                    self._pass_over(fault)

    def check_all(self) -> None:
        """Verify every block against its XXH3, whether it was touched before or not."""
        with self._lock:
            if self._source is _NOTHING:
                self._next()
            self._good.clear()
            at = 0
            while at < len(self._sums):
                try:
                    self._block(at)
                    at += 1
                except (Corrupt, OSError) as fault:
                    self._pass_over(fault)
                    at = 0

    def close(self) -> None:
        """Let go of the file; reading afterwards is an error."""
        self._source.close()

    def _read(self, start: int, end: int) -> bytes:
        touched = range(start // BLOCK, -(-end // BLOCK)) if end > start else range(0)
        if len(touched) == 1 and touched[0] not in self._good:
            base = touched[0] * BLOCK
            return self._block(touched[0])[start - base : end - base]
        for number in touched:
            if number not in self._good:
                self._block(number)
        return self._exactly(start, end)

    def _block(self, number: int) -> bytes:
        start = number * BLOCK
        data = self._exactly(start, min(start + BLOCK, self.size))
        if xxhash.xxh3_64_intdigest(data).to_bytes(8, "little") != self._sums[number]:
            raise Corrupt(f"{self._source.name}: block {number} is damaged")
        self._good.add(number)
        return data

    def _exactly(self, start: int, end: int) -> bytes:
        data = self._source.read(start, end)
        if len(data) != end - start:
            raise Corrupt(f"{self._source.name}: is shorter than it was")
        return data

    def _pass_over(self, fault: Exception) -> None:
        self._damaged = self._damaged or isinstance(fault, Corrupt)
        self._say(fault)
        self._source.close()
        self._next()

    def _say(self, fault: object) -> None:
        self._report(f"{fault}; reading another copy, run penstock verify")

    def _next(self) -> None:
        """Turn to the next store that has a copy with the right size and trailer."""
        for store in self._rest:
            try:
                self._adopt(store)
                return
            except FileNotFoundError:
                self._say(f"{store.name}: {self._key} is missing")
            except (Corrupt, Unavailable, OSError) as fault:
                self._damaged = self._damaged or isinstance(fault, Corrupt)
                self._say(fault)
        # Somebody may repair a copy: the next read starts over.
        kind = Corrupt if self._damaged else Unavailable
        self._source, self._rest, self._damaged = _NOTHING, iter(self._stores), False
        raise kind(f"{self._key}: no store has a good copy of this blob; run penstock verify")

    def _adopt(self, store: Store) -> None:
        path = store.local_path(self._key)
        where = f"{store.name}: {self._key}"
        source: ByteSource
        source = MemorySource(store.get(self._key), where) if path is None else FileSource(path, where)
        try:
            if source.size != self.ref.size:
                raise Corrupt(f"{where}: has {source.size} bytes and not {self.ref.size}")
            trailer = source.read(self.size, self.ref.size)
            if xxhash.xxh3_128_hexdigest(trailer) != self.ref.sums:
                raise Corrupt(f"{where}: the block sums at its end are damaged")
            if _TAIL.unpack(trailer[-_TAIL.size :]) != (self.size, BLOCK, MAGIC):
                raise Corrupt(f"{where}: ends in a trailer of another format")
            if self.ref.size <= _HELD and path is not None:
                held = MemorySource(source.read(0, self.ref.size), where, path)
                source.close()
                source = held
        except BaseException:
            source.close()
            raise
        blocks = range(0, len(trailer) - _TAIL.size, 8)
        self._sums = tuple(trailer[at : at + 8] for at in blocks)
        self._source, self._good = source, set()


_NOTHING: ByteSource = MemorySource(b"", "no store")


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
