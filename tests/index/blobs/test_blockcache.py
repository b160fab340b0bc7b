"""The cache holds at most what it may, shares with other processes, and is never needed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from penstock.index.blobs.blockcache import BlockCache, RecentBlocks


def key(n):
    return f"blobs/{n:02x}/{n:064x}.t"


def held(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_block_comes_back_until_it_is_dropped(tmp_path):
    """What was put is got, by blob and range; what was dropped or never put is None."""
    cache = BlockCache(tmp_path / "c")
    assert cache.get(key(1), 0, 5) is None
    cache.put(key(1), 0, 5, b"12345")
    assert cache.get(key(1), 0, 5) == b"12345"
    assert BlockCache(tmp_path / "c").get(key(1), 0, 5) == b"12345"
    assert cache.get(key(1), 0, 4) is None
    assert cache.get(key(2), 0, 5) is None
    assert cache.drop(key(1), 0, 5) is True
    assert cache.drop(key(1), 0, 5) is False
    assert cache.get(key(1), 0, 5) is None


def test_the_limit_holds_and_what_was_used_last_stays(tmp_path):
    """Putting far more than fits keeps the folder within its limit; a block that is used again and again survives."""
    cache = BlockCache(tmp_path, 100_000)
    for n in range(200):
        cache.put(key(n % 250), n, n + 1, os.urandom(3000))
        os.utime(cache._path(key(n % 250), n, n + 1), (n + 1, n + 1))
        assert cache.get(key(0), 0, 1) is not None
        assert held(tmp_path) <= 100_000 + 3000
    assert cache.get(key(199), 199, 200) is not None
    assert cache.get(key(1), 1, 2) is None


def test_a_limit_that_was_lowered_is_kept(tmp_path):
    """A cache that was filled under a higher limit shrinks at the next put."""
    big = BlockCache(tmp_path, 1 << 20)
    for n in range(20):
        big.put(key(n), 0, 1, bytes(10_000))
    small = BlockCache(tmp_path, 50_000)
    small.put(key(99), 0, 1, bytes(1000))
    assert held(tmp_path) <= 50_000
    small.put(key(98), 0, 1, bytes(60_000))
    assert small.get(key(98), 0, 1) is None


@pytest.mark.parametrize("place", ["file", "gone"])
def test_where_nothing_can_be_kept_nothing_happens(tmp_path, place):
    """A file in the cache's place, a folder that vanishes: no error, and no block."""
    if place == "file":
        (tmp_path / "c").write_text("x")
    cache = BlockCache(tmp_path / "c")
    cache.put(key(1), 0, 5, b"12345")
    if place == "gone":
        shutil.rmtree(tmp_path / "c")
    assert cache.get(key(1), 0, 5) is None
    assert cache.drop(key(1), 0, 5) is False


def test_what_killed_processes_left_is_swept(tmp_path):
    """An old temporary file goes at the next look; one that is being written stays."""
    cache = BlockCache(tmp_path)
    (tmp_path / "tmp").mkdir()
    for name, age in (("old", 7200), ("new", 0)):
        (tmp_path / "tmp" / name).write_bytes(b"half")
        os.utime(tmp_path / "tmp" / name, (time.time() - age,) * 2)
    cache.put(key(1), 0, 5, b"12345")
    assert os.listdir(tmp_path / "tmp") == ["new"]


FILL = """
import os, sys
from pathlib import Path
from penstock.index.blobs.blockcache import BlockCache
cache, n = BlockCache(Path(sys.argv[1]), 400_000), int(sys.argv[2])
print("on", flush=True)
while True:
    n += 1
    k = f"blobs/aa/{n % 40:064x}.t"
    cache.put(k, 0, 20_000, bytes([n % 40]) * 20_000)
    data = cache.get(k, 0, 20_000)
    assert data is None or data == bytes([n % 40]) * 20_000
"""


def test_processes_that_are_killed_leave_no_half_block(tmp_path):
    """Three processes fill one small cache and are killed: each block is whole, and the limit holds about."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), str(n * 13)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for n in range(3)
    ]
    for process in running:
        assert process.stdout.readline() == b"on\n"
    time.sleep(0.5)
    for process in running:
        process.send_signal(signal.SIGKILL)
        assert process.communicate()[1] == b""
    found = [path for path in tmp_path.glob("aa/*") if path.is_file()] + list(tmp_path.glob("00/*"))
    assert found
    for path in found:
        assert path.read_bytes() == bytes([int(path.name[:64], 16)]) * 20_000
    assert held(tmp_path) <= 400_000 + 3 * (400_000 // 16 + 20_000) + 3 * 20_000


def test_memory_keeps_the_last_blocks_within_its_limit():
    """Blocks beyond the limit push out those that were not used for longest."""
    recent, rng = RecentBlocks(100), random.Random(1)
    for n in range(500):
        recent.put(("s", n % 30, 0), bytes(rng.randrange(1, 20)))
        assert sum(map(len, recent._blocks.values())) == recent._size <= 100
        assert recent.get(("s", n % 30, 0)) is not None
    assert recent.drop(("s", 499 % 30, 0)) is True
    assert recent.get(("s", 499 % 30, 0)) is None
