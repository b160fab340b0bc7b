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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from penstock.flows.vector_log import VectorLog as VectorLog
from penstock.index.decoding import decode, decoder
from penstock.index.types import DocState, DocText, Row

T = TypeVar("T")

FORMAT = 1
MARKER, VECTORS = "shard.json", "vectors.log"
FILES = ("states.jsonl", "texts.jsonl", "rows.jsonl", "ids.u32", "lengths.u32")

_state_decoder = decoder(DocState)
_text_decoder = decoder(DocText)
_row_decoder = decoder(Row)


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
        self._sums = {name: xxhash.xxh3_128() for name in FILES}
        self._sizes = dict.fromkeys(FILES, 0)
        with ExitStack() as stack:
            self._out = {name: stack.enter_context(open(directory / name, "wb")) for name in FILES}
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
        files = {name: (self._sizes[name], self._sums[name].hexdigest()) for name in FILES}
        marker = Marker(FORMAT, source, fingerprint, self.chunks, self.tokens, files)
        _write_durably(self.directory / MARKER, msgspec.json.encode(marker))
        return Shard(self.directory, marker, self.lock)

    def abandon(self) -> None:
        self._stack.close()
        self.lock.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        self._out[name].write(data)
        self._sums[name].update(data)
        self._sizes[name] += len(data)


class Copy(Protocol):
    """A shard's copy elsewhere. Nothing here fails: the copy is for cost, the directory is the truth."""

    def append(self, record: bytes) -> None:
        """Keep one record of the vector log too."""
        ...

    def discard(self) -> None:
        """Remove the copy, and let go."""
        ...

    def release(self) -> None:
        """Let go of the copy, so that another machine may take the shard over; may be called again."""
        ...


@dataclass(slots=True)
class Shard:
    """A complete shard, locked by this process."""

    directory: Path
    marker: Marker
    lock: ShardLock
    copy: Copy | None = None

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
        path = self.directory / VECTORS
        return (
            VectorLog(path, self.marker.chunks, self.copy.append) if self.copy else VectorLog(path, self.marker.chunks)
        )

    def discard(self) -> None:
        """Remove the shard: it is committed, or no longer wanted. The marker goes first."""
        (self.directory / MARKER).unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.copy is not None:
            self.copy.discard()
        self.lock.release()

    def release(self) -> None:
        """Let go of the shard as it is: another run may go on with it. May be called again."""
        if self.copy is not None:
            self.copy.release()
        self.lock.release()


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
        marker = decoded((directory / MARKER).read_bytes())
        if marker is None:
            return None
        for name, (size, checksum) in marker.files.items():
            if (directory / name).stat().st_size != size or _checksum(directory / name) != checksum:
                return None
    except (OSError, msgspec.MsgspecError):
        return None
    return marker


def decoded(data: bytes) -> Marker | None:
    """The marker in `data`, None if it is none of ours."""
    try:
        marker = decode(data, Marker)
    except msgspec.MsgspecError:
        return None
    return marker if marker.format == FORMAT and set(marker.files) == set(FILES) else None


def arriving(directory: Path, fill: Callable[[Path], None], marker: Marker) -> Shard | None:
    """A shard that comes from elsewhere: `fill` puts its files, the marker follows if they are what it says.

    None if they are not, or if the shard is here already. Raises what `fill` raises, and leaves nothing then.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _alone(directory.parent):
        try:
            directory.mkdir()
        except FileExistsError:
            return None
        lock = ShardLock(directory)
        lock.acquire()
    try:
        fill(directory)
        _write_durably(directory / MARKER, msgspec.json.encode(marker))
        if _sound_marker(directory) is not None:
            return Shard(directory, marker, lock)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        lock.release()
        raise
    shutil.rmtree(directory, ignore_errors=True)
    lock.release()
    return None


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
