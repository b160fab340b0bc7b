"""Progress is seen where somebody looks, and never in the way."""

from __future__ import annotations

import io

from penstock.flows.answers.progress import Lines, Live, Observer


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def drive(observer: Observer) -> None:
    observer.stage("embedding")
    observer.planned(10, 4_000_000)
    observer.advanced(2, 500)
    observer.reused(20)
    observer.committed(7)
    observer.note("replica 1 is \x1b[31mslow")
    observer.finished()
    observer.finished()


def test_a_log_gets_one_line_in_ten_seconds() -> None:
    """However often the run reports."""
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    lines.stage("embedding")
    lines.planned(3000, -1)
    for _ in range(3000):
        clock.now += 0.01
        lines.advanced(1, 10)
    said = out.getvalue().splitlines()
    assert 2 <= len(said) <= 3
    assert "of 3,000 documents" in said[-1]
    assert "1,000 tokens/s" in said[-1]


def test_what_need_not_be_embedded_is_said_with_its_share() -> None:
    """In the line of a log and beside the bar."""
    out, clock = io.StringIO(), Clock()
    lines, live = Lines(out, clock), Live(Terminal(), clock)
    for observer in (lines, live):
        observer.advanced(0, 600)
        clock.now += 10
        observer.reused(200)
        observer.advanced(0, 0)
    live.finished()
    assert "200 tokens not embedded again (25%)" in out.getvalue()
    assert "200 tokens not embedded again (25%)" in live._progress.tasks[0].fields["figures"]


def test_a_note_is_said_at_once_and_cannot_drive_the_terminal() -> None:
    """Even right after another line."""
    out = io.StringIO()
    drive(Lines(out, Clock()))
    assert out.getvalue() == "penstock: replica 1 is  [31mslow\n"


def test_a_reader_that_has_gone_does_not_stop_the_run() -> None:
    """The run is worth more than its log."""
    drive(Lines(Gone(), Clock()))


def test_a_terminal_gets_documents_rate_and_time_left() -> None:
    """The rate counts from the first result, not from the loading of the model."""
    out, clock = Terminal(), Clock()
    live = Live(out, clock)
    clock.now += 60
    live.stage("embedding [shard 1]")
    live.planned(10, 0)
    live.advanced(0, 0)
    clock.now += 2
    live.advanced(4, 1000)
    live.committed(3)
    shown = live._progress.tasks[0].fields["figures"]
    live.note("look [here]")
    live.finished()
    live.finished()
    assert shown == "4 of 10 documents, 500 tokens/s, 3.0 s left, version 3"
    assert "look [here]" in out.getvalue()


def test_a_log_shows_tokens_while_documents_wait_for_their_commit() -> None:
    """And no version before this run made one."""
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    clock.now += 60
    lines.stage("loading the model")
    lines.stage("embedding")
    lines.planned(250, -1)
    lines.advanced(0, 0)
    clock.now += 20
    lines.advanced(0, 120_000)
    clock.now += 20
    lines.advanced(40, 0)
    lines.committed(6)
    clock.now += 20
    lines.advanced(0, 60_000)
    assert out.getvalue().splitlines() == [
        "penstock: loading the model: going on",
        "penstock: embedding: 120,000 tokens, 6,000 tokens/s; 0 of 250 documents committed",
        "penstock: embedding: 120,000 tokens, 3,000 tokens/s; 40 of 250 documents committed",
        "penstock: embedding: 180,000 tokens, 3,000 tokens/s; 40 of 250 documents committed, version 6",
    ]
