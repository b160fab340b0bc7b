"""Segments: vectors in a FAISS file, their rows beside it, and a bitmap of those that are dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyroaring
from numpy.typing import NDArray

from penstock.index.blobs import table
from penstock.index.blobs.blob import Blob, open_blob
from penstock.index.decoding import decoder
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.segments import faiss_door
from penstock.index.segments.building import FLAT, IVF, build, dead_blob
from penstock.index.segments.facets import Facets, FacetTable, Filter, Gathering, chosen
from penstock.index.segments.parts import Held, Part, Probed, Window
from penstock.index.segments.rawvectors import RawVectors, VectorMemory, norm_bound
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Row, SegmentRef

__all__ = ["FLAT", "IVF", "Segment", "VectorMemory", "build", "dead_blob", "read_dead"]

EXACT_BELOW = 1_000
"""With fewer rows to choose from, an IVF segment is searched exactly."""
_row = decoder(Row)
_place = msgspec.json.Decoder(tuple[int, int])


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

    A flat segment holds its vectors in memory if `memory` (shared by the segments of a reader; by default its
    own, of the usual size) has room for them, else each search reads them through; the answers are the same.
    An IVF segment holds its codes and reads raw vectors by position. `report` gets one line for each bad copy
    that was passed over. Raises `WrongIndex` for a kind that a newer penstock made.
    """

    def __init__(
        self,
        ref: SegmentRef,
        stores: Sequence[Store],
        report: Callable[[str], None],
        memory: VectorMemory | None = None,
    ) -> None:
        if ref.kind not in (FLAT, IVF) or (ref.kind == IVF and ref.vectors is None):
            raise WrongIndex(f"segment {ref.id} is of kind {ref.kind!r}, which is not known here: upgrade penstock")
        self.ref = ref
        self.stores, self.report = tuple(stores), report
        vectors = self._opened(ref.vectors) if ref.vectors else None
        self._index = _Index(ref, self._opened(ref.index), vectors, memory or VectorMemory())
        self._rows_blob = self._opened(ref.rows)
        self._facets_blob = self._opened(ref.facets) if ref.facets else None

    @property
    def dim(self) -> int:
        """How many components a vector has."""
        return self._index.raw.dim

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, the dead ones too, in memory: float32 (count, d), row i is ordinal i. Do not write to it."""
        held = self._index.held() if self.ref.kind == FLAT else None
        return self._index.reading().all() if held is None else faiss_door.vectors(held)

    def take(self, ordinals: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these ordinals, in this order: float32 (n, d). `IndexError` for one that is not there."""
        wanted = np.asarray(ordinals, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.ref.count:
            raise IndexError(f"an ordinal outside the {self.ref.count} of segment {self.ref.id}")
        source = self._index.reading()
        return source.take(wanted) if isinstance(source, RawVectors) else faiss_door.vectors(source)[wanted]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of the live rows by ordinal, float32 (n, d), some megabytes at a time."""
        ordinals = np.flatnonzero(self.live)
        for at in range(0, len(ordinals), step := self._index.raw.window):
            yield self.take(ordinals[at : at + step])

    def parts(self, where: Filter | None = None, exact: bool = False) -> Iterator[Part]:
        """What a search looks through: live rows that `where` lets through. See `search.top_k`."""
        live, bits = (self.live, self._bits) if where is None else self._narrowed(where)
        count = self._live_count if where is None else int(np.count_nonzero(live))
        if not count:
            return
        if self.ref.kind == IVF and not exact and count >= EXACT_BELOW:
            yield Probed(self._index.held(), self._index.raw, bits, count)
            return
        held = self._index.held() if self.ref.kind == FLAT else None
        if held is not None:
            yield Held(held, live, bits, count, self._index.reach())
            return
        raw = self._index.reading()
        for ordinals, vectors in raw.visit(np.flatnonzero(live)):
            yield Window(ordinals, vectors, raw.reach(ordinals, vectors))

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
        return ~_mask(self.dead, self.ref.count)

    @cached_property
    def rows(self) -> table.Table:
        return table.Table(self._rows_blob)

    @cached_property
    def facets(self) -> Facets:
        """Which rows carry what. Format 1 stored none: there they are gathered from all rows, once."""
        if self._facets_blob is not None:
            return FacetTable(table.Table(self._facets_blob), self.ref.count)
        gathered = Gathering()
        for ordinal, (_, record) in enumerate(self.rows):
            gathered.add(ordinal, _row.decode(record))
        return gathered

    def row(self, ordinals: Sequence[int]) -> list[Row]:
        """Return the rows of these ordinals, in this order."""
        return [_row.decode(record) for record in self.rows.get_at(ordinals)]

    def live_rows(self) -> Iterator[Row]:
        """Yield every row that is not dead, by ordinal."""
        live = self.live
        for ordinal, (_, record) in enumerate(self.rows):
            if live[ordinal]:
                yield _row.decode(record)

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
            if name not in ("ref", "dead", "live", "_bits", "_live_count"):
                setattr(fresh, name, value)
        fresh.ref, fresh.stores = ref, tuple(stores)
        return fresh

    def close(self) -> None:
        """Let go of files and memory. Also those of `renewed` ones, which share them."""
        self._index.close()
        for blob in (self._rows_blob, self._facets_blob):
            if blob is not None:
                blob.close()

    @cached_property
    def _live_count(self) -> int:
        return int(np.count_nonzero(self.live))

    @cached_property
    def _bits(self) -> NDArray[np.uint8] | None:
        return None if self.live.all() else np.packbits(self.live, bitorder="little")

    def _narrowed(self, where: Filter) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        live = _mask(chosen(where, self.facets) - self.dead, self.ref.count)
        return live, np.packbits(live, bitorder="little")

    def _docs(self) -> table.Table:
        return table.Table(self._opened(self.ref.docs))

    def _opened(self, ref: BlobRef) -> Blob:
        return open_blob(self.stores, ref, report=self.report)


def _mask(bitmap: pyroaring.BitMap, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=np.bool_)
    mask[np.asarray(bitmap.to_array(), dtype=np.int64)] = True
    return mask


class _Index:
    """A FAISS index that is read once, by whoever comes first, and then lets go of its file.

    A flat one that `memory` has no room for is not read: its vectors are read from its file when they are
    wanted. Those of an IVF one are always read from theirs.
    """

    def __init__(self, ref: SegmentRef, blob: Blob, vectors: Blob | None, memory: VectorMemory) -> None:
        self._ref, self._blob, self._vectors, self._memory = ref, blob, vectors, memory
        self._lock = threading.Lock()
        self._counted = 0
        self._reach: float | None = None
        self._now: Any = None
        self._streamed = False

    @cached_property
    def raw(self) -> RawVectors:
        """The raw vectors. Those of a flat index may only be read after `reading` gave them."""
        return RawVectors(self._vectors or self._blob, self._ref.count)

    def held(self) -> Any:
        """The index in memory; None for a flat one that does not fit."""
        with self._lock:
            if self._now is None and self._fits():
                _ = self.raw  # reads the header, while there is a file
                self._now = self._read()
                if not self._streamed:
                    self._blob.close()
            return self._now

    def reading(self) -> Any:
        """What to take vectors from: a flat index that is in memory already, else `RawVectors`."""
        with self._lock:
            if self._ref.kind == FLAT and self._now is not None:
                return self._now
            self._streamed = True  # somebody may be reading it from now on
            return self.raw

    def reach(self) -> float:
        """A bound on the norm of any vector of an index that is held."""
        with self._lock:
            if self._reach is None:
                vectors = faiss_door.vectors(self._now)
                blocks = (vectors[at : at + 4096] for at in range(0, len(vectors), 4096))
                self._reach = max(norm_bound(block) for block in blocks)
            return self._reach

    def close(self) -> None:
        with self._lock:
            self._memory.give(self._counted)
            self._counted, self._now = 0, None
            for blob in (self._blob, self._vectors):
                if blob is not None:
                    blob.close()

    def __del__(self) -> None:
        self._memory.give(self._counted)

    def _fits(self) -> bool:
        if self._ref.kind == FLAT and not self._counted:
            if not self._memory.take(self._blob.size):
                return False
            self._counted = self._blob.size
        return True

    def _read(self) -> Any:
        open_index = faiss_door.open_flat if self._ref.kind == FLAT else faiss_door.open_ivf
        index = open_index(self._blob.read, self._blob.size)
        if (index.ntotal, index.d) != (self._ref.count, self.raw.dim):
            raise Corrupt(f"blob {self._ref.index.name}: has not {self._ref.count} vectors; run penstock verify")
        return index
