"""Immutable files of records, read by position or by key.

A file is zstd frames, each about 64 KiB of JSON lines `[key, record]`; then the directory (MessagePack: for
each frame its offset, size, size unpacked, first ordinal and first key); then a fixed footer: the
directory's offset and size (u64), the number of records (u64), flags (u32, 1: keyed) and the magic `PST1`.
"""

from __future__ import annotations

import io
import struct
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import zstandard

from penstock.index.blobs.blob import Blob
from penstock.index.errors import Corrupt, NoSpace

FRAME = 64 << 10
LARGEST = 256 << 20
"""No frame unpacks to more bytes than this, so no record may be larger."""
_FOOTER = struct.Struct("<QQQI4s")
_MAGIC = b"PST1"
_KEYED = 1
_LEVEL = 3
_RECENT = 32


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    size: int
    unpacked: int
    first: int
    key: str


_directory = msgspec.msgpack.Decoder(list[_Frame])
_lines = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


def write(path: Path, records: Iterable[tuple[str, bytes]], *, keyed: bool = True) -> int:
    """Write (key, record as one line of JSON) pairs and return how many. Streams: one frame is in memory.

    With `keyed`, keys must be strictly ascending by code point, else `ValueError`; without, they may be
    anything and `Table.find` is not offered. `path` must not exist. Raises `NoSpace` when the disk is full.
    """
    # Without a buffer: closing has nothing left to write, so it cannot fail and hide why writing did.
    with path.open("xb", buffering=0) as out:
        writer = _Writer(out, keyed)
        for key, record in records:
            writer.add(key, record)
        try:
            writer.finish()
        except OSError as fault:
            raise _full(path, fault) from fault
    return writer.count


def _full(path: Path, fault: OSError) -> NoSpace:
    return NoSpace(f"{path}: cannot write: {fault.strerror}; make room and run again")


class _Writer:
    """Gathers lines into frames; knows what the directory and the footer will say."""

    def __init__(self, out: io.FileIO, keyed: bool) -> None:
        self._out, self._keyed = out, keyed
        self._pack = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress
        self._frames: list[_Frame] = []
        self._pending: list[bytes] = []
        self._unpacked = 0
        self._offset = 0
        self._first, self._first_key, self._last_key = 0, "", ""
        self.count = 0

    def add(self, key: str, record: bytes) -> None:
        if self._keyed and self.count and key <= self._last_key:
            raise ValueError(f"keys must ascend: {key!r} after {self._last_key!r}")
        if b"\n" in record:
            raise ValueError(f"the record of {key!r} is not one line of JSON")
        line = _encoder.encode((key, msgspec.Raw(record))) + b"\n"
        if len(line) > LARGEST:
            raise ValueError(f"the record of {key!r} has {len(line)} bytes, more than {LARGEST}")
        if self._pending and self._unpacked + len(line) > FRAME:
            self._flush()
        if not self._pending:
            self._first, self._first_key = self.count, key
        self._pending.append(line)
        self._unpacked += len(line)
        self._last_key = key
        self.count += 1

    def finish(self) -> None:
        self._flush()
        directory = msgspec.msgpack.encode(self._frames)
        flags = _KEYED if self._keyed else 0
        _write_all(self._out, directory + _FOOTER.pack(self._offset, len(directory), self.count, flags, _MAGIC))

    def _flush(self) -> None:
        if not self._pending:
            return
        packed = self._pack(b"".join(self._pending))
        try:
            _write_all(self._out, packed)
        except OSError as fault:
            raise _full(Path(self._out.name), fault) from fault
        self._frames.append(_Frame(self._offset, len(packed), self._unpacked, self._first, self._first_key))
        self._offset += len(packed)
        self._pending, self._unpacked = [], 0


def _write_all(out: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]


