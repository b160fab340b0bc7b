"""Reading stored blobs whole, no faster than allowed, and putting one together from damaged copies."""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import xxhash

from penstock.index.blobs import blob
from penstock.index.blobs.bytesource import BLOCK
from penstock.index.errors import Corrupt, IndexFault
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

_TAIL = struct.Struct("<QI4s")


class Copy(enum.Enum):
    """What one store's copy of a blob is like. `UNREADABLE`: the store is there, or not, and gives no bytes."""

    WHOLE = "is whole"
    MISSING = "is missing"
    DAMAGED = "is damaged"
    UNREADABLE = "cannot be read"


class Rate:
    """At most `per_second` bytes a second, over any few seconds; None is no limit.

    `clock` gives monotonic seconds. `spend` returns when that many bytes may be read, and is never refused:
    who reads a large piece waits for it before the next one.
    """

    def __init__(
        self,
        per_second: int | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if per_second is not None and (per_second < 1 or clock is None or sleep is None):
            raise ValueError("a byte rate is at least 1, and needs a clock and a sleep")
        self._per_second, self._clock, self._sleep = per_second or 0, clock, sleep
        self._at = clock() if clock is not None else 0.0
        self._free = 0.0
        self.spent = 0

    def spend(self, size: int) -> None:
        """Wait until `size` more bytes are within the rate."""
        self.spent += size
        if not self._per_second or self._clock is None or self._sleep is None:
            return
        now = self._clock()
        self._free = min(float(self._per_second), self._free + (now - self._at) * self._per_second) - size
        self._at = now
        if self._free < 0:
            self._sleep(-self._free / self._per_second)


def examine(store: Store, ref: BlobRef, rate: Rate) -> Copy:
    """Read one copy whole and compare it with its name. Never raises for what is wrong with it."""
    try:
        key = blob.key(ref)
        size = store.size(key)
        if size is None:
            return Copy.MISSING
        if size != ref.size:
            return Copy.DAMAGED
        blob.check(_pieces(store, key, size, rate), ref)
    except FileNotFoundError:
        return Copy.MISSING
    except Corrupt:
        return Copy.DAMAGED
    except (IndexFault, OSError):
        return Copy.UNREADABLE
    return Copy.WHOLE


def assemble(stores: Sequence[Store], ref: BlobRef, out: Path, rate: Rate) -> None:
    """Write the blob to the file `out`, each block from the first store whose copy of that block is good.

    So it is found even where every copy is damaged, unless all are in the same block. Raises `Corrupt` when
    some part is good nowhere; `out` is complete and checked by sha256 otherwise.
    """
    trailer = _trailer(stores, ref, rate)
    whole, size = hashlib.sha256(), ref.size - len(trailer)
    with out.open("wb") as file:
        for number, start in enumerate(range(0, size, BLOCK)):
            end = min(start + BLOCK, size)
            data = _block(stores, ref, start, end, trailer[number * 8 : number * 8 + 8], rate)
            whole.update(data)
            file.write(data)
        whole.update(trailer)
        file.write(trailer)
    if whole.hexdigest() != ref.name.split(".", 1)[0]:
        raise Corrupt(f"blob {ref.name}: no replica has it whole")


def _pieces(store: Store, key: str, size: int, rate: Rate) -> Iterator[bytes]:
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        rate.spend(end - start)
        yield store.get_range(key, start, end)


def _block(stores: Sequence[Store], ref: BlobRef, start: int, end: int, digest: bytes, rate: Rate) -> bytes:
    for data in _ranges(stores, ref, start, end, rate):
        if len(data) == end - start and _digest(data) == digest:
            return data
    raise Corrupt(f"blob {ref.name}: bytes {start} to {end} are good on no replica")


def _trailer(stores: Sequence[Store], ref: BlobRef, rate: Rate) -> bytes:
    """The block sums, from a good copy, or computed anew from content that proves to be the right one."""
    size = ref.size - blob.trailer_size(ref.size)
    for data in _ranges(stores, ref, size, ref.size, rate):
        if xxhash.xxh3_128_hexdigest(data) == ref.sums:
            return data
    for store in stores:
        starts = range(0, size, BLOCK)
        blocks = (_ranges([store], ref, start, min(start + BLOCK, size), rate) for start in starts)
        sums = b"".join(_digest(data) for found in blocks for data in found)
        trailer = sums + _TAIL.pack(size, BLOCK, blob.MAGIC)
        if xxhash.xxh3_128_hexdigest(trailer) == ref.sums:
            return trailer
    raise Corrupt(f"blob {ref.name}: its block sums are good on no replica")


def _ranges(stores: Iterable[Store], ref: BlobRef, start: int, end: int, rate: Rate) -> Iterator[bytes]:
    """These bytes as each store has them; a store that does not give them is passed over."""
    for store in stores:
        rate.spend(end - start)
        try:
            data = store.get_range(blob.key(ref), start, end)
        except (IndexFault, OSError):
            continue
        yield data


def _digest(block: bytes) -> bytes:
    return xxhash.xxh3_64_intdigest(block).to_bytes(8, "little")
