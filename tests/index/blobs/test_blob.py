"""Blobs are named by their bytes, checked block by block, and read from whichever copy is good."""

from __future__ import annotations

import gc
import itertools
import os
import shutil

import msgspec
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob, bytesource
from penstock.index.blobs.blob import check, key, open_blob, seal, trailer_size
from penstock.index.errors import Corrupt, Unavailable
from penstock.index.stores.store import LocalStore


def make_stores(tmp_path, count=2):
    numbers = itertools.count()
    return [LocalStore.create(tmp_path / f"r{n}", token=lambda: f"t{next(numbers)}") for n in range(count)]


def put(stores, tmp_path, content, txn="txn1"):
    path = tmp_path / "part"
    path.write_bytes(content)
    ref = seal(path, txn)
    for store in stores:
        store.put_if_absent(key(ref), path)
    return ref


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes and nothing held in memory, so that small contents have many blocks."""
    monkeypatch.setattr(blob, "BLOCK", 64)
    monkeypatch.setattr(blob, "_HELD", 0)


def refuse(line):
    raise AssertionError(line)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1000])
def test_content_comes_back(tmp_path, small_blocks, size):
    """Any range of any content is read as it was written, whatever the blocks."""
    content = os.urandom(size)
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, content)
    found = open_blob(stores, ref, report=refuse)
    assert found.size == size
    assert found.read(0, size) == content
    assert found.read(size // 3, size // 2) == content[size // 3 : size // 2]
    found.check_all()
    check(found.path, ref)
    check(found.path.read_bytes(), ref)


def test_the_trailer_is_what_the_format_says(tmp_path):
    """XXH3-64 of each 4 MiB block, content size, block size, magic; the name is sha256 and transaction."""
    content = os.urandom((4 << 20) + 5)
    ref = put([], tmp_path, content, "t-9")
    data = (tmp_path / "part").read_bytes()
    blocks = [content[: 4 << 20], content[4 << 20 :]]
    trailer = b"".join(xxhash.xxh3_64_intdigest(block).to_bytes(8, "little") for block in blocks)
    trailer += len(content).to_bytes(8, "little") + (4 << 20).to_bytes(4, "little") + b"PSB1"
    assert data == content + trailer
    assert ref.size == len(data)
    assert ref.sums == xxhash.xxh3_128_hexdigest(trailer)
    assert key(ref) == f"blobs/{ref.name[:2]}/{ref.name}"
    assert ref.name.endswith(".t-9")


def test_a_range_outside_the_content_is_refused(tmp_path):
    """The trailer is not content, and nothing is cut silently."""
    found = open_blob(stores := make_stores(tmp_path), put(stores, tmp_path, b"12345"), report=refuse)
    for start, end in [(0, 6), (-1, 2), (3, 2)]:
        with pytest.raises(ValueError, match="content"):
            found.read(start, end)


@given(size=st.integers(0, 100_000))
def test_trailer_sizes_agree_with_what_seal_writes(size):
    """The trailer's size follows from the whole size, and sizes that no blob has are refused."""
    blocks = -(-size // blob.BLOCK)
    assert trailer_size(size + blocks * 8 + 16) == blocks * 8 + 16
    with pytest.raises(Corrupt):
        trailer_size(size % 16)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), size=st.integers(1, 300))
def test_any_flipped_bit_is_found_by_every_check(tmp_path_factory, small_blocks, data, size):
    """Wherever a bit flips, the full check raises, and a reader raises or takes the good copy."""
    tmp_path = tmp_path_factory.mktemp("flip")
    content = bytes(n % 251 for n in range(size))
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, content)
    at, bit = data.draw(st.integers(0, ref.size - 1)), data.draw(st.integers(0, 7))
    path = stores[0].local_path(key(ref))
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(Corrupt):
        check(path, ref)
    with pytest.raises(Corrupt):
        open_blob(stores[:1], ref, report=lambda _: None).check_all()
    lines = []
    assert open_blob(stores, ref, report=lines.append).read(0, size) == content
    assert len(lines) == 1 and "r0" in lines[0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), late=st.booleans())
