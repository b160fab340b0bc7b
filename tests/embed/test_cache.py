"""The cache of vectors: what was paid for is found again, and never something else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed.cache import NoCache, VectorCache, key_of

DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = 100 * DAY

    def __call__(self) -> float:
        return self.now


def vector(number: int, dim: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(number).standard_normal(dim).astype(np.float32)


def cache(
    path: Path,
    limit: int = 1 << 30,
    clock: Clock | None = None,
    said: list[str] | None = None,
    patience: float = 30.0,
) -> VectorCache:
    lines = said if said is not None else []
    file = path / "cache" / "vectors.db"
    return VectorCache(file, limit, clock=clock or Clock(), note=lines.append, patience=patience)


def keys(count: int) -> list[bytes]:
    return [key_of({"weights": "w"})(f"text {number}") for number in range(count)]


def test_what_was_put_is_found_again_by_another_run(tmp_path: Path) -> None:
    """Bit for bit; what was not put is not there; more keys than one query takes are no matter."""
    names = keys(1_200)
    one = cache(tmp_path)
    one.put({key: vector(number) for number, key in enumerate(names[:1_100])})
    one.close()
    found = cache(tmp_path).get(names, 8)
    assert set(found) == set(names[:1_100])
    assert all(np.array_equal(found[key], vector(number)) for number, key in enumerate(names[:1_100]))


def test_a_key_is_of_one_text_under_one_identity() -> None:
    """Another model, or another text, is another key; the order in which the identity is written is not."""
    one = key_of({"weights": "a", "pooling": "mean"})
    assert one("x") == key_of({"pooling": "mean", "weights": "a"})("x")
    assert len({one("x"), one("y"), key_of({"weights": "b", "pooling": "mean"})("x")}) == 3


def test_a_vector_of_another_width_is_a_miss(tmp_path: Path) -> None:
    """It cannot be of this model."""
    kept = cache(tmp_path)
    [key] = keys(1)
    kept.put({key: vector(1, 8)})
    assert kept.get([key], 16) == {}


def test_a_damaged_vector_is_a_miss(tmp_path: Path) -> None:
    """Wherever a bit flipped in it: it would be served without anybody noticing."""
    kept = cache(tmp_path)
    names = keys(2)
    kept.put({names[0]: vector(0), names[1]: vector(1)})
    kept.close()
    path = tmp_path / "cache" / "vectors.db"
    data = path.read_bytes()
    at = data.index(vector(0).tobytes())
    path.write_bytes(data[: at + 5] + bytes([data[at + 5] ^ 4]) + data[at + 6 :])
    assert set(cache(tmp_path).get(names, 8)) == {names[1]}


@pytest.mark.parametrize("content", [b"no database at all" * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_cache_costs_nothing_but_the_cache(tmp_path: Path, content: bytes) -> None:
    """It is removed and said; the next run has a new one."""
    path = tmp_path / "cache" / "vectors.db"
    path.parent.mkdir()
    path.write_bytes(content)
    said: list[str] = []
    [key] = keys(1)
    broken = cache(tmp_path, said=said)
    broken.put({key: vector(1)})
    assert broken.get([key], 8) == {}
    assert len(said) == 1 and "embedded again" in said[0]
    again = cache(tmp_path)
    again.put({key: vector(1)})
    assert key in again.get([key], 8)


def test_a_place_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
    """The run goes on without, and says so once."""
    (tmp_path / "cache").write_text("a file")
    said: list[str] = []
    kept = cache(tmp_path, said=said)
    [key] = keys(1)
    kept.put({key: vector(1)})
    assert kept.get([key], 8) == {} and len(said) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    """The file's content stays within the limit."""
    clock = Clock()
    kept = cache(tmp_path, limit=500_000, clock=clock)
    names = keys(900)
    for start in range(0, 900, 100):
        kept.get(names[:100], 256)  # these are used each day
        kept.put({key: vector(start + number, 256) for number, key in enumerate(names[start : start + 100])})
        clock.now += DAY
    found = kept.get(names, 256)
    assert set(names[:100]) <= set(found) and set(names[800:]) <= set(found)
    assert not set(names[100:300]) & set(found)
    assert len(found) * 1024 < 500_000


def test_processes_may_use_one_cache_at_the_same_time(tmp_path: Path) -> None:
    """Nothing of any of them is lost."""
    code = (
        "import sys; from pathlib import Path; from tests.embed.test_cache import cache, keys, vector\n"
        "kept = cache(Path(sys.argv[1])); mine = int(sys.argv[2])\n"
        "for n, key in enumerate(keys(200)):\n"
        "    if n % 3 == mine: kept.put({key: vector(n)})"
    )
    root = Path(__file__).parents[2]
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(mine)], cwd=root) for mine in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(cache(tmp_path).get(keys(200), 8)) == 200


