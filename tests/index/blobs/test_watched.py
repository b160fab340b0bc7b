"""A replica that does not answer delays nobody, and what comes from afar is fetched once."""

from __future__ import annotations

import itertools
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob, bytesource, watched
from penstock.index.blobs.blob import key, open_blob, seal
from penstock.index.blobs.blockcache import BlockCache, RecentBlocks
from penstock.index.blobs.watched import Watched
from penstock.index.errors import Corrupt, Unavailable
from penstock.index.stores.store import LocalStore
from tests.fakes.unwell import Unwell


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self):
        return self.now


def make(tmp_path, count, content):
    """`count` stores with one blob, each to be made ill; and the blob."""
    numbers = itertools.count()
    stores = [LocalStore.create(tmp_path / f"r{n}", token=lambda: f"t{next(numbers)}") for n in range(count)]
    path = tmp_path / "part"
    path.write_bytes(content)
    ref = seal(path, "txn")
    for store in stores:
        store.put_if_absent(key(ref), path)
    return [Unwell(store) for store in stores], ref


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes, pages of 16, and nothing held whole."""
    for module in (blob, bytesource):
        monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(blob, "PAGE", 16)
    monkeypatch.setattr(blob, "_HELD", 0)


def refuse(line):
    raise AssertionError(line)


def watch(store, clock=time.monotonic, **more):
    return Watched(store, clock=clock, patience=more.pop("patience", 0.4), **more)


CONTENT = bytes(n % 251 for n in range(1000))


def test_a_blob_is_read_from_a_store_without_files(tmp_path, small_blocks):
    """Trailer first, then blocks as they are wanted; what was fetched is not fetched again."""
    (store,), ref = make(tmp_path, 1, CONTENT)
    one = watch(store, recent=RecentBlocks(10_000))
    found = open_blob([one], ref, report=refuse)
    assert store.asked == 1
    assert found.path is None
    assert found.read(100, 300) == CONTENT[100:300]
    assert store.asked == 1 + 4
    for start, end in [(100, 300), (64, 320), (0, 0), (299, 301), (150, 151)]:
        assert found.read(start, end) == CONTENT[start:end]
    assert store.asked == 1 + 4
    assert found.read(0, 1000) == CONTENT
    found.check_all()


def test_a_small_blob_is_one_request(tmp_path):
    """Content and trailer come together, and are held."""
    (store,), ref = make(tmp_path, 1, CONTENT)
    found = open_blob([watch(store)], ref, report=refuse)
    store.illness = "failing"
    assert found.read(0, 1000) == CONTENT
    assert store.asked == 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_cache_never_serves_what_is_damaged(tmp_path_factory, data):
    """Whatever is done to the files of the cache, the bytes are right, and what was damaged is replaced."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (blob, bytesource):
            patch.setattr(module, "BLOCK", 64)
        patch.setattr(blob, "_HELD", data.draw(st.sampled_from([0, 1 << 20])))
        tmp_path = tmp_path_factory.mktemp("cache")
        (store,), ref = make(tmp_path, 1, CONTENT[:300])
        cache = BlockCache(tmp_path / "cache")
        assert open_blob([watch(store, cache=cache)], ref, report=refuse).read(0, 300) == CONTENT[:300]
        files = sorted((path for path in (tmp_path / "cache").rglob("*") if path.is_file()), key=lambda path: path.name)
        for chosen in sorted(data.draw(st.sets(st.integers(0, len(files) - 1)))):
            path = files[chosen]
            whole = path.read_bytes()
            cut = data.draw(st.integers(0, len(whole)))
            other = bytearray(whole[:cut] if data.draw(st.booleans()) else whole)
            if other:
                other[data.draw(st.integers(0, len(other) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(other)
        assert open_blob([watch(store, cache=cache)], ref, report=refuse).read(0, 300) == CONTENT[:300]
        store.asked = 0
        assert open_blob([watch(store, cache=cache)], ref, report=refuse).read(0, 300) == CONTENT[:300]
        assert store.asked == 0


def test_what_is_cached_is_served_when_the_store_is_gone(tmp_path, small_blocks):
    """A cache that has everything needs nobody; without it the error says what is wrong."""
    (store,), ref = make(tmp_path, 1, CONTENT)
    cache = BlockCache(tmp_path / "cache")
    open_blob([watch(store, cache=cache)], ref, report=refuse).check_all()
    store.illness = "failing"
    assert open_blob([watch(store, cache=cache)], ref, report=refuse).read(0, 1000) == CONTENT
    with pytest.raises(Unavailable, match="no store"):
        open_blob([watch(store)], ref, report=lambda _: None)


@pytest.mark.parametrize("illness", ["hung", "failing", "missing", "flipped", "cut"])
@pytest.mark.parametrize("late", [False, True])
def test_an_ill_store_is_passed_over_within_its_deadline(tmp_path, small_blocks, illness, late):
    """Before or after opening: the right bytes, one line, and no more time than one deadline."""
    stores, ref = make(tmp_path, 2, CONTENT)
    lines = []
    watching = [watch(store) for store in stores]
    stores[0].illness = "" if late else illness
    began = time.monotonic()
    found = open_blob(watching, ref, report=lines.append)
    stores[0].illness = illness
    assert found.read(0, 1000) == CONTENT
    assert time.monotonic() - began < 3
    assert len(lines) == 1
    assert lines[0].startswith(stores[0].name)
    stores[0].cured.set()


def test_a_store_that_was_late_is_asked_last_for_a_while(tmp_path, small_blocks):
    """For half a minute other blobs do not wait for it; then it is first again."""
    stores, ref = make(tmp_path, 2, CONTENT)
    clock = Clock()
    watching = [watch(store, clock) for store in stores]
    stores[0].illness = "hung"
    open_blob(watching, ref, report=lambda _: None)
    stores[0].cured.set()
    stores[0].illness = ""
    while watching[0].stuck:
        time.sleep(0.01)
    stores[0].asked = 0
    for _ in range(5):
        assert open_blob(watching, ref, report=refuse).read(0, 1000) == CONTENT
    assert stores[0].asked == 0
    clock.now += watched.SUSPECT_FOR
    assert open_blob(watching, ref, report=refuse).read(0, 1000) == CONTENT
    assert stores[0].asked > 0


def test_blobs_that_are_open_on_a_hung_store_wait_for_it_once_together(tmp_path, small_blocks):
    """The first read that is late warns the others: they go to another store at once."""
    stores, ref = make(tmp_path, 2, CONTENT)
    watching = [watch(store, patience=0.3) for store in stores]
    opened = [open_blob(watching, ref, report=lambda _: None) for _ in range(20)]
    stores[0].illness, stores[0].asked = "hung", 0
    began = time.monotonic()
    assert {found.read(0, 1000) for found in opened} == {CONTENT}
    assert time.monotonic() - began < 4
    assert stores[0].asked == 1
    stores[0].cured.set()


def test_a_slow_store_is_asked_after_the_others(tmp_path, small_blocks):
    """It answers within the deadline, so its answer is used; from then on others come first."""
    stores, ref = make(tmp_path, 2, CONTENT)
    watching = [watch(store, patience=5) for store in stores]
    stores[0].illness = "slow"
    open_blob(watching, ref, report=refuse)
    assert [one.suspicion for one in watching] == [1, 0]
    stores[0].asked = 0
    assert open_blob(watching, ref, report=refuse).read(0, 1000) == CONTENT
    assert stores[0].asked == 0


def test_blobs_that_are_open_on_a_store_that_became_slow_leave_it(tmp_path, small_blocks):
    """One slow read is enough: the others do not add up. Nothing is wrong, and nothing is said."""
    stores, ref = make(tmp_path, 2, CONTENT)
    watching = [watch(store, patience=5) for store in stores]
    opened = [open_blob(watching, ref, report=refuse) for _ in range(10)]
    stores[0].illness, stores[0].asked = "slow", 0
    assert {found.read(0, 1000) for found in opened} == {CONTENT}
    assert stores[0].asked == 1


def hasty(stores):
    return [watch(store, patience=0.1) for store in stores]


def test_where_there_is_no_other_a_slow_store_is_waited_for(tmp_path, small_blocks):
    """Alone, or with others that have no good copy: late is not failed."""
    stores, ref = make(tmp_path, 2, CONTENT[:100])
    for store in stores:
        store.illness = "slow"
    assert open_blob([watch(stores[0])], ref, report=refuse).read(0, 100) == CONTENT[:100]
    lines = []
    assert open_blob(hasty(stores), ref, report=lines.append).read(0, 100) == CONTENT[:100]
    assert len(lines) == 2
    stores[1].illness = "flipped"
    assert open_blob(hasty(stores), ref, report=lines.append).read(0, 100) == CONTENT[:100]


def test_a_store_that_hangs_takes_only_a_few_threads(tmp_path, small_blocks):
    """However often it is asked, most calls are refused at once; it is asked again when it is back."""
    (store,), ref = make(tmp_path, 1, CONTENT)
    one = watch(store, patience=0.01)
    store.illness = "hung"
    for _ in range(30):
        with pytest.raises(Unavailable):
            one.get(key(ref))
    assert store.asked <= one.stuck <= 4  # a thread that was just begun has not asked yet
    store.cured.set()
    while one.stuck:
        time.sleep(0.01)
    assert one.get(key(ref))


def test_a_file_that_changes_while_it_is_open_is_noticed(tmp_path, small_blocks):
    """Verified once is not verified for ever: each byte that is read again is compared again."""
    stores, ref = make(tmp_path, 2, CONTENT)
    local = [watch(store.store) for store in stores]
    path = stores[0].store.local_path(key(ref))
    good = path.read_bytes()
    for spoil in ("flip", "cut"):
        lines = []
        found = open_blob(local, ref, report=lines.append)
        assert found.read(0, 1000) == CONTENT
        if spoil == "flip":
            with path.open("r+b") as file:
                file.seek(500)
                file.write(bytes([good[500] ^ 1]))
        else:
            os.truncate(path, 500)
        assert found.read(0, 64) == CONTENT[:64]
        assert lines == []
        assert found.read(499, 502) == CONTENT[499:502]
        assert len(lines) == 1
        with pytest.raises((Corrupt, Unavailable)):
            open_blob(local[:1], ref, report=lines.append).check_all()
        path.write_bytes(good)


def test_what_is_in_the_page_cache_needs_no_thread(tmp_path, small_blocks, monkeypatch):
    """A verified part of a local file is read again on the caller's own thread."""
    (store,), ref = make(tmp_path, 1, CONTENT)
    found = open_blob([watch(store.store)], ref, report=refuse)
    found.read(0, 1000)
    monkeypatch.setattr(watched, "call", None)
    assert found.read(10, 990) == CONTENT[10:990]