def test_a_file_cut_short_is_never_more_than_an_error(tmp_path_factory, small_blocks, cut, late):
    """Cut before or after it was opened: the reader goes to the other copy and says so once."""
    tmp_path = tmp_path_factory.mktemp("cut")
    content = os.urandom(350)
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, content)
    lines = []
    opened = open_blob(stores, ref, report=lines.append) if late else None
    os.truncate(stores[0].local_path(key(ref)), min(cut, ref.size - 1))
    opened = opened or open_blob(stores, ref, report=lines.append)
    assert opened.read(0, 350) == content
    assert len(lines) == (0 if late and cut >= 350 else 1)


def test_damage_after_the_first_read_moves_on_to_the_next_copy(tmp_path, small_blocks):
    """A block that goes bad while the blob is open is read from the other store."""
    content = os.urandom(640)
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, content)
    lines = []
    found = open_blob(stores, ref, report=lines.append)
    assert found.read(0, 64) == content[:64]
    path = stores[0].local_path(key(ref))
    path.write_bytes(path.read_bytes()[:64] + bytes(len(path.read_bytes()) - 64))
    assert found.read(0, 640) == content
    assert found.path == stores[1].local_path(key(ref))
    assert len(lines) == 1


def test_a_blob_without_any_copy_says_what_is_wrong(tmp_path):
    """Damaged everywhere is Corrupt, missing everywhere is Unavailable; each copy gives one line."""
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, b"content")
    paths = [store.local_path(key(ref)) for store in stores]
    lines = []
    paths[0].unlink()
    paths[1].write_bytes(b"x" * ref.size)
    with pytest.raises(Corrupt, match="no store"):
        open_blob(stores, ref, report=lines.append)
    paths[1].unlink()
    with pytest.raises(Unavailable, match="no store"):
        open_blob(stores, ref, report=lines.append)
    shutil.rmtree(tmp_path / "r0")
    with pytest.raises(Unavailable, match="no store"):
        open_blob(stores, ref, report=lines.append)
    assert len(lines) == 6


@pytest.mark.parametrize("name", ["../../etc/passwd", "x", "A" * 64 + ".t", "a" * 64, "a" * 64 + "./../x"])
def test_a_name_that_no_writer_gave_is_refused(tmp_path, name):
    """A hostile manifest cannot make a reader leave its stores."""
    ref = msgspec.structs.replace(put([], tmp_path, b"x"), name=name)
    with pytest.raises(Corrupt):
        key(ref)


def test_an_open_blob_outlives_its_file(tmp_path, small_blocks):
    """A file that is deleted under a reader can still be read: the descriptor is kept."""
    content = os.urandom(300)
    stores = make_stores(tmp_path, 1)
    found = open_blob(stores, put(stores, tmp_path, content), report=refuse)
    shutil.rmtree(tmp_path / "r0")
    assert found.read(0, 300) == content


def test_a_copy_that_was_repaired_is_read_again(tmp_path, small_blocks):
    """After every copy failed, a later read starts over and finds the one that came back."""
    content = os.urandom(300)
    stores = make_stores(tmp_path, 1)
    ref = put(stores, tmp_path, content)
    found = open_blob(stores, ref, report=lambda _: None)
    path = stores[0].local_path(key(ref))
    good = path.read_bytes()
    path.write_bytes(bytes(ref.size))
    for _ in range(2):
        with pytest.raises(Corrupt):
            found.read(0, 300)
    path.write_bytes(good)
    assert found.read(0, 300) == content


def test_a_file_that_grew_is_damaged(tmp_path):
    """Bytes after the trailer are nobody's: such a copy is passed over."""
    stores = make_stores(tmp_path)
    ref = put(stores, tmp_path, b"content")
    with stores[0].local_path(key(ref)).open("ab") as file:
        file.write(b"x")
    lines = []
    assert open_blob(stores, ref, report=lines.append).path == stores[1].local_path(key(ref))
    assert len(lines) == 1


def test_descriptors_are_bounded(tmp_path, small_blocks, monkeypatch):
    """Beyond the limit a file is opened for each read: many segments do not exhaust the process."""
    stores = make_stores(tmp_path, 1)
    content = os.urandom(300)
    ref = put(stores, tmp_path, content)
    gc.collect()
    monkeypatch.setattr(bytesource, "MOST", len(bytesource.FileSource._kept) + 1)
    before = len(os.listdir("/proc/self/fd"))
    opened = [open_blob(stores, ref, report=refuse) for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert {one.read(0, 300) for one in opened} == {content}
    for one in opened:
        one.close()
    assert len(os.listdir("/proc/self/fd")) == before
