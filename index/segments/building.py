"""Writing a segment: vectors and rows are streamed in, sealed blobs come out. The same input makes the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyroaring
from numpy.typing import NDArray

from penstock.index.blobs import table
from penstock.index.blobs.blob import seal
from penstock.index.errors import NoSpace
from penstock.index.segments import faiss_door
from penstock.index.segments.facets import Gathering
from penstock.index.segments.quantizer import Quantizer
from penstock.index.types import BlobRef, Row, SegmentRef

FLAT = "flat"
IVF = "ivf"
_WRITTEN = 4 << 20
"""Bytes of vectors written in one go."""
_ADDED = 8192
"""Vectors that are given their lists in one go. Always from the first one on, so that the bits never differ."""


def build(
    workdir: Path,
    segment_id: str,
    vectors: NDArray[np.float32],
    rows: Iterable[Row],
    txn: str,
    *,
    provenance: Mapping[str, str],
) -> tuple[SegmentRef, dict[str, Path]]:
    """Write a flat segment's blobs below `workdir`, sealed; return its ref and the local file of each blob name.

    `vectors`: float32 (n, d), n > 0, finite, may be a memmap; row i describes vector i, and the rows of one
    uri follow one another. `ValueError` otherwise; `NoSpace` when the disk is full.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or 0 in vectors.shape:
        raise ValueError(f"vectors must be float32 (n, d), not {vectors.dtype} {vectors.shape}")
    step = max(1, _WRITTEN // (4 * vectors.shape[1]))
    blocks = (vectors[at : at + step] for at in range(0, len(vectors), step))
    shape = len(vectors), vectors.shape[1]
    return stream(workdir, segment_id, shape, blocks, rows, txn, provenance=provenance, quantizer=None)


def stream(
    workdir: Path,
    segment_id: str,
    shape: tuple[int, int],
    blocks: Iterable[NDArray[np.float32]],
    rows: Iterable[Row],
    txn: str,
    *,
    provenance: Mapping[str, str],
    quantizer: Quantizer | None,
) -> tuple[SegmentRef, dict[str, Path]]:
    """As `build`, for vectors that come in `blocks` of any sizes and are `shape` (n, d) together.

    With a `quantizer` the segment is IVF: its codes (6 bits a component, and 8 bytes a vector) are in
    memory while it is built; vectors and rows are not. Rows are read first. The quantizer's own blob is not
    among the files.
    """
    names = ("rows", "docs", "facets", "index", *(("vectors",) if quantizer else ()))
    parts = {name: workdir / f"{segment_id}.{name}.part" for name in names}
    for path in parts.values():
        path.unlink(missing_ok=True)  # left by a run that was killed here
    census = _Census(rows, shape[0])
    table.write(parts["rows"], census, keyed=False)
    if census.count != shape[0]:
        raise ValueError(f"{census.count} rows for {shape[0]} vectors")
    places = sorted(census.places.items())
    table.write(parts["docs"], ((uri, msgspec.json.encode(place)) for uri, place in places))
    table.write(parts["facets"], census.facets.records())
    if quantizer is None:
        _write_flat(parts["index"], shape, blocks)
    else:
        index = _Coded(quantizer, shape[1])
        _write_flat(parts["vectors"], shape, index.passing(blocks))
        faiss_door.write(index.finished(), parts["index"])
    files: dict[str, Path] = {}
    refs = {name: _finish(path, txn, files) for name, path in parts.items()}
    ref = SegmentRef(
        id=segment_id,
        kind=IVF if quantizer else FLAT,
        count=shape[0],
        index=refs["index"],
        rows=refs["rows"],
        docs=refs["docs"],
        tokens=census.tokens,
        provenance=dict(provenance),
        vectors=refs.get("vectors"),
        quantizer=quantizer.ref if quantizer else None,
        facets=refs["facets"],
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


class _Census:
    """Streams rows into a table, counting what the ref, the docs table and the facets need."""

    def __init__(self, rows: Iterable[Row], limit: int) -> None:
        self._rows, self._limit = rows, limit
        self.places: dict[str, tuple[int, int]] = {}
        self.facets = Gathering()
        self.count = self.tokens = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for row in self._rows:
            if self.count == self._limit:
                raise ValueError(f"more rows than the {self._limit} vectors")
            first, count = self.places.get(row.uri, (self.count, 0))
            if first + count != self.count:
                raise ValueError(f"the rows of {row.uri} do not follow one another")
            self.places[row.uri] = (first, count + 1)
            self.facets.add(self.count, row)
            self.count += 1
            self.tokens += row.tokens
            yield "", msgspec.json.encode(row)


class _Coded:
    """Gives vectors that pass by their lists and codes, a fixed number at a time."""

    def __init__(self, quantizer: Quantizer, dim: int) -> None:
        self._index = quantizer.index()
        if self._index.d != dim or self._index.ntotal:
            raise ValueError(f"the quantizer is not an empty one of {dim} dimensions")
        self._waiting = np.empty((_ADDED, dim), dtype=np.float32)
        self._filled = 0

    def passing(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The same blocks."""
        for block in blocks:
            at = 0
            while at < len(block):
                taken = block[at : at + _ADDED - self._filled]
                self._waiting[self._filled : self._filled + len(taken)] = taken
                self._filled += len(taken)
                at += len(taken)
                if self._filled == _ADDED:
                    self._add()
            yield block

    def finished(self) -> Any:
        """The index with all that passed."""
        self._add()
        return self._index

    def _add(self) -> None:
        with faiss_door.one_thread():
            self._index.add(self._waiting[: self._filled])
        self._filled = 0


def _write_flat(path: Path, shape: tuple[int, int], blocks: Iterable[NDArray[np.float32]]) -> None:
    """Write an IndexFlatIP file of vectors that come in blocks; `ValueError` if they are not `shape` and finite."""
    written = 0
    with path.open("xb", buffering=0) as out:
        for block in _checked(blocks, shape[1]):
            header = b"" if written else faiss_door.flat_header(*shape)
            _write_all(out, path, header + np.ascontiguousarray(block, "<f4").tobytes())
            written += len(block)
    if written != shape[0]:
        raise ValueError(f"{written} vectors came, not {shape[0]}")


def _write_all(out: io.FileIO, path: Path, data: bytes) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[out.write(left) :]
    except OSError as fault:
        raise NoSpace(f"{path}: cannot write: {fault.strerror}; make room and run again") from fault


def _checked(blocks: Iterable[NDArray[np.float32]], dim: int) -> Iterator[NDArray[np.float32]]:
    seen = 0
    for block in blocks:
        if block.ndim != 2 or block.dtype != np.float32 or block.shape[1] != dim:
            raise ValueError(f"vectors must be float32 (n, {dim}), not {block.dtype} {block.shape}")
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise ValueError(f"vector {seen + int(np.argmin(finite))} has components that are not finite")
        seen += len(block)
        yield block


def _finish(part: Path, txn: str, files: dict[str, Path]) -> BlobRef:
    """Seal a finished part, give it the blob's name, and note where it is."""
    ref = seal(part, txn)
    files[ref.name] = part.rename(part.with_name(ref.name))
    return ref
