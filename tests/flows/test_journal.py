"""Structured logs: a JSON object a line, whoever writes, whatever happens to the file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.http.redaction import Redactor
from penstock.flows.metrics import journal
from penstock.flows.metrics.journal import Journal
from penstock.flows.runs import events
from tests.flows.conftest import World

STARTED = events.RunStarted("20261121T180000Z-abc", "/srv/home", "urgent", 1_000.0, targets=("wiki",))


def test_a_run_writes_what_became_of_its_shards_and_of_the_documents_that_it_rejected(world: World) -> None:
    """At level info a document that came through well is not named, one that did not is, with its reason."""
    world.write("a.txt", "alpha text")
    world.write("empty.txt", "")
    account = world.ingest(config=configured(world, "info"))
    said = lines(log_of(world))
    assert [each["event"] for each in said if each["event"] not in ("noted", "log")] == [
        *("run-started", "listed", "document-prepared", "shard-prepared"),
        *("shard-embedded", "commit-landed", "accounted", "run-ended"),
    ]
    (document,) = (each for each in said if each["event"] == "document-prepared")
    assert (document["document"], document["status"], document["reason"]) == ("docs/empty.txt", "rejected", "empty")
    (accounted,) = (each for each in said if each["event"] == "accounted")
    assert accounted["account"]["indexed"] == 1 and accounted["sources"]["docs"]["rejected"] == 1
    assert "cut" not in accounted
    (commit,) = (each for each in said if each["event"] == "commit-landed")
    assert commit["version"] == account.version and commit["documents"] == {"indexed": 1, "rejected": 1}
    assert commit["source"] == "docs" and commit["shard"].startswith("shard-")
    assert {each["run"] for each in said} == {said[0]["run"]} and said[0]["run"]
    assert all(each["time"].endswith("Z") and each["level"] in journal.LEVELS for each in said)
    assert said[-1]["state"] == "complete" and {each["home"] for each in said} == {str(world.home)}


@pytest.mark.parametrize(
    ("level", "there", "absent"),
    [
        ("debug", {"docs/a.txt", "docs/empty.txt"}, set[str]()),
        ("info", {"docs/empty.txt"}, {"docs/a.txt"}),
        ("warning", set[str](), {"docs/a.txt", "docs/empty.txt"}),
    ],
)
def test_the_level_says_which_documents_are_named(world: World, level: str, there: set[str], absent: set[str]) -> None:
    """debug: all of them; info: those that failed or were rejected; warning: none."""
    world.write("a.txt", "alpha text")
    world.write("empty.txt", "")
    world.ingest(config=configured(world, level))
    named = {each["document"] for each in lines(log_of(world)) if "document" in each}
    assert there <= named and not absent & named


def test_without_a_setting_nothing_is_written(world: World) -> None:
    """Quiet by default."""
    world.write("a.txt", "alpha text")
    world.ingest()
    assert not list(world.home.parent.rglob("*.log"))


def test_a_note_is_a_warning(world: World) -> None:
    """What a person should read is in the log as well, also what a library of ours logs."""
    told = Journal(log_of(world), "warning", clock=lambda: 0.0, clean=str)
    told(STARTED)
    told(events.Noted("replica 1 is away"))
    logging.getLogger("penstock.index").warning("a block was bad")
    told(events.RunEnded("r", "failed", 1.0, "no space"))
    assert [(each["level"], each["event"], each["message"]) for each in lines(log_of(world))] == [
        ("warning", "noted", "replica 1 is away"),
        ("warning", "log", "a block was bad"),
        ("error", "run-ended", "no space"),
    ]
    logging.getLogger("penstock.index").warning("after the run")
    assert len(lines(log_of(world))) == 3


def test_the_observers_notes_reach_the_log_of_a_real_run(world: World) -> None:
    """A listener that fails is said to the person, and stands in the log."""
    from penstock.flows.answers.progress import Quiet
    from penstock.flows.runs.accounting import IngestRequest
    from penstock.flows.runs.launch import on_threads
    from penstock.flows.runs.run import Run

    def broken(event: events.Event) -> None:
        raise OSError("the disk of the metrics is full")

    world.write("a.txt", "alpha text")
    request = IngestRequest(home=str(world.home), targets=(str(world.docs),), config=configured(world, "warning"))
    Run(request, Quiet(), listeners=[broken]).execute(on_threads)
    (said,) = lines(log_of(world))
    assert said["event"] == "noted" and "the disk of the metrics is full" in said["message"]


def test_no_secret_gets_into_a_line(tmp_path: Path) -> None:
    """Not in a message, nor in a key, nor in a nested figure."""
    redactor, path = Redactor(), tmp_path / "run.log"
    redactor.learn("hunter2-is-long-enough")
    told = Journal(path, "debug", clock=lambda: 0.0, clean=redactor.clean)
    told(STARTED)
    told(events.Noted("no answer from https://u:hunter2-is-long-enough@host/"))
    told(events.RequestsRepeated("wiki", {"hunter2-is-long-enough": 3}))
    assert b"hunter2" not in path.read_bytes() and b"***" in path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    uri=st.text(max_size=6000),
    detail=st.text(max_size=6000),
    reasons=st.dictionaries(st.text(max_size=300), st.integers(0, 2**40), max_size=60),
)
def test_a_line_is_one_json_object_of_bounded_size_whatever_is_in_it(
    uri: str, detail: str, reasons: dict[str, int]
) -> None:
    """Line ends, quotes, control characters, half surrogates: one line, that a parser reads, and that a pipe takes."""
    for event in (
        events.DocumentPrepared("wiki", uri, "failed", "garbled", detail, 3, 0.1),
        events.RequestsRepeated(uri, reasons),
        events.Noted(detail),
    ):
        _, fields = journal.entry(event)
        line = journal.encoded({"time": "t", "level": "info", **fields}, str)
        assert len(line) <= journal.LONGEST and line.count(b"\n") == 1 and line.endswith(b"\n")
        assert json.loads(line)["event"]


def test_what_does_not_fit_into_a_line_is_left_out_largest_first() -> None:
    """And the line says so; what is small stays."""
    fields = {"event": "accounted", "account": {"indexed": 3}, "reasons": {f"reason {n}": n for n in range(900)}}
    assert json.loads(journal.encoded(fields, str)) == {"event": "accounted", "account": {"indexed": 3}, "cut": True}


def test_a_figure_that_is_no_number_does_not_spoil_the_line() -> None:
    """JSON has no infinity."""
    assert json.loads(journal.encoded({"a": float("inf"), "b": float("nan")}, str)) == {"a": None, "b": None}


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate has it: nothing more goes into the old one."""
    path = tmp_path / "run.log"
    told = Journal(path, "info", clock=lambda: 0.0, clean=str)
    told(events.Noted("one"))
    path.rename(tmp_path / "run.log.1")
    told(events.Noted("two"))
    told(events.Noted("three"))
    assert [each["message"] for each in lines(tmp_path / "run.log.1")] == ["one"]
    assert [each["message"] for each in lines(path)] == ["two", "three"]


