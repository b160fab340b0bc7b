"""Vectors of one shard as they are made: records that each carry a checksum, appended and synced.

A record is the header (count u32, dim u32, XXH3-64 of the body), `count` positions (i64) and as many vectors (f32),
all little-endian. Where `dim` is 0 the body is `count` bytes of JSON, a list of `Refused`: passages that no vector can
be made of, which nobody has to try again. A file of whole records is a log, and so is any number of them one after
the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from penstock.embed.types import Refused
from penstock.index.decoding import decode

_Refusals: TypeAlias = dict[int, Refused]
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
        self.refused: dict[int, Refused] = {}
        """By position, those that `load` found and that were noted since."""

    def load(self, dim: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """All vectors so far, float32 (chunks, dim), and which rows are settled; cut off a torn end.

        A refused row is settled, and zero.
        """
        vectors = np.zeros((self._chunks, dim), dtype=np.float32)
        done = np.zeros(self._chunks, dtype=np.bool_)
        self.refused.clear()
        if not self._path.exists():
            return vectors, done
        sound = 0
        with open(self._path, "rb") as log:
            while (record := self._record(log, dim)) is not None:
                if isinstance(record, dict):
                    self.refused.update(record)
                    done[list(record)] = True
                else:
                    positions, values = record
                    vectors[positions] = values
                    done[positions] = True
                sound = log.tell()
        os.truncate(self._path, sound)
        return vectors, done

    def append(self, positions: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append one record; durable on return."""
        body = positions.astype("<i8").tobytes() + np.ascontiguousarray(vectors, dtype="<f4").tobytes()
        self._append(len(positions), vectors.shape[1], body)

    def refuse(self, refused: Sequence[Refused]) -> None:
        """Note that these positions will have no vector; durable on return."""
        body = msgspec.json.encode(refused)
        self._append(len(body), 0, body)
        self.refused.update({each.position: each for each in refused})

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def _append(self, count: int, dim: int, body: bytes) -> None:
        if self._out is None:
            self._out = open(self._path, "ab")  # noqa: SIM115 - held open across records, closed by `close`
        header = np.zeros(1, dtype=_HEADER)
        header[0] = (count, dim, xxhash.xxh3_64_intdigest(body))
        record = header.tobytes() + body
        self._out.write(record)
        self._out.flush()
        os.fsync(self._out.fileno())
        self._tee(record)

    def _record(self, log: BinaryIO, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]] | _Refusals | None:
        raw = log.read(_HEADER.itemsize)
        if len(raw) < _HEADER.itemsize:
            return None
        count, width, checksum = np.frombuffer(raw, dtype=_HEADER)[0].tolist()
        if width not in (0, dim) or (width and count > self._chunks):
            return None
        size = count * (8 + 4 * dim) if width else count
        body = log.read(size)
        if len(body) < size or xxhash.xxh3_64_intdigest(body) != checksum:
            return None
        if not width:
            return self._refusals(body)
        positions = np.frombuffer(body, dtype="<i8", count=count)
        if count and not (positions.min() >= 0 and positions.max() < self._chunks):
            return None
        return positions, np.frombuffer(body, dtype="<f4", offset=8 * count).reshape(count, dim)

    def _refusals(self, body: bytes) -> _Refusals | None:
        try:
            found = {each.position: each for each in decode(body, list[Refused])}
        except msgspec.MsgspecError:
            return None
        return found if all(0 <= position < self._chunks for position in found) else None