class Table:
    """Reads a table out of a blob: whole, by ordinal, by key. Frames are verified as they are read.

    Raises `Corrupt` when the bytes are whole but no table, and what `Blob.read` raises. Safe to share between threads.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._unpack = zstandard.ZstdDecompressor()
        self._one = threading.Lock()
        """Two threads in one decompressor crash the process."""
        if blob.size < _FOOTER.size:
            raise self._bad("is too short for a table")
        tail = blob.read(blob.size - _FOOTER.size, blob.size)
        offset, size, count, flags, magic = _FOOTER.unpack(tail)
        self._count: int = count
        if magic != _MAGIC or offset + size + _FOOTER.size != blob.size:
            raise self._bad("is not a table")
        try:
            self._frames = _directory.decode(blob.read(offset, offset + size))
        except msgspec.DecodeError as fault:
            raise self._bad("has no readable directory") from fault
        self._check_frames(offset)
        self.keyed = bool(flags & _KEYED)
        self._firsts = [frame.first for frame in self._frames]
        self._keys = [frame.key for frame in self._frames]
        self._recent: OrderedDict[int, list[bytes]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield (key, record) in the order they were written."""
        for number in range(len(self._frames)):
            for key, record in self._read(number):
                yield key, bytes(record)

    def get_at(self, ordinals: Sequence[int]) -> list[bytes]:
        """Return the records at these positions, in this order. `IndexError` for one that is not there."""
        found: dict[int, bytes] = {}
        wanted: dict[int, list[int]] = {}
        for ordinal in ordinals:
            if not 0 <= ordinal < self._count:
                raise IndexError(f"record {ordinal} of {self._count}")
            wanted.setdefault(bisect_right(self._firsts, ordinal) - 1, []).append(ordinal)
        for number, inside in wanted.items():
            lines = self._lines(number)
            for ordinal in inside:
                found[ordinal] = bytes(self._decode(lines[ordinal - self._firsts[number]])[1])
        return [found[ordinal] for ordinal in ordinals]

    def find(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the records of those keys that are here. `ValueError` when the table is not keyed."""
        self._require_keyed()
        wanted: dict[int, set[str]] = {}
        for key in keys:
            number = bisect_right(self._keys, key) - 1
            if number >= 0:
                wanted.setdefault(number, set()).add(key)
        found: dict[str, bytes] = {}
        for number, inside in sorted(wanted.items()):
            found.update((key, bytes(record)) for key, record in self._read(number) if key in inside)
        return found

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield (key, record) for the keys that begin with `prefix`, ascending."""
        self._require_keyed()
        for number in range(max(0, bisect_right(self._keys, prefix) - 1), len(self._frames)):
            for key, record in self._read(number):
                if key.startswith(prefix):
                    yield key, bytes(record)
                elif key > prefix:
                    return

    def _require_keyed(self) -> None:
        if not self.keyed:
            raise ValueError("this table was written without keys")

    def _check_frames(self, end: int) -> None:
        """Frames follow one another and cover everything; none is larger than a reader may unpack."""
        closing = _Frame(end, 0, 0, self._count, "")
        at = self._frames[0] if self._frames else closing
        whole = at.offset == 0 and at.first == 0
        for frame, following in pairwise([*self._frames, closing]):
            whole = whole and frame.offset + frame.size == following.offset and frame.first < following.first
            whole = whole and 0 < frame.unpacked <= LARGEST
        if not whole:
            raise self._bad("has a directory that does not fit its frames")

    def _read(self, number: int) -> list[tuple[str, msgspec.Raw]]:
        try:
            return _lines.decode_lines(self._unpacked(number))
        except msgspec.DecodeError as fault:
            raise self._bad(f"frame {number} does not hold records") from fault

    def _decode(self, line: bytes) -> tuple[str, msgspec.Raw]:
        try:
            return _lines.decode(line)
        except msgspec.DecodeError as fault:
            raise self._bad("a line is not a record") from fault

    def _lines(self, number: int) -> list[bytes]:
        """The lines of a frame. The last few are kept: the answers of a batch of queries lie together."""
        lines = self._recent.get(number)
        if lines is None:
            lines = self._unpacked(number).split(b"\n")
            with self._one:
                if self._frames[number].unpacked <= 2 * FRAME:
                    self._recent[number] = lines
                while len(self._recent) > _RECENT:
                    self._recent.popitem(last=False)
        return lines

    def _unpacked(self, number: int) -> bytes:
        """Unpack a frame to the size that the directory gives, never to more."""
        frame = self._frames[number]
        packed = self._blob.read(frame.offset, frame.offset + frame.size)
        try:
            if zstandard.frame_content_size(packed) != frame.unpacked:
                raise self._bad(f"frame {number} has not the size that the directory says")
            with self._one:
                data = self._unpack.decompress(packed, max_output_size=frame.unpacked)
        except zstandard.ZstdError as fault:
            raise self._bad(f"frame {number} cannot be unpacked") from fault
        following = self._frames[number + 1].first if number + 1 < len(self._frames) else self._count
        if data.count(b"\n") != following - frame.first:
            raise self._bad(f"frame {number} has not the records that the directory says")
        return data

    def _bad(self, what: str) -> Corrupt:
        return Corrupt(f"blob {self._blob.ref.name}: {what}; run penstock verify")
