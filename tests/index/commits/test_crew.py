"""Who waits for whom: enough is enough, late ones go on, and what failed is not asked at every turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from penstock.index.commits.crew import Crew, Sequential, Threads
from penstock.index.errors import Corrupt, Unavailable


def fail(fault: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise fault

    return work


def nothing() -> None:
    return


@pytest.mark.parametrize("crew", [Sequential(), Threads(time.monotonic)])
def test_each_answer_is_told_apart(crew: Crew) -> None:
    """Success is None, a fault is itself, a local file that is gone is `Unavailable`."""
    wrong = Corrupt("bad")
    work = {"a": nothing, "b": fail(wrong), "c": fail(FileNotFoundError(2, "No such file", "x"))}
    told = crew.each(work, lambda done: done >= {"a"})
    assert told["a"] is None and told["b"] is wrong and isinstance(told["c"], Unavailable)


@pytest.mark.parametrize("crew", [Sequential(), Threads(time.monotonic)])
def test_what_is_no_fault_of_a_store_is_raised(crew: Crew) -> None:
    """A bug is never taken for a store that is away."""
    with pytest.raises(ZeroDivisionError):
        crew.each({"a": fail(ZeroDivisionError())}, lambda done: True)


def test_a_late_one_is_left_out_and_goes_on_in_the_background() -> None:
    """Enough answered: after the deadline the caller goes on; the late one is skipped until it is done."""
    crew, gate, ran = Threads(time.monotonic, deadline=0.05), threading.Event(), list[str]()
    work = {"a": nothing, "slow": lambda: (gate.wait(60), ran.append("first"))[0] or None}
    began = time.monotonic()
    assert crew.each(work, lambda done: "a" in done) == {"a": None}
    assert "slow" not in crew.each({"a": nothing, "slow": lambda: ran.append("second")}, lambda done: "a" in done)
    assert time.monotonic() - began < 30
    gate.set()
    crew.finish()
    assert ran == ["first"]
    assert crew.each({"slow": lambda: ran.append("third")}, lambda done: bool(done)) == {"slow": None}


def test_all_are_waited_for_when_there_would_not_be_enough() -> None:
    """The deadline counts from the moment when enough have answered, not before."""
    crew = Threads(time.monotonic, deadline=0.01)
    assert crew.each({"a": nothing, "b": lambda: time.sleep(0.2)}, lambda done: len(done) == 2) == {
        "a": None,
        "b": None,
    }


def test_patience_ends() -> None:
    """A store that hangs for ever stops the writer, not the process: the caller sees who did not answer."""
    crew, gate = Threads(time.monotonic, patience=0.1), threading.Event()
    assert crew.each({"a": nothing, "b": lambda: gate.wait(60) and None}, lambda done: len(done) == 2) == {"a": None}
    gate.set()


def test_what_failed_rests_unless_it_is_needed() -> None:
    """A dead server is asked again after a pause, at once only where the others are not enough."""
    asked = list[str]()

    def dead() -> None:
        asked.append("dead")
        raise Unavailable("gone")

    crew = Threads(time.monotonic, deadline=0.01, pause=60)
    for _ in range(3):
        told = crew.each({"a": nothing, "dead": dead}, lambda done: "a" in done)
        assert str(told["dead"]) == "gone"
    assert asked == ["dead"]
    crew.each({"a": nothing, "dead": dead}, lambda done: len(done) == 2)
    assert asked == ["dead", "dead"]
