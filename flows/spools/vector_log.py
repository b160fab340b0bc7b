"""Vectors of one shard as they are made: records that each carry a checksum, appended and synced.

A record is the header (count u32, dim u32, XXH3-64 of the body), `count` positions (i64) and as many vectors (f32),
all little-endian. A file of whole records is a log, and so is any number of them one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

_HEADER = np.dtype([("count", "<u4"), ("dim", "<u4"), ("sum", "<u8")])


def _nobody(record: bytes) -> None:
    return


class VectorLog:
    """The log of one shard of `chunks` chunks."""

    def __init__(self, path: Path, chunks: int, tee: Callable[[bytes], None] = _nobody) -> None:
        """`tee` is given each record once it is durable here."""
        self._path = path
        self._chunks = chunks
        self._tee = tee
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
        record = header.tobytes() + body
        self._out.write(record)
        self._out.flush()
        os.fsync(self._out.fileno())
        self._tee(record)

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
