"""The spool: prepared shards on disk, between the source and the device.

A shard directory is complete when its marker `shard.json` is there: it names every other file with its size
and checksum, and is renamed into place last. Vectors are appended to `vectors.log` in records that each
carry a checksum, so that a kill at any moment loses at most the record being written, and a shard is
embedded further where it stopped. Whoever works on a shard holds the lock on its directory; the kernel
lets go of it when the process dies, so a shard is never orphaned.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from penstock.flows.spools.row_texts import RowTexts
from penstock.flows.spools.shard_writer import (
    FILES,
    FORMAT,
    JOURNAL,
    MARKER,
    Marker,
    ShardLock,
    alone,
    recovered,
    write_durably,
)
from penstock.flows.spools.shard_writer import ShardWriter as ShardWriter
from penstock.flows.spools.vector_log import VectorLog as VectorLog
from penstock.index.decoding import decode, decoder
from penstock.index.types import DocState, DocText, Row

T = TypeVar("T")

VECTORS = "vectors.log"


class _Named(msgspec.Struct):
    """A line, as far as it says whose it is."""

    uri: str


_named_decoder = decoder(_Named)
_state_decoder = decoder(DocState)
_text_decoder = decoder(DocText)
_row_decoder = decoder(Row)


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

    @property
    def begun(self) -> float:
        """When it was begun, in seconds since 1970, as its name says; now and for ever where it does not say."""
        word = self.directory.name.split("-")[1]
        return int(word) / 1000 if word.isdecimal() else float("inf")

    def uris_with_text(self) -> set[str]:
        """The documents that bring their text and rows along."""
        return {line.uri for line in _lines(self.directory / "texts.jsonl", _named_decoder)}

    def states(self) -> Iterator[DocState]:
        return _lines(self.directory / "states.jsonl", _state_decoder)

    def texts(self) -> Iterator[DocText]:
        """By uri, as the index wants them; they were written as they came. In memory are only their places."""
        path = self.directory / "texts.jsonl"
        places: list[tuple[str, int]] = []
        at = 0
        with open(path, "rb") as stream:
            for line in stream:
                places.append((_text_decoder.decode(line).uri, at))
                at += len(line)
            for _, at in sorted(places):
                stream.seek(at)
                yield _text_decoder.decode(stream.readline())

    def rows(self) -> Iterator[Row]:
        return _lines(self.directory / "rows.jsonl", _row_decoder)

    def ids(self) -> list[NDArray[np.uint32]]:
        """Token ids of each chunk, in order of rows, as views of one mapped array."""
        if self.marker.chunks == 0:
            return []
        ends = np.cumsum(np.fromfile(self.directory / "lengths.u32", dtype="<u4"), dtype=np.int64).tolist()
        # As a plain array: a slice of a memmap is made by Python code, and takes fifteen times as long.
        flat = np.asarray(np.memmap(self.directory / "ids.u32", dtype="<u4", mode="r"))
        return [flat[start:end] for start, end in zip([0, *ends], ends)]  # noqa: B905 - one start too many

    def row_texts(self, positions: Sequence[int] | NDArray[np.int64]) -> RowTexts:
        """The texts of the rows at these positions, read as they are asked for."""
        return RowTexts(self.directory / "rows.jsonl", positions)

    def vectors(self) -> VectorLog:
        path = self.directory / VECTORS
        return (
            VectorLog(path, self.marker.chunks, self.copy.append) if self.copy else VectorLog(path, self.marker.chunks)
        )

    def discard(self) -> None:
        """Remove the shard: it is committed, or no longer wanted. What could bring it back goes first."""
        (self.directory / JOURNAL).unlink(missing_ok=True)
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


def closed(writer: ShardWriter) -> Shard:
    """The shard that was written, complete and durable; the writer's lock is the shard's now."""
    return Shard(writer.directory, writer.close(), writer.lock)


def leftovers(spool: Path) -> Iterator[Shard]:
    """Sound shards that no living process works on, locked for us. What is not sound is removed.

    One whose writer died is closed with the documents that it had: they are not fetched again.
    """
    for directory in sorted(path for path in spool.iterdir() if path.is_dir() and path.name.startswith("shard-")):
        lock = _unlocked(directory)
        if lock is None:
            continue
        marker = _sound_marker(directory) or _closed_for_the_dead(directory)
        if marker is None:
            shutil.rmtree(directory, ignore_errors=True)
            lock.release()
            continue
        yield Shard(directory, marker, lock)


def _unlocked(directory: Path) -> ShardLock | None:
    """The lock, ours now; None if another run works on the shard, or has removed it meanwhile."""
    with alone(directory.parent):
        try:
            lock = ShardLock(directory)
        except FileNotFoundError:
            return None
        if lock.acquire():
            return lock
    lock.release()
    return None


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


def _closed_for_the_dead(directory: Path) -> Marker | None:
    try:
        return None if (directory / MARKER).exists() else recovered(directory)
    except OSError:
        return None


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
    with alone(directory.parent):
        try:
            directory.mkdir()
        except FileExistsError:
            return None
        lock = ShardLock(directory)
        lock.acquire()
    try:
        fill(directory)
        write_durably(directory / MARKER, msgspec.json.encode(marker))
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


def _lines(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    with open(path, "rb") as stream:
        for line in stream:
            yield decoder.decode(line)
