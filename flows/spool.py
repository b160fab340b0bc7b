"""The spool: prepared shards on disk, between the source and the device.

A shard directory is complete when its marker `shard.json` is there: it names every other file with its size
and checksum, and is renamed into place last. Vectors are appended to `vectors.log` in records that each
carry a checksum, so that a kill at any moment loses at most the record being written, and a shard is
embedded further where it stopped. Whoever works on a shard holds the lock on its directory; the kernel
lets go of it when the process dies, so a shard is never orphaned.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from penstock.index.types import DocState, DocText, Row

T = TypeVar("T")

FORMAT = 1
_FILES = ("states.jsonl", "texts.jsonl", "rows.jsonl", "ids.u32", "lengths.u32")
_HEADER = np.dtype([("count", "<u4"), ("dim", "<u4"), ("sum", "<u8")])

_state_decoder = msgspec.json.Decoder(DocState)
_text_decoder = msgspec.json.Decoder(DocText)
_row_decoder = msgspec.json.Decoder(Row)


class Marker(msgspec.Struct, frozen=True):
    """What a complete shard is. `fingerprint` names everything that its chunks and ids depend on."""

    format: int
    source: str
    fingerprint: str
    chunks: int
    tokens: int
    files: dict[str, tuple[int, str]]
    """File name → (bytes, XXH3-128 in hex)."""


class ShardLock:
    """Exclusive use of a shard directory for as long as this process lives or until `release`."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def wait(self) -> None:
        """Wait until the lock is ours."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def acquire(self) -> bool:
        """True if the lock is ours now; False if another process works on the shard."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ShardWriter:
    """Fills one shard, document by document, in order of uri. Nothing counts before `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _alone(directory.parent):  # or `leftovers` of another run finds it unlocked, and empty
            directory.mkdir()
            self.lock = ShardLock(directory)
            self.lock.acquire()
        self.chunks = 0
        self.tokens = 0
        self.documents = 0
        self._sums = {name: xxhash.xxh3_128() for name in _FILES}
        self._sizes = dict.fromkeys(_FILES, 0)
        with ExitStack() as stack:
            self._out = {name: stack.enter_context(open(directory / name, "wb")) for name in _FILES}
            self._stack = stack.pop_all()

    def add(self, state: DocState, text: DocText | None, rows: Sequence[tuple[Row, Sequence[int]]]) -> None:
        """Add one document: its new state and, if it is to be indexed, its text and its (row, token ids)."""
        self._write("states.jsonl", msgspec.json.encode(state) + b"\n")
        if text is not None:
            self._write("texts.jsonl", msgspec.json.encode(text) + b"\n")
        for row, ids in rows:
            self._write("rows.jsonl", msgspec.json.encode(row) + b"\n")
            self._write("ids.u32", np.asarray(ids, dtype="<u4").tobytes())
            self._write("lengths.u32", np.uint32(len(ids)).tobytes())
            self.chunks += 1
            self.tokens += len(ids)
        self.documents += 1

    def close(self, source: str, fingerprint: str) -> Shard:
        """Make the shard complete and durable."""
        for out in self._out.values():
            out.flush()
            os.fsync(out.fileno())
        self._stack.close()
        files = {name: (self._sizes[name], self._sums[name].hexdigest()) for name in _FILES}
        marker = Marker(FORMAT, source, fingerprint, self.chunks, self.tokens, files)
        _write_durably(self.directory / "shard.json", msgspec.json.encode(marker))
        return Shard(self.directory, marker, self.lock)

    def abandon(self) -> None:
        self._stack.close()
        self.lock.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        self._out[name].write(data)
        self._sums[name].update(data)
        self._sizes[name] += len(data)


@dataclass(slots=True)
class Shard:
    """A complete shard, locked by this process."""

    directory: Path
    marker: Marker
    lock: ShardLock

    def states(self) -> Iterator[DocState]:
        return _lines(self.directory / "states.jsonl", _state_decoder)

    def texts(self) -> Iterator[DocText]:
        return _lines(self.directory / "texts.jsonl", _text_decoder)

    def rows(self) -> Iterator[Row]:
        return _lines(self.directory / "rows.jsonl", _row_decoder)

    def ids(self) -> list[NDArray[np.uint32]]:
        """Token ids of each chunk, in order of rows, as views of one mapped array."""
        if self.marker.chunks == 0:
            return []
        lengths = np.fromfile(self.directory / "lengths.u32", dtype="<u4").astype(np.int64)
        flat = np.memmap(self.directory / "ids.u32", dtype="<u4", mode="r")
        return np.split(flat, np.cumsum(lengths)[:-1])

    def vectors(self) -> VectorLog:
        return VectorLog(self.directory / "vectors.log", self.marker.chunks)

    def discard(self) -> None:
        """Remove the shard: it is committed, or no longer wanted. The marker goes first."""
        (self.directory / "shard.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.lock.release()


class VectorLog:
    """Vectors of one shard as they are made: records of (positions, vectors), each with a checksum."""

    def __init__(self, path: Path, chunks: int) -> None:
        self._path = path
        self._chunks = chunks
        self._out: BinaryIO | None = None

    def load(self, dim: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """All vectors so far, float32 (chunks, dim), and which rows of them are there; cut off a torn end."""
        vectors = np.zeros((self._chunks, dim), dtype=np.float32)
        done = np.zeros(self._chunks, dtype=np.bool_)
        if not self._path.exists():
            return vectors, done
        sound = 0
        with open(self._path, "rb") as log:
            while (record := self._record(log, dim)) is not None:
                positions, values = record
                vectors[positions] = values
                done[positions] = True
                sound = log.tell()
        os.truncate(self._path, sound)
        return vectors, done

    def append(self, positions: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append one record; durable on return."""
        if self._out is None:
            self._out = open(self._path, "ab")  # noqa: SIM115 - held open across records, closed by `close`
        body = positions.astype("<i8").tobytes() + np.ascontiguousarray(vectors, dtype="<f4").tobytes()
        header = np.zeros(1, dtype=_HEADER)
        header[0] = (len(positions), vectors.shape[1], xxhash.xxh3_64_intdigest(body))
        self._out.write(header.tobytes() + body)
        self._out.flush()
        os.fsync(self._out.fileno())

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def _record(self, log: BinaryIO, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        raw = log.read(_HEADER.itemsize)
        if len(raw) < _HEADER.itemsize:
            return None
        count, width, checksum = np.frombuffer(raw, dtype=_HEADER)[0].tolist()
        if width != dim or count > self._chunks:
            return None
        body = log.read(count * (8 + 4 * dim))
        if len(body) < count * (8 + 4 * dim) or xxhash.xxh3_64_intdigest(body) != checksum:
            return None
        positions = np.frombuffer(body, dtype="<i8", count=count)
        if count and not (positions.min() >= 0 and positions.max() < self._chunks):
            return None
        return positions, np.frombuffer(body, dtype="<f4", offset=8 * count).reshape(count, dim)


def leftovers(spool: Path) -> Iterator[Shard]:
    """Complete, sound shards that no living process works on, locked for us. What is not sound is removed."""
    for directory in sorted(path for path in spool.iterdir() if path.is_dir() and path.name.startswith("shard-")):
        lock = _unlocked(directory)
        if lock is None:
            continue
        marker = _sound_marker(directory)
        if marker is None:
            shutil.rmtree(directory, ignore_errors=True)
            lock.release()
            continue
        yield Shard(directory, marker, lock)


def _unlocked(directory: Path) -> ShardLock | None:
    """The lock, ours now; None if another run works on the shard, or has removed it meanwhile."""
    with _alone(directory.parent):
        try:
            lock = ShardLock(directory)
        except FileNotFoundError:
            return None
        if lock.acquire():
            return lock
    lock.release()
    return None


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    """One process at a time, for the moment between making a shard's directory and locking it."""
    lock = ShardLock(spool)
    try:
        lock.wait()
        yield
    finally:
        lock.release()


def _sound_marker(directory: Path) -> Marker | None:
    try:
        marker = msgspec.json.decode((directory / "shard.json").read_bytes(), type=Marker)
        if marker.format != FORMAT or set(marker.files) != set(_FILES):
            return None
        for name, (size, checksum) in marker.files.items():
            if (directory / name).stat().st_size != size or _checksum(directory / name) != checksum:
                return None
    except (OSError, msgspec.MsgspecError):
        return None
    return marker


def _checksum(path: Path) -> str:
    total = xxhash.xxh3_128()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _lines(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    with open(path, "rb") as stream:
        for line in stream:
            yield decoder.decode(line)
