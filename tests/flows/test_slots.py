"""Slots: one embedding at a time per device, freed by death, the best ticket first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.flows.runs import slots
from penstock.flows.runs.slots import BACKFILL, MOST_OVERTAKING, SCHEDULED, URGENT

ROOT = Path(__file__).parents[2]


def hold(where: Path, stopped: bool = False, waits: list[str] | None = None, priority: int = SCHEDULED):  # type: ignore[no-untyped-def]
    told: list[str] = [] if waits is None else waits
    return slots.hold(
        "cpu",
        where=where,
        sleep=lambda _: None,
        stopped=lambda: stopped,
        waiting=lambda: told.append("waiting"),
        priority=priority,
    )


class Wanting:
    """A process that wants the slot, and has said that it waits or holds it."""

    def __init__(self, where: Path, priority: int) -> None:
        self.priority = priority
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.slot_child", str(where), str(priority)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.said = self.hear()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def want(tmp_path: Path) -> Iterator[Callable[[int], Wanting]]:
    wanting: list[Wanting] = []

    def make(priority: int) -> Wanting:
        wanting.append(Wanting(tmp_path, priority))
        return wanting[-1]

    yield make
    for each in wanting:
        each.kill()
        for pipe in (each.process.stdin, each.process.stdout):
            if pipe is not None:
                pipe.close()


def test_a_free_slot_is_given(tmp_path: Path) -> None:
    """A slot that nobody holds is ours at once, and free again afterwards."""
    for _ in range(2):
        with hold(tmp_path) as held:
            assert held


def test_a_taken_slot_is_waited_for_until_a_stop(tmp_path: Path) -> None:
    """Whoever is asked to stop while waiting does not get the slot."""
    with hold(tmp_path) as first:
        assert first
        with hold(tmp_path, stopped=True) as second:
            assert not second


def test_a_killed_holder_frees_its_slot(tmp_path: Path) -> None:
    """The kernel takes the lock back: no lease, no waiting."""
    script = (
        "import sys,pathlib;from penstock.flows.runs import slots\n"
        "with slots.hold('cpu',where=pathlib.Path(sys.argv[1]),sleep=None,stopped=lambda:False,waiting=None):\n"
        " print('held',flush=True);sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline().strip() == "held"
    with hold(tmp_path, stopped=True) as taken:
        assert not taken
    holder.kill()
    holder.wait()
    with hold(tmp_path, stopped=True) as freed:
        assert freed


def test_the_most_urgent_goes_next_then_the_first_that_came(want: Callable[[int], Wanting]) -> None:
    """A backfill that waited longest is overtaken by whoever is scheduled, and these by whoever is urgent."""
    holder = want(BACKFILL)
    assert holder.said == "held"
    first, second, third, fourth = (want(p) for p in (BACKFILL, SCHEDULED, SCHEDULED, URGENT))
    assert {each.said for each in (first, second, third, fourth)} == {"waiting"}
    for following in (fourth, second, third, first):
        holder.release()
        assert following.hear() == "held"
        holder = following


def test_a_killed_waiter_is_waited_for_by_nobody(want: Callable[[int], Wanting], tmp_path: Path) -> None:
    """Its ticket dies with it."""
    holder, urgent, other = want(SCHEDULED), want(URGENT), want(BACKFILL)
    assert slots.waiting_better("cpu", SCHEDULED, where=tmp_path)
    urgent.kill()
    assert not slots.waiting_better("cpu", SCHEDULED, where=tmp_path)
    holder.release()
    assert other.hear() == "held"
    assert not list(tmp_path.glob("*.ticket"))


def test_a_killed_holder_is_followed_at_once(want: Callable[[int], Wanting]) -> None:
    """By the best of those who wait."""
    holder, backfill, urgent = want(SCHEDULED), want(BACKFILL), want(URGENT)
    holder.kill()
    assert urgent.hear() == "held"
    urgent.kill()
    assert backfill.hear() == "held"


def test_a_stopped_waiter_is_overtaken(
    want: Callable[[int], Wanting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that no longer asks holds nobody up; it has its turn when it asks again."""
    holder, stopped = want(SCHEDULED), want(URGENT)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    monkeypatch.setattr(slots, "_SILENT_NS", 50_000_000)
    while slots.waiting_better("cpu", SCHEDULED, where=tmp_path):
        os.sched_yield()
    holder.release()
    with hold(tmp_path, priority=BACKFILL) as held:
        assert held
        os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.hear() == "held"


def test_a_better_waiter_is_seen_by_the_holder(want: Callable[[int], Wanting], tmp_path: Path) -> None:
    """So that it can give way; its equals, and those who wait for another device, are none of that."""
    with hold(tmp_path, priority=SCHEDULED):
        want(SCHEDULED)
        want(BACKFILL)
        assert not slots.waiting_better("cpu", SCHEDULED, where=tmp_path)
        assert slots.waiting_better("cpu", BACKFILL, where=tmp_path)
        want(URGENT)
        assert slots.waiting_better("cpu", SCHEDULED, where=tmp_path)
        assert not slots.waiting_better("cuda-0", SCHEDULED, where=tmp_path)


def asked(waiter: slots._Waiter) -> bool:
    """Asks until there is an answer."""
    while (taken := waiter.ask()) is None:
        pass
    return taken


