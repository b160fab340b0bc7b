"""Waiting ends when it said it would, whatever the work does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from penstock.index.blobs import deadline
from penstock.index.blobs.deadline import Late, call, gather, spread


def test_a_result_and_an_error_come_back():
    """What the work returns is returned, what it raises is raised."""
    assert call(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 // 0, 5)


def test_work_that_hangs_is_left_behind():
    """The caller goes on at the deadline; the next call has another thread, and the hung one is used again later."""
    hangs = threading.Event()
    began = time.monotonic()
    with pytest.raises(Late, match=r"0\.05 s"):
        call(hangs.wait, 0.05)
    assert time.monotonic() - began < 20
    assert call(threading.get_ident, 5) != threading.get_ident()
    hangs.set()


def test_threads_are_used_again():
    """A hundred calls in a row need no hundred threads."""
    assert len({call(threading.get_ident, 5) for _ in range(100)}) <= 3


def test_a_hung_thread_does_not_hold_up_the_end_of_the_process():
    """Neither does one that answers after the process began to end."""
    code = """
import threading
from penstock.index.blobs.deadline import Late, call
try:
    call(threading.Event().wait, 0.05)
except Late:
    print("late")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late\n", "")


def test_all_work_is_done_at_once():
    """Work that waits for other work of the same call gets it."""
    meet = threading.Barrier(3)
    found = gather({n: lambda: meet.wait(60) for n in range(3)}, bool, grace=60, limit=60, clock=time.monotonic)
    assert sorted(found.values()) == [0, 1, 2]


def test_once_one_has_answered_the_others_have_little_time():
    """What is late is absent from the answer; what fails is there as its error, and gives nobody less time."""
    hangs = threading.Event()
    work = {"hung": hangs.wait, "good": lambda: True, "bad": lambda: 1 // 0}
    began = time.monotonic()
    found = gather(work, bool, grace=0.1, limit=60, clock=time.monotonic)
    assert time.monotonic() - began < 30
    assert found.pop("good") is True
    assert isinstance(found.pop("bad"), ZeroDivisionError)
    assert found == {}
    began = time.monotonic()
    assert gather({"hung": hangs.wait}, bool, grace=60, limit=0.1, clock=time.monotonic) == {}
    assert time.monotonic() - began < 30
    hangs.set()


def test_spread_work_is_done_side_by_side_and_all_of_it():
    """More work than threads is done; work that meets other work gets it; an error comes out when all is done."""
    done, meet = [], threading.Barrier(4)

    def work(n):
        if n < 4:
            meet.wait(60)
        done.append(n)
        if n == 7:
            raise ZeroDivisionError

    spread([lambda n=n: work(n) for n in range(7)], threads=4)
    assert sorted(done) == list(range(7))
    spread([])
    meet.reset()
    with pytest.raises(ZeroDivisionError):
        spread([lambda n=n: work(n) for n in range(20)], threads=4)
    assert sorted(done[7:]) == list(range(20))


def test_a_child_has_threads_of_its_own():
    """After a fork the parent's threads are gone: the child does not hand its work to them."""
    assert call(lambda: 1, 5) == 1
    child = os.fork()
    if child == 0:
        try:
            os._exit(call(lambda: 42, 5))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert deadline._idle
