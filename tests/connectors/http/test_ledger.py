"""The file that keeps a budget: changed by one at a time, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.connectors.http.ledger import TORN, FileLedger

COUNT = """
import sys
from pathlib import Path
from penstock.connectors.http.ledger import FileLedger
ledger = FileLedger(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
while True:
    print(ledger.change("x", lambda value: (str(int(value or b"0") + 1).encode(),) * 2).decode(), flush=True)
"""


def plus_one(value: bytes) -> tuple[bytes, int]:
    number = int(value or b"0") + 1
    return b"%d" % number, number


def test_values_are_kept_by_name(tmp_path: Path) -> None:
    """Any text is a name, and stays in the folder, which is made when it is needed."""
    ledger = FileLedger(tmp_path / "a" / "budgets")
    names = ["wiki", "../../etc/passwd", "", ".", "ä" * 300, "a/b", "a_b"]
    assert [ledger.change(name, lambda value, name=name: (name.encode(), value)) for name in names] == [b""] * len(
        names
    )
    assert [ledger.change(name, lambda value: (value, value.decode())) for name in names] == names
    assert len(list((tmp_path / "a" / "budgets").iterdir())) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_shorter_value_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    """Also one larger than what is read at once."""
    ledger = FileLedger(tmp_path)
    for value in (b"x" * 50_000, b"", b"y" * 10, b"z" * 17_000):
        ledger.change("n", lambda _, value=value: (value, None))
        assert ledger.change("n", lambda found: (found, found)) == value


def test_nothing_changes_when_the_act_raises(tmp_path: Path) -> None:
    """And the next one is not kept waiting."""
    ledger = FileLedger(tmp_path)
    ledger.change("n", plus_one)
    with pytest.raises(ZeroDivisionError):
        ledger.change("n", lambda value: (value, 1 // 0))
    assert ledger.change("n", plus_one) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "garbage", "zeros"])
def test_a_damaged_file_is_said_to_be_torn(tmp_path: Path, damage: str) -> None:
    """It is neither taken for a value nor for a beginning, and can be written again."""
    ledger = FileLedger(tmp_path)
    ledger.change("n", lambda _: (b'{"last":5}', None))
    path = ledger.path("n")
    data = path.read_bytes()
    made = {"cut": data[:-2], "flip": data.replace(b"5", b"6"), "garbage": b"\xff\x00hello", "zeros": bytes(len(data))}
    path.write_bytes(made[damage])
    assert ledger.change("n", lambda value: (b"again", value)) == TORN
    assert ledger.change("n", lambda value: (value, value)) == b"again"


def test_threads_change_it_one_at_a_time(tmp_path: Path) -> None:
    """No change is lost."""
    ledger = FileLedger(tmp_path)
    work = [threading.Thread(target=lambda: [ledger.change("n", plus_one) for _ in range(200)]) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert ledger.change("n", plus_one) == 801


def test_killed_processes_lose_nothing_and_hold_up_nobody(tmp_path: Path) -> None:
    """Three processes count and are killed in the middle: what each was told is there."""
    children = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    said = []
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None and child.stdout is not None
        os.write(child.stdin.fileno(), b"go\n")
    for child in children:
        assert child.stdout is not None
        said += [int(child.stdout.readline()) for _ in range(100)]
        child.kill()
        said += [
            int(line)
            for line in child.communicate()[0].splitlines(keepends=True)
            if line.strip() and line.endswith(b"\n")
        ]
    assert len(said) == len(set(said)), "two were given the same number"
    assert FileLedger(tmp_path).change("x", plus_one) > max(said)