def test_nobody_is_overtaken_for_ever(tmp_path: Path) -> None:
    """An endless row of urgent ones leaves the backfill one turn in nine, and no more."""
    line = slots._Line(tmp_path, "cpu")
    holder, waiting = slots._Waiter(line, URGENT), [slots._Waiter(line, BACKFILL) for _ in range(2)]
    assert asked(holder) and not any(map(asked, waiting))
    for overtaken in range(2):
        for _ in range(MOST_OVERTAKING - overtaken):
            urgent = slots._Waiter(line, URGENT)
            assert not asked(urgent)
            holder.leave()
            assert not any(map(asked, waiting))
            assert asked(urgent)
            holder = urgent
        urgent = slots._Waiter(line, URGENT)
        assert not asked(urgent)
        holder.leave()
        assert not asked(urgent) and asked(waiting[0])
        waiting.pop(0).leave()
        assert asked(urgent)
        holder = urgent
    holder.leave()


def test_a_lost_or_damaged_book_is_begun_anew(want: Callable[[int], Wanting], tmp_path: Path) -> None:
    """After a cleaner of temporary files, or a torn write, tickets are counted on from those that are there."""
    holder, first = want(SCHEDULED), want(SCHEDULED)
    (tmp_path / "cpu.line").write_bytes(b"\x00 what?")
    second = want(SCHEDULED)
    (tmp_path / "cpu.line").unlink()
    third = want(URGENT)
    holder.release()
    assert third.hear() == "held"
    third.release()
    assert first.hear() == "held"
    first.release()
    assert second.hear() == "held"


def test_whoever_waits_is_told_once(tmp_path: Path) -> None:
    """And nothing of the line is left when it gives up."""
    waits: list[str] = []
    asked = iter([False, False, True])
    with (
        hold(tmp_path),
        slots.hold(
            "cpu",
            where=tmp_path,
            sleep=lambda _: None,
            stopped=lambda: next(asked),
            waiting=lambda: waits.append("waiting"),
        ) as held,
    ):
        assert not held
    assert waits == ["waiting"]
    assert not list(tmp_path.glob("*.ticket"))


def test_no_two_processes_ever_hold_the_same_slot() -> None:
    """Of six that hammer at it, two are killed while they hold it; the others have all their turns."""
    turns = 30
    with tempfile.TemporaryDirectory() as where:
        hammers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.flows.slot_hammer", where, str(n % 3), str(turns), str(dies_at)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
            for n, dies_at in enumerate([-1, -1, -1, -1, 10, 20])
        ]
        for each in hammers:
            assert each.stdout is not None and each.stdout.readline() == "ready\n"
        said = [each.communicate("go\n")[0].split() for each in hammers]
    times = []
    for words in said:
        begun, ended = [int(word) for word in words[1::4]], [int(word) for word in words[3::4]]
        times += list(zip(begun, ended + begun[len(ended) :], strict=True))  # one that was killed: a moment
    times.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert [len(words) // 4 for words in said] == [turns, turns, turns, turns, 10, 20]


class LineModel(RuleBasedStateMachine):
    """Whoever asks for a slot gets it exactly when it is free and his turn, whatever came before."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._patience, slots._SILENT_NS = slots._SILENT_NS, 10**15  # nobody is slow here but the machine
        self._line = slots._Line(Path(self._folder.name), "cpu")
        self.waiting: list[tuple[int, slots._Waiter]] = []
        """(priority, waiter), in the order in which they came."""
        self.holder: slots._Waiter | None = None
        self.overtaking = 0

    @precondition(lambda self: len(self.waiting) < 6)
    @rule(priority=st.sampled_from([URGENT, SCHEDULED, BACKFILL]))
    def comes(self, priority: int) -> None:
        self.waiting.append((priority, slots._Waiter(self._line, priority)))
        self._asks(len(self.waiting) - 1)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def asks_again(self, data: st.DataObject) -> None:
        self._asks(data.draw(st.integers(0, len(self.waiting) - 1)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def gives_up(self, data: st.DataObject) -> None:
        self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))[1].leave()

    @precondition(lambda self: self.holder is not None)
    @rule()
    def gives_back(self) -> None:
        assert self.holder is not None
        self.holder.leave()
        self.holder = None

    @invariant()
    def a_holder_sees_who_is_better(self) -> None:
        for priority in (URGENT, SCHEDULED, BACKFILL):
            better = any(each < priority for each, _ in self.waiting)
            assert slots.waiting_better("cpu", priority, where=Path(self._folder.name)) == better

    def teardown(self) -> None:
        for _, each in self.waiting:
            each.leave()
        if self.holder is not None:
            self.holder.leave()
        slots._SILENT_NS = self._patience
        self._folder.cleanup()

    def _asks(self, number: int) -> None:
        best = min(range(len(self.waiting)), key=lambda n: (self.waiting[n][0], n))
        turn = 0 if self.overtaking >= MOST_OVERTAKING else best
        expected = self.holder is None and number == turn
        assert asked(self.waiting[number][1]) == expected
        if expected:
            self.overtaking = 0 if number == 0 else self.overtaking + 1
            self.holder = self.waiting.pop(number)[1]


TestLine = LineModel.TestCase
TestLine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
