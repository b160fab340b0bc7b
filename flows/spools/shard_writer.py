"""Filling a shard, document by document, so that a kill loses only the document in hand.

Every document is followed by a record in `journal.jsonl` that says how far each file goes now and what the
document's bytes add up to. A shard whose writer died is brought back to its last whole document and closed. After
a power loss bytes may be missing that were written before others that are there; their checksum tells.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import numpy as np
import xxhash

from penstock.index.decoding import decode
from penstock.index.types import DocState, DocText, Row

FORMAT = 1
MARKER, JOURNAL = "shard.json", "journal.jsonl"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
FILES = ("states.jsonl", "texts.jsonl", "rows.jsonl", "ids.u32", "lengths.u32")


class Marker(msgspec.Struct, frozen=True):
    """What a complete shard is. `fingerprint` names everything that its chunks and ids depend on."""

    format: int
    source: str
    fingerprint: str
    chunks: int
    tokens: int
    files: dict[str, tuple[int, str]]
    """File name → (bytes, XXH3-128 in hex)."""
    documents: int = 0


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


class _Begun(msgspec.Struct, frozen=True):
    """The journal's first line: what `Marker` will say of the shard."""

    format: int
    source: str
    fingerprint: str


class _Whole(msgspec.Struct, frozen=True):
    """One line for each whole document: its chunks and tokens, the sizes of `FILES` after it, its own checksum."""

    chunks: int
    tokens: int
    sizes: tuple[int, ...]
    xxh: str


class ShardWriter:
    """Fills one shard, document by document, in any order. `fingerprint` is `Marker`'s."""

    def __init__(self, directory: Path, source: str, fingerprint: str) -> None:
        self.directory = directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        with alone(directory.parent):  # or `leftovers` of another run finds it unlocked, and empty
            directory.mkdir()
            self.lock = ShardLock(directory)
            self.lock.acquire()
        self.chunks = 0
        self.tokens = 0
        self.documents = 0
        self._begun = _Begun(FORMAT, source, fingerprint)
        self._sums = {name: xxhash.xxh3_128() for name in FILES}
        self._sizes = dict.fromkeys(FILES, 0)
        with ExitStack() as stack:
            self._out = {name: stack.enter_context(open(directory / name, "wb")) for name in FILES}
            self._journal = stack.enter_context(open(directory / JOURNAL, "wb"))
            self._stack = stack.pop_all()
        self._note(self._begun)

    def add(self, state: DocState, text: DocText | None, rows: Sequence[tuple[Row, Sequence[int]]]) -> None:
        """Add one document: its new state and, if it is to be indexed, its text and its (row, token ids)."""
        added = {
            "states.jsonl": msgspec.json.encode(state) + b"\n",
            "texts.jsonl": b"" if text is None else msgspec.json.encode(text) + b"\n",
            "rows.jsonl": b"".join(msgspec.json.encode(row) + b"\n" for row, _ in rows),
            "ids.u32": b"".join(np.asarray(ids, dtype="<u4").tobytes() for _, ids in rows),
            "lengths.u32": np.asarray([len(ids) for _, ids in rows], dtype="<u4").tobytes(),
        }
        whole = xxhash.xxh3_128()
        for name, data in added.items():
            self._out[name].write(data)
            self._out[name].flush()  # a killed process keeps what the kernel has
            self._sums[name].update(data)
            self._sizes[name] += len(data)
            whole.update(data)
        tokens = sum(len(ids) for _, ids in rows)
        whole.update(_counts(len(rows), tokens))
        self.chunks += len(rows)
        self.tokens += tokens
        self.documents += 1
        self._note(_Whole(len(rows), tokens, tuple(self._sizes[name] for name in FILES), whole.hexdigest()))

    def close(self) -> Marker:
        """Make the shard complete and durable."""
        for out in self._out.values():
            os.fsync(out.fileno())
        self._stack.close()
        files = {name: (self._sizes[name], self._sums[name].hexdigest()) for name in FILES}
        marker = Marker(
            FORMAT, self._begun.source, self._begun.fingerprint, self.chunks, self.tokens, files, self.documents
        )
        write_durably(self.directory / MARKER, msgspec.json.encode(marker))
        return marker

    def abandon(self) -> None:
        """Remove what was written; nobody finds it half removed."""
        self._stack.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.lock.release()

    def _note(self, record: _Begun | _Whole) -> None:
        self._journal.write(msgspec.json.encode(record) + b"\n")
        self._journal.flush()


def recovered(directory: Path) -> Marker | None:
    """Close a shard whose writer died, with the documents that are whole; the caller holds its lock.

    None if there is no whole document, or it was made by another penstock. Raises `OSError`.
    """
    try:
        lines = (directory / JOURNAL).read_bytes().split(b"\n")
        begun = decode(lines[0], _Begun)
        if begun.format != FORMAT:
            return None
        documents, sums = _whole(directory, lines[1:])
    except (FileNotFoundError, *_UNREADABLE):
        return None
    if not documents:
        return None
    sizes = documents[-1].sizes
    for name, size in zip(FILES, sizes, strict=True):
        with open(directory / name, "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    files = {name: (size, sums[name]) for name, size in zip(FILES, sizes, strict=True)}
    chunks, tokens = sum(each.chunks for each in documents), sum(each.tokens for each in documents)
    marker = Marker(FORMAT, begun.source, begun.fingerprint, chunks, tokens, files, len(documents))
    write_durably(directory / MARKER, msgspec.json.encode(marker))
    return marker


def _whole(directory: Path, lines: Sequence[bytes]) -> tuple[list[_Whole], dict[str, str]]:
    """The documents up to the first that is not all there, and the checksum of each file up to that point."""
    sums = {name: xxhash.xxh3_128() for name in FILES}
    found: list[_Whole] = []
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(directory / name, "rb")) for name in FILES}
        before = (0,) * len(FILES)
        for line in lines:
            try:
                record = decode(line, _Whole)
            except _UNREADABLE:
                break
            parts = [
                files[name].read(end - start) for name, start, end in zip(FILES, before, record.sizes, strict=True)
            ]
            counts = _counts(record.chunks, record.tokens)
            if xxhash.xxh3_128(b"".join([*parts, counts])).hexdigest() != record.xxh:
                break
            for name, part in zip(FILES, parts, strict=True):
                sums[name].update(part)
            found.append(record)
            before = record.sizes
    return found, {name: total.hexdigest() for name, total in sums.items()}


def _counts(chunks: int, tokens: int) -> bytes:
    return b"%d %d" % (chunks, tokens)


@contextmanager
def alone(spool: Path) -> Iterator[None]:
    """One process at a time, for the moment between making a shard's directory and locking it."""
    lock = ShardLock(spool)
    try:
        lock.wait()
        yield
    finally:
        lock.release()


def write_durably(path: Path, data: bytes) -> None:
    """The whole file, or none of it, whatever happens."""
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