def test_runs_that_begin_at_the_same_moment_on_a_new_cache_lose_nothing(tmp_path: Path) -> None:
    """SQLite answers "locked" at once, and waits for nobody, while a file becomes one for several writers."""

    def begin(number: int, place: Path, all_there: threading.Barrier) -> None:
        kept = cache(place)
        all_there.wait()
        kept.put({key: vector(number) for key in keys(40)[number * 5 : number * 5 + 5]})
        kept.close()

    for attempt in range(60):
        place, all_there = tmp_path / str(attempt), threading.Barrier(8)
        runs = [threading.Thread(target=begin, args=(number, place, all_there)) for number in range(8)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert len(cache(place).get(keys(40), 8)) == 40


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """A process that has the functions above at hand."""
    head = "import sys\nfrom pathlib import Path\nfrom tests.embed.test_cache import cache, keys, vector\n"
    command = [sys.executable, "-c", head + code, *words]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def test_processes_that_write_and_evict_at_the_same_time_keep_it_sound(tmp_path: Path) -> None:
    """None is told anything, the limit holds, and whatever is found is what was put."""
    code = (
        "said = []; kept = cache(Path(sys.argv[1]), limit=400_000, said=said); names = keys(900)\n"
        "for start in range(int(sys.argv[2]), 900, 30):\n"
        "    kept.put({names[n]: vector(n, 256) for n in range(start, min(900, start + 15))})\n"
        "    found = kept.get(names, 256)\n"
        "    assert all((found[names[n]] == vector(n, 256)).all() for n in range(900) if names[n] in found)\n"
        "print(said)"
    )
    running = [python(code, str(tmp_path), str(start)) for start in (0, 15)]
    assert [(process.communicate()[0], process.returncode) for process in running] == [("[]\n", 0)] * 2
    found = cache(tmp_path).get(keys(900), 256)
    assert len(found) > 100 and len(found) * 1024 < 400_000


def test_a_file_that_is_torn_while_it_is_used_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    """What is still given is right; the run goes on, and the next one has a cache again."""
    said: list[str] = []
    kept, names = cache(tmp_path, said=said), keys(400)
    kept.put({key: vector(number, 256) for number, key in enumerate(names)})
    kept.close()
    kept = cache(tmp_path, said=said)
    kept.get(names[:1], 256)
    path = tmp_path / "cache" / "vectors.db"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    found = kept.get(names, 256)
    assert all(np.array_equal(found[names[n]], vector(n, 256)) for n in range(400) if names[n] in found)
    kept.put({names[0]: vector(0, 256)})
    kept.close()
    assert len(said) <= 1
    again = cache(tmp_path)
    again.put({names[1]: vector(1, 256)})
    assert np.array_equal(cache(tmp_path).get([names[1]], 256)[names[1]], vector(1, 256))


def test_where_no_more_can_be_written_what_is_there_stays(tmp_path: Path) -> None:
    """A full disk is said once; the run goes on without, and another finds what was put before."""
    names = keys(600)
    before = cache(tmp_path)
    before.put({key: vector(number, 256) for number, key in enumerate(names[:100])})
    before.close()
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "said = []; kept = cache(Path(sys.argv[1]), said=said); names = keys(600)\n"
        "for n in range(100, 600, 50): kept.put({names[k]: vector(k, 256) for k in range(n, n + 50)})\n"
        "print(len(said)); kept.get(names, 256); kept.close()"
    )
    process = python(code, str(tmp_path))
    assert (process.communicate()[0], process.returncode) == ("1\n", 0)
    found = cache(tmp_path).get(names, 256)
    assert set(names[:100]) <= set(found)
    assert all(np.array_equal(found[names[n]], vector(n, 256)) for n in range(600) if names[n] in found)


def test_whoever_holds_it_for_long_costs_one_batch(tmp_path: Path) -> None:
    """Then it is used again; only a run that waits again and again goes on without, and says so."""
    said: list[str] = []
    kept, names = cache(tmp_path, said=said, patience=0.01), keys(6)
    kept.put({names[0]: vector(0)})
    holder = sqlite3.connect(tmp_path / "cache" / "vectors.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    kept.put({names[1]: vector(1)})
    holder.execute("COMMIT")
    kept.put({names[2]: vector(2)})
    assert set(kept.get(names, 8)) == {names[0], names[2]} and said == []
    holder.execute("BEGIN IMMEDIATE")
    for number in (3, 4, 5):
        kept.put({names[number]: vector(number)})
    holder.execute("COMMIT")
    assert kept.get(names, 8) == {} and len(said) == 1 and "locked" in said[0]


def test_no_cache_keeps_nothing() -> None:
    """Where somebody wants none."""
    none = NoCache()
    [key] = keys(1)
    none.put({key: vector(1)})
    assert none.get([key], 8) == {}
