"""Threads that do not keep a process alive."""

from __future__ import annotations

import subprocess
import sys
from threading import Event

import pytest

from penstock.flows.runs.threads import Threads


def test_calls_give_results_and_errors_and_threads_are_used_again() -> None:
    """As any pool: no more threads than allowed, none that is not needed."""
    threads = Threads(3, "test")
    assert [threads.submit(pow, 2, n).result() for n in range(20)] == [2**n for n in range(20)]
    assert threads._started <= 2
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result()
    several = [threads.submit(pow, 2, n) for n in range(50)]
    assert [each.result() for each in several] == [2**n for n in range(50)]
    assert threads._started <= 3
    threads.close()


def test_closing_cancels_what_has_not_begun() -> None:
    """And what has begun comes to its end."""
    threads, began, gate = Threads(1, "test"), Event(), Event()

    def hold() -> bool:
        began.set()
        return gate.wait(60)

    held, waiting = threads.submit(hold), threads.submit(pow, 2, 2)
    assert began.wait(60)
    threads.close()
    gate.set()
    assert held.result() and waiting.cancelled()


def test_a_thread_that_is_stuck_does_not_keep_the_process() -> None:
    """The process ends though a call would take a minute."""
    code = "import time; from penstock.flows.runs.threads import Threads; Threads(1, 't').submit(time.sleep, 600)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
