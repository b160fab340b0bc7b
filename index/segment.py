"""Segments: vectors in a FAISS file, their rows beside it, and a bitmap of those that are dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyroaring
from numpy.typing import NDArray

from penstock.index import faiss_door, table
from penstock.index.blob import Blob, open_blob, seal
from penstock.index.errors import Corrupt
from penstock.index.store import Store
from penstock.index.types import BlobRef, Row, SegmentRef

FLAT = "flat"
_row = msgspec.json.Decoder(Row)
_place = msgspec.json.Decoder(tuple[int, int])


def build(
    workdir: Path,
    segment_id: str,
    vectors: NDArray[np.float32],
    rows: Iterable[Row],
    txn: str,
    *,
    provenance: Mapping[str, str],
) -> tuple[SegmentRef, dict[str, Path]]:
    """Write a segment's blobs below `workdir`, sealed; return its ref and the local file of each blob name.

    `vectors`: float32 (n, d), n > 0, finite; row i describes vector i, and the rows of one uri follow one
    another. `ValueError` otherwise; `NoSpace` when the disk is full. Rows are streamed.
    """
    _check_vectors(vectors)
    census = _Census(rows, len(vectors))
    parts = {name: workdir / f"{segment_id}.{name}.part" for name in ("rows", "docs", "index")}
    for path in parts.values():
        path.unlink(missing_ok=True)  # left by a run that was killed here
    table.write(parts["rows"], census, keyed=False)
    if census.count != len(vectors):
        raise ValueError(f"{census.count} rows for {len(vectors)} vectors")
    places = sorted(census.places.items())
    table.write(parts["docs"], ((uri, msgspec.json.encode(place)) for uri, place in places))
    faiss_door.write_flat(parts["index"], vectors)
    files: dict[str, Path] = {}
    refs = {name: _finish(path, txn, files) for name, path in parts.items()}
    ref = SegmentRef(
        id=segment_id,
        kind=FLAT,
        count=len(vectors),
        index=refs["index"],
        rows=refs["rows"],
        docs=refs["docs"],
        tokens=census.tokens,
        provenance=dict(provenance),
    )
    return ref, files


def dead_blob(workdir: Path, bitmap: pyroaring.BitMap, txn: str) -> tuple[BlobRef, Path]:
    """Write and seal a bitmap of dead ordinals; return its ref and its file below `workdir`."""
    part = workdir / f"dead.{txn}.part"
    compact = pyroaring.BitMap(bitmap)
    compact.run_optimize()
    part.write_bytes(compact.serialize())
    files: dict[str, Path] = {}
    ref = _finish(part, txn, files)
    return ref, files[ref.name]


def read_dead(stores: Sequence[Store], ref: BlobRef, *, report: Callable[[str], None]) -> pyroaring.BitMap:
    """Read a bitmap of dead ordinals, every byte verified. Raises as `open_blob`."""
    blob = open_blob(stores, ref, report=report)
    try:
        return pyroaring.BitMap.deserialize(blob.read(0, blob.size))
    except ValueError as fault:
        raise Corrupt(f"blob {ref.name}: is not a bitmap; run penstock verify") from fault
    finally:
        blob.close()


class Segment:
    """One segment, opened: descriptors are taken now, bytes are read and verified when they are needed.

    `report` gets one line for each bad copy that was passed over.
    """

    def __init__(self, ref: SegmentRef, stores: Sequence[Store], report: Callable[[str], None]) -> None:
        self.ref = ref
        self.stores, self.report = tuple(stores), report
        self._lazy = _Index(open_blob(self.stores, ref.index, report=report), ref.count)
        self._rows_blob = open_blob(self.stores, ref.rows, report=report)

    @property
    def index(self) -> Any:
        """The FAISS index, in memory. FAISS sees only bytes that were verified against their XXH3."""
        return self._lazy.get()

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, the dead ones too: float32 (count, d), read-only, row i is ordinal i."""
        return faiss_door.vectors(self.index)

    @cached_property
    def reach(self) -> float:
        """The largest Euclidean norm of any vector here, in float64."""
        largest = 0.0
        for start in range(0, len(self.vectors), 4096):
            block = self.vectors[start : start + 4096].astype(np.float64)
            largest = max(largest, float(np.sqrt(np.einsum("ij,ij->i", block, block).max())))
        return largest

    @cached_property
    def dead(self) -> pyroaring.BitMap:
        """The ordinals that must not be found. Do not change it."""
        if self.ref.dead is None:
            return pyroaring.BitMap()
        dead = read_dead(self.stores, self.ref.dead, report=self.report)
        if len(dead) and dead.max() >= self.ref.count:
            raise Corrupt(f"blob {self.ref.dead.name}: names rows that do not exist; run penstock verify")
        return dead

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """True for each ordinal that may be found: (count,)."""
        live = np.ones(self.ref.count, dtype=np.bool_)
        live[np.asarray(self.dead.to_array(), dtype=np.int64)] = False
        return live

    @cached_property
    def rows(self) -> table.Table:
        return table.Table(self._rows_blob)

    def row(self, ordinals: Sequence[int]) -> list[Row]:
        """Return the rows of these ordinals, in this order."""
        return [_row.decode(record) for record in self.rows.get_at(ordinals)]

    def locate(self, uris: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return (first ordinal, count) of those documents that have rows here, dead or not."""
        return {uri: _place.decode(record) for uri, record in self._docs().find(uris).items()}

    def documents(self) -> Iterator[tuple[str, int, int]]:
        """Yield (uri, first ordinal, count) of every document that has rows here, dead or not, by uri."""
        for uri, record in self._docs():
            yield uri, *_place.decode(record)

    def renewed(self, ref: SegmentRef, stores: Sequence[Store]) -> Segment:
        """Return this segment with another set of dead rows; what was read and verified is shared."""
        fresh = Segment.__new__(Segment)
        for name, value in vars(self).items():
            if name not in ("ref", "dead", "live"):
                setattr(fresh, name, value)
        fresh.ref, fresh.stores = ref, tuple(stores)
        return fresh

    def close(self) -> None:
        self._lazy.close()
        self._rows_blob.close()

    def _docs(self) -> table.Table:
        return table.Table(open_blob(self.stores, self.ref.docs, report=self.report))


class _Index:
    """A FAISS index that is read once, by whoever comes first, and then lets go of its file."""

    def __init__(self, blob: Blob, count: int) -> None:
        self._blob, self._count = blob, count
        self._lock = threading.Lock()
        self._index: Any = None

    def get(self) -> Any:
        with self._lock:
            if self._index is None:
                index = faiss_door.open_flat(self._blob.read, self._blob.size)
                if index.ntotal != self._count:
                    raise Corrupt(f"blob {self._blob.ref.name}: has not {self._count} vectors; run penstock verify")
                self._index = index
                self._blob.close()
            return self._index

    def close(self) -> None:
        self._blob.close()


class _Census:
    """Streams rows into a table, counting what the ref and the docs table need."""

    def __init__(self, rows: Iterable[Row], limit: int) -> None:
        self._rows, self._limit = rows, limit
        self.places: dict[str, tuple[int, int]] = {}
        self.count = self.tokens = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for row in self._rows:
            if self.count == self._limit:
                raise ValueError(f"more rows than the {self._limit} vectors")
            first, count = self.places.get(row.uri, (self.count, 0))
            if first + count != self.count:
                raise ValueError(f"the rows of {row.uri} do not follow one another")
            self.places[row.uri] = (first, count + 1)
            self.count += 1
            self.tokens += row.tokens
            yield "", msgspec.json.encode(row)


def _check_vectors(vectors: NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or vectors.dtype != np.float32 or 0 in vectors.shape:
        raise ValueError(f"vectors must be float32 (n, d), not {vectors.dtype} {vectors.shape}")
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"vector {bad} has components that are not finite")


def _finish(part: Path, txn: str, files: dict[str, Path]) -> BlobRef:
    """Seal a finished part, give it the blob's name, and note where it is."""
    ref = seal(part, txn)
    files[ref.name] = part.rename(part.with_name(ref.name))
    return ref
