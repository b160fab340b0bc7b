"""Locks: held by one, gone with their holder."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from penstock.index.catalog.locks import FileLocks

HOLDER = """
import sys
from pathlib import Path
from penstock.index.catalog.locks import FileLocks
held = FileLocks(Path(sys.argv[1])).take(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_name_is_held_by_one_also_within_a_process(tmp_path: Path) -> None:
    """Others are free; releasing twice is harmless, and takes nothing from the next holder."""
    locks = FileLocks(tmp_path / "locks")
    held = locks.take("recover")
    assert held is not None and locks.take("recover", wait=False) is None
    assert FileLocks(tmp_path / "locks").take("recover", wait=False) is None
    other = locks.take("writer.1", wait=False)
    assert other is not None
    held.release()
    again = locks.take("recover", wait=False)
    assert again is not None
    held.release()
    assert locks.take("recover", wait=False) is None
    again.release()
    other.release()
    assert list((tmp_path / "locks").iterdir()) == [], "files go with their locks"


def test_any_text_is_a_name(tmp_path: Path) -> None:
    """Names of sources hold slashes, dots and anything else, and stay in the folder."""
    names = ["source.../../etc", "", ".", "ä" * 300, "a/b", "a_b", "x" * 500]
    locks = FileLocks(tmp_path / "locks")
    held = [locks.take(name, wait=False) for name in names]
    assert None not in held
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    assert len(list((tmp_path / "locks").iterdir())) == len(names)


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    """However it dies; whoever waits goes on."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "writer.x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    locks = FileLocks(tmp_path)
    assert locks.take("writer.x", wait=False) is None
    taken: list[object] = []
    waiter = threading.Thread(target=lambda: taken.append(locks.take("writer.x")))
    waiter.start()
    child.kill()
    child.wait()
    waiter.join(20)
    assert len(taken) == 1 and taken[0] is not None


def test_many_who_wait_hold_it_one_after_the_other(tmp_path: Path) -> None:
    """Also when each removes the file that the others wait for."""
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            held = FileLocks(tmp_path).take("busy")
            assert held is not None
            inside += 1
            most = max(most, inside)
            inside -= 1
            held.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
