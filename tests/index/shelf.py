"""Segments for tests, made and stored as a writer does, and what a search of them should answer, by brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pyroaring

from penstock.index.segments import building, quantizer
from penstock.index.segments.rawvectors import VectorMemory
from penstock.index.segments.segment import Segment, dead_blob
from penstock.index.stores.store import LocalStore
from penstock.index.types import Row, SegmentRef


def refuse(line):
    raise AssertionError(line)


class Shelf:
    """A store, and a folder to build in."""

    def __init__(self, root: Path) -> None:
        numbers = itertools.count()
        self.store = LocalStore.create(root / "store", token=lambda: f"t{next(numbers)}")
        self.work = root / "work"
        self.work.mkdir()
        self._numbers = itertools.count()

    def put(self, files) -> None:
        for name, path in files.items():
            self.store.put_if_absent(f"blobs/{name[:2]}/{name}", path)

    def build(self, vectors, rows, dead=(), *, trained=None, provenance=None) -> SegmentRef:
        """Store a segment, IVF if there is a quantizer; its ref."""
        name = f"seg{next(self._numbers)}"
        ref, files = building.stream(
            self.work, name, vectors.shape, [vectors], rows, "txn", provenance=provenance or {}, quantizer=trained
        )
        self.put(files)
        return self.bury(ref, dead)

    def bury(self, ref: SegmentRef, dead) -> SegmentRef:
        if not len(dead):
            return ref
        blob, path = dead_blob(self.work, pyroaring.BitMap(dead), f"dead{next(self._numbers)}")
        self.put({blob.name: path})
        return msgspec.structs.replace(ref, dead=blob, dead_count=len(dead))

    def train(self, vectors, count=None) -> quantizer.Quantizer:
        trained, path = quantizer.train(vectors, count or len(vectors), self.work, f"q{next(self._numbers)}")
        self.put({trained.ref.name: path})
        return trained

    def open(self, ref: SegmentRef, memory=1 << 30) -> Segment:
        return Segment(ref, [self.store], refuse, VectorMemory(memory))


def rows_of(count, *, source="s", rng=None, first=0) -> list[Row]:
    """Rows of documents of one to three chunks; with `rng`, some with labels and metadata."""
    rows, document = [], 0
    while len(rows) < count:
        extra = {}
        if rng is not None:
            labels = tuple(sorted(rng.choice(["a", "b", "c"], rng.integers(0, 3), replace=False).tolist()))
            extra = {"labels": labels, "metadata": {"year": str(rng.integers(2000, 2003)), "x:y": "1"}}
        uri = f"{source}/{first + document:05d}"
        for n in range(min(document % 3 + 1, count - len(rows))):
            rows.append(Row(f"{uri}#{n}", uri, f"text {uri} {n}", 0, 6, 2, **extra))
        document += 1
    return rows


def unit(count, dim, seed=0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def brute(segments, query, k, where=None):
    """(chunk id, score) of the k best of (vectors, rows, dead) that `where` lets through, by definition."""
    every = []
    for vectors, rows, dead in segments:
        for ordinal, row in enumerate(rows):
            if ordinal not in dead and (where is None or admits(where, row)):
                products = vectors[ordinal].astype(np.float64) * query.astype(np.float64)
                every.append((-float(np.add.reduce(products)), row.chunk_id))
    return [(chunk, -negative) for negative, chunk in sorted(every)[:k]]


def admits(where, row: Row) -> bool:
    """What a filter means, written down once more."""
    return (
        all(row.metadata.get(key) in values for key, values in where.metadata.items())
        and (where.labels is None or bool(set(row.labels) & where.labels))
        and (where.sources is None or row.uri.split("/")[0] in where.sources)
    )
