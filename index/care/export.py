"""The door to pyarrow: one space of an index as files that need no penstock.

`vectors.faiss` is a plain `IndexFlatIP` of the live vectors, `rows.parquet` describes vector i in row i, and
`manifest.json` says what they are. Everything is streamed, segment by segment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
from pyarrow import parquet

from penstock.index.errors import Corrupt, IndexFault, NoSpace, Unavailable, WrongIndex
from penstock.index.segments import faiss_door
from penstock.index.segments.rawvectors import VectorMemory
from penstock.index.segments.segment import Segment
from penstock.index.stores.store import Store
from penstock.index.types import Manifest, Row, SpaceRef

VECTORS, ROWS, ABOUT = "vectors.faiss", "rows.parquet", "manifest.json"
_BATCH = 4096
"""Rows of one row group, and the most that are in memory."""
_SCHEMA = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("uri", pa.string()),
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("tokens", pa.int64()),
        ("page", pa.int64()),
        ("heading", pa.list_(pa.string())),
        ("title", pa.string()),
        ("metadata", pa.map_(pa.string(), pa.string())),
        ("labels", pa.list_(pa.string())),
    ]
)


class Exported(msgspec.Struct, frozen=True):
    """What `manifest.json` says. `sha256` is by file name; `counts` and `identity` are the index's own."""

    lineage: str
    version: int
    committed_at: float
    space: str
    dim: int
    vectors: int
    identity: dict[str, str]
    counts: dict[str, int]
    sha256: dict[str, str]


def export(
    manifest: Manifest,
    stores: Sequence[Store],
    directory: Path,
    *,
    space: str | None = None,
    report: Callable[[str], None],
    report_progress: Callable[[int, int], None],
) -> Exported:
    """Write the live rows of a space (None: the one that is served) to `directory`; it is whole or not there.

    `directory` must be absent or empty. `report` gets a line for each bad copy that was passed over,
    `report_progress` (rows done, rows in all). Raises `WrongIndex` for a directory that is not empty and for
    a space that is not there, `NoSpace`, `Unavailable` (also when another export is at work there), and what
    reading a segment raises. A run that was killed leaves only `.{name}.partial`, which the next one clears.
    """
    name = manifest.live if space is None else space
    chosen = manifest.spaces.get(name)
    if chosen is None:
        there = ", ".join(sorted(manifest.spaces)) or "none: nothing was ever indexed"
        raise WrongIndex(f"no space {name!r} to export; there are {there}")
    target = directory.resolve()
    with _spoken(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise WrongIndex(f"{target}: is not empty; name a directory that is, or that is not there")
        with _beside(target) as folder:
            count = _write(folder, chosen, stores, report, report_progress)
            about = Exported(
                lineage=manifest.lineage,
                version=manifest.version,
                committed_at=manifest.committed_at,
                space=name,
                dim=chosen.dim,
                vectors=count,
                identity=dict(chosen.identity),
                counts=dict(manifest.counts),
                sha256={part: _digest(folder / part) for part in (VECTORS, ROWS)},
            )
            (folder / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
            for part in (VECTORS, ROWS, ABOUT):
                _sync(folder / part)
            _sync(folder)
            folder.rename(target)
        _sync(target.parent)
    return about


def _write(
    folder: Path,
    space: SpaceRef,
    stores: Sequence[Store],
    report: Callable[[str], None],
    report_progress: Callable[[int, int], None],
) -> int:
    """Write vectors and rows of all segments in the order of the manifest; return how many there are."""
    total = sum(ref.count - ref.dead_count for ref in space.segments)
    done = 0
    with (folder / VECTORS).open("wb") as vectors, parquet.ParquetWriter(folder / ROWS, _SCHEMA) as rows:
        vectors.write(faiss_door.flat_header(total, space.dim))
        for ref in space.segments:
            with contextlib.closing(Segment(ref, stores, report, VectorMemory(0))) as segment:
                written = _write_vectors(vectors, segment, space.dim)
                for batch in _batches(segment.live_rows()):
                    rows.write_batch(_arrow(batch))
                    written -= len(batch)
                    done += len(batch)
                    report_progress(done, total)
            if written:
                raise Corrupt(f"segment {ref.id}: has not as many rows as vectors; run penstock verify")
    if done != total:
        raise Corrupt(f"{done} live rows where the manifest says {total}; run penstock verify")
    return total


def _write_vectors(out: BinaryIO, segment: Segment, dim: int) -> int:
    count = 0
    for block in segment.blocks():
        if block.shape[1] != dim:
            raise Corrupt(f"segment {segment.ref.id}: has vectors of another width; run penstock verify")
        out.write(block.astype("<f4", copy=False).tobytes())
        count += len(block)
    return count


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _arrow(rows: Sequence[Row]) -> pa.RecordBatch:
    columns = [
        pa.array(
            [list(row.metadata.items()) if field.name == "metadata" else getattr(row, field.name) for row in rows],
            type=field.type,
        )
        for field in _SCHEMA
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder beside the target, held by this run alone, cleared of what a killed one left, gone after a failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.partial")
    folder.mkdir(exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{target}: another export is writing there; wait for it") from None
        _clear(folder)
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                _clear(folder)
                folder.rmdir()
            raise
    finally:
        os.close(held)


def _clear(folder: Path) -> None:
    for part in (VECTORS, ROWS, ABOUT):
        (folder / part).unlink(missing_ok=True)


@contextlib.contextmanager
def _spoken(target: Path) -> Iterator[None]:
    """Say what the disk raises in our words."""
    try:
        yield
    except IndexFault:
        raise
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{target}: the disk is full; make room and run again") from fault
        raise Unavailable(f"{target}: cannot write there: {fault.strerror or fault}") from fault


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
