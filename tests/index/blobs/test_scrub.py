"""Blobs are read whole, at a rate, and put together from copies that are damaged in different places."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from penstock.index.blobs import blob
from penstock.index.blobs.bytesource import BLOCK
from penstock.index.blobs.scrub import Copy, Rate, assemble, examine
from penstock.index.errors import Corrupt
from penstock.index.stores.store import LocalStore
from penstock.index.types import BlobRef


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def stored(root: Path, copies: int, size: int = 2 * BLOCK + 1000) -> tuple[BlobRef, list[LocalStore], list[Path]]:
    """A blob of three blocks in each of several stores; the files that hold it."""
    part = root / "part"
    part.write_bytes(random.Random(5).randbytes(size))
    ref = blob.seal(part, "txn")
    stores = []
    for number in range(copies):
        names = iter(f"t{n}" for n in range(100))
        stores.append(LocalStore.create(root / str(number), token=lambda names=names: next(names)))  # type: ignore[misc]
        stores[-1].put_if_absent(blob.key(ref), part)
    return ref, stores, [store.root / blob.key(ref) for store in stores]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_reading_keeps_to_the_rate(tmp_path: Path) -> None:
    """Ten copies of eight megabytes at four megabytes a second take twenty seconds, however they are cut."""
    clock = Clock()
    rate = Rate(4 << 20, clock, clock.sleep)
    ref, (store,), _ = stored(tmp_path, 1)
    for _ in range(10):
        assert examine(store, ref, rate) is Copy.WHOLE
    assert clock.now == pytest.approx(10 * ref.size / (4 << 20))
    assert rate.spent == 10 * ref.size


def test_time_that_passes_anyway_counts_but_is_not_saved_up() -> None:
    """After a long pause no more than a second's worth is free at once."""
    clock = Clock()
    rate = Rate(100, clock, clock.sleep)
    clock.now = 1000.0
    rate.spend(100)
    assert clock.naps == []
    rate.spend(50)
    assert clock.naps == [0.5]


def test_a_rate_needs_a_clock() -> None:
    """And must be positive; no rate needs nothing."""
    Rate().spend(1 << 40)
    with pytest.raises(ValueError, match="clock"):
        Rate(1)
    with pytest.raises(ValueError, match="at least 1"):
        Rate(0, lambda: 0.0, lambda _: None)


def test_each_kind_of_damage_has_its_name(tmp_path: Path) -> None:
    """Missing, another size, another byte."""
    ref, (store,), (path,) = stored(tmp_path, 1)
    whole = path.read_bytes()
    flip(path, ref.size - 1)
    assert examine(store, ref, Rate()) is Copy.DAMAGED
    path.write_bytes(whole + b"x")
    assert examine(store, ref, Rate()) is Copy.DAMAGED
    path.unlink()
    assert examine(store, ref, Rate()) is Copy.MISSING
    path.mkdir()
    assert examine(store, ref, Rate()) in (Copy.UNREADABLE, Copy.DAMAGED)


def test_a_blob_is_assembled_from_copies_of_which_none_is_whole(tmp_path: Path) -> None:
    """One lost its end, one a byte in the first block and one its trailer: every block is good somewhere."""
    ref, stores, paths = stored(tmp_path, 3)
    with paths[0].open("r+b") as file:
        file.truncate(BLOCK + 5)
    flip(paths[1], 17)
    flip(paths[2], BLOCK + 17)
    flip(paths[2], ref.size - 1)
    out = tmp_path / "out"
    assemble(stores, ref, out, Rate())
    blob.check(out, ref)


def test_the_trailer_follows_from_whole_content(tmp_path: Path) -> None:
    """Also where no copy has it."""
    ref, stores, paths = stored(tmp_path, 2)
    for path in paths:
        flip(path, ref.size - 10)
    assemble(stores, ref, tmp_path / "out", Rate())
    blob.check(tmp_path / "out", ref)


def test_what_is_good_nowhere_is_said(tmp_path: Path) -> None:
    """The same block on every replica cannot be had."""
    ref, stores, paths = stored(tmp_path, 2)
    flip(paths[0], BLOCK + 1)
    flip(paths[1], BLOCK + 2)
    with pytest.raises(Corrupt, match="good on no replica"):
        assemble(stores, ref, tmp_path / "out", Rate())