def test_processes_that_write_one_file_do_not_mix_their_lines(tmp_path: Path) -> None:
    """Each line is whole."""
    script = (
        "import sys; from pathlib import Path; from penstock.flows.metrics.journal import Journal\n"
        "from penstock.flows.runs import events\n"
        "told = Journal(Path(sys.argv[1]), 'info', clock=lambda: 0.0, clean=str)\n"
        "for n in range(300): told(events.Noted(sys.argv[2] * 900 + str(n)))\n"
    )
    path = tmp_path / "run.log"
    children = [subprocess.Popen([sys.executable, "-c", script, str(path), letter]) for letter in "abc"]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    said = lines(path)
    assert len(said) == 900
    for letter in "abc":
        mine = [each["message"] for each in said if each["message"][0] == letter]
        assert mine == [letter * 900 + str(n) for n in range(300)]


def test_what_cannot_be_written_costs_the_run_nothing_and_is_said_once(world: World) -> None:
    """A folder without the right to write: the run ends well, and one line says that there is no log."""
    from penstock.flows.answers.progress import Quiet
    from penstock.flows.runs.accounting import IngestRequest
    from penstock.flows.runs.launch import on_threads
    from penstock.flows.runs.run import Run

    class Notes(Quiet):
        said: list[str] = []

        def note(self, message: str) -> None:
            self.said.append(message)

    world.write("a.txt", "alpha text")
    config = configured(world, "info", "/proc/nowhere/run.log")
    request = IngestRequest(home=str(world.home), targets=(str(world.docs),), config=config)
    notes = Notes()
    account = Run(request, notes).execute(on_threads)
    assert account.indexed == 1
    (said,) = (line for line in notes.said if "/proc/nowhere/run.log" in line)
    assert "lines could not be written" in said and "documents are not affected" in said
    assert said.startswith("[logs] file: /proc/nowhere/run.log: ")


def test_on_stderr_there_are_only_lines_of_the_log(world: World) -> None:
    """No progress and no notes beside them; the account goes to stdout as ever."""
    world.write("a.txt", "alpha text")
    world.write("empty.txt", "")
    where = ["--home", str(world.home), "--config", configured(world, "debug", "-")]
    command = [sys.executable, "-P", "-m", "penstock.flows.cli", "ingest", str(world.docs), *where]
    done = subprocess.run(command, cwd=world.home.parent, capture_output=True, text=True, timeout=120)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert said[0]["event"] == "run-started" and said[-1]["event"] == "run-ended", done.stderr
    assert "indexed" in done.stdout


def test_a_warning_of_a_module_is_not_printed_beside_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Where the log is stderr, what nobody else would print is in it already."""
    told = Journal(None, "info", clock=lambda: 0.0, clean=str)
    told(STARTED)
    logging.getLogger("penstock.index").warning("a blob is late")
    told(events.RunEnded("r", "complete", 1.0))
    found = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [each.get("message") for each in found] == [None, "a blob is late", None]


def test_a_pipe_that_nobody_reads_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    """A run must not hang for its log."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = Journal(pipe, "info", clock=lambda: 0.0, clean=str)
    told(events.Noted("one"))
    with pytest.raises(OSError, match="2 lines could not be written"):
        told(events.RunEnded("r", "complete", 1.0))


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full in the midst of a line, and has room again."""
    path, real = tmp_path / "run.log", os.write

    def full(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:10])

    told = Journal(path, "info", clock=lambda: 0.0, clean=str)
    monkeypatch.setattr(os, "write", full)
    told(events.Noted("one"))
    monkeypatch.setattr(os, "write", real)
    told(events.Noted("two"))
    torn, whole = path.read_bytes().splitlines()
    assert len(torn) == 10 and json.loads(whole)["message"] == "two"
    with pytest.raises(OSError, match="no room"):
        told.close()


def configured(world: World, level: str, file: str = "run.log") -> str:
    path = world.home.parent / "penstock.toml"
    path.write_text(f'[logs]\nfile = "{file}"\nlevel = "{level}"\n')
    return str(path)


def log_of(world: World) -> Path:
    return world.home.parent / "run.log"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
