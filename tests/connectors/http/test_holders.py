"""Whether who holds a place still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from penstock.connectors.http.holders import Holders

NAME = "from penstock.connectors.http.holders import Holders; print(Holders(str).me(), flush=True); input()"


def test_a_process_is_known_to_be_dead_as_soon_as_it_is() -> None:
    """Also before its parent took note of it."""
    holders = Holders(str)
    child = subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdin is not None
    name = child.stdout.readline().strip()
    assert name != holders.me() and name.split("/")[1] == str(child.pid)
    assert holders.alive(name) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert holders.alive(name) is False, "a zombie holds nothing"
    child.communicate()
    assert holders.alive(name) is False


def test_a_number_that_was_given_to_another_process_is_not_the_same_holder() -> None:
    """Processes are told apart by when they were started."""
    holders = Holders(str)
    host, pid, started = holders.me().split("/")
    assert holders.alive(f"{host}/{os.getppid()}/1") is False
    assert holders.alive(f"{host}/{pid}/{started}") is True


def test_nothing_is_known_of_other_machines_or_of_nonsense() -> None:
    """None is not dead: such a place is kept until its lease is over."""
    holders = Holders(str)
    host = holders.host
    assert [holders.alive(name) for name in ("", "x", "0123/1/5", f"{host}/x/5", f"{host}/1/", f"{host}/²/5")] == [
        None
    ] * 6


def test_without_proc_each_process_is_a_machine_of_its_own(tmp_path: Path) -> None:
    """Nobody is taken for dead."""
    one, two = Holders(lambda: "a", proc=tmp_path), Holders(lambda: "b", proc=tmp_path)
    assert one.me() != two.me() and one.alive(two.me()) is None and one.alive(one.me()) is True


def test_a_fork_is_another_holder() -> None:
    """The name is that of the process that asks."""
    pids = [os.getpid()]
    holders = Holders(str, pid=lambda: pids[0])
    before = holders.me()
    pids[0] = os.getppid()
    assert holders.me() != before
