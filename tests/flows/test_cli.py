"""The command line answers at once, in one line or one object, and ends with the documented code."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from penstock.connectors.types import StopSource
from penstock.flows import cli
from penstock.flows.answers.exits import UsageError, outcome
from penstock.flows.commands import questions
from penstock.flows.commands.console import Console
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.index import errors
from penstock.index.types import Hit

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class FakeRun:
    """Stands for flows/runs/launch.py: remembers what it was asked, answers or raises as told."""

    def __init__(self) -> None:
        self.asked: list[IngestRequest] = []
        self.answer: Accounting | BaseException = Accounting(listed=3, indexed=2, rejected=1, version=5)

    def __call__(self, request: IngestRequest, observer: Any) -> Accounting:
        self.asked.append(request)
        observer.stage("embedding")
        print("a library that chatters")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    module = types.ModuleType("penstock.flows.runs.launch")
    module.ingest = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "penstock.flows.runs.launch", module)
    return fake


def test_building_the_parser_loads_nothing_heavy() -> None:
    """Or `--help` would take seconds: nothing but the standard library and a few files of ours."""
    code = (
        "import sys; from penstock.flows import cli; cli.build_parser(); "
        "print(*[m.split('.')[0] for m in sys.modules if 'site-packages' in "
        "str(getattr(sys.modules[m], '__file__', ''))], *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"torch", "prefect", "faiss", "numpy", "msgspec", "rich", "sqlalchemy", "transformers", "pypdf"}
    assert not loaded & heavy
    rooms = {"penstock.flows.answers", "penstock.flows.commands", "penstock.flows.sources"}
    assert {name for name in loaded if name.startswith("penstock.flows.")} - rooms == {
        "penstock.flows.commands.arguments",
        "penstock.flows.cli",
        "penstock.flows.commands.cli_care",
        "penstock.flows.commands.cli_ingest",
        "penstock.flows.commands.cli_operate",
        "penstock.flows.commands.cli_recovery",
        "penstock.flows.commands.cli_snapshot",
        "penstock.flows.commands.cli_sources",
        "penstock.flows.commands.console",
        "penstock.flows.answers.exits",
        "penstock.flows.answers.notes",
        "penstock.flows.sources.redactor",
    }


@pytest.mark.parametrize("command", [[], *([*name.split()] for name in cli.COMMANDS), ["sources"]])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With its exit codes, and without doing anything."""
    assert cli.main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: penstock")
    assert "exit codes:" in shown
    assert list(Path().iterdir()) == []


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """One line."""
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"penstock \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_docs_show_the_synopsis_that_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/cli.md cannot fall behind."""
    documented = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for command in cli.COMMANDS:
        usage = _flat(_usage(command))
        assert usage in _flat(documented), f"docs/cli.md lacks: {usage}"
    capsys.readouterr()


def _usage(command: str) -> str:
    parser: Any = cli.build_parser()
    for word in command.split():
        actions = [action for action in parser._actions if hasattr(action, "_name_parser_map")]
        parser = actions[0]._name_parser_map[word]
    return str(parser.format_usage()).removeprefix("usage: ")


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_ingest_hands_over_what_was_asked(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths as they were typed, the home absolute."""
    Path("docs").mkdir()
    words = ["ingest", "docs", "--as", "manual", "--limit", "7", "--confirm-deletions", "30", "--json"]
    assert cli.main(words) == 0
    home = str(Path(".penstock").absolute())
    assert run.asked == [IngestRequest(home=home, targets=("docs",), name="manual", limit=7, confirm_deletions=30)]
    shown = capsys.readouterr()
    assert json.loads(shown.out)["version"] == 5
    assert "chatters" in shown.err


@pytest.mark.parametrize(
    ("words", "priority"),
    [
        (["ingest", "docs"], None),
        (["ingest", "docs", "--urgent"], "urgent"),
        (["ingest", "docs", "--priority", "backfill"], "backfill"),
        (["ingest", "--urgent", "docs"], "urgent"),
        (["retry", "--urgent"], "urgent"),
        (["retry", "--source", "docs"], None),
    ],
)
def test_a_priority_is_handed_over_as_it_was_said(run: FakeRun, words: list[str], priority: str | None) -> None:
    """Nothing said leaves it to the sources."""
    Path("docs").mkdir()
    cli.main(["init"])
    assert cli.main(words) == 0
    assert run.asked[-1].priority == priority


def test_what_is_urgent_is_said_again_by_the_next_command(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that goes on is as urgent as the one that was stopped."""
    Path("docs").mkdir()
    run.answer = Accounting(listed=1, deferred=1)
    assert cli.main(["ingest", "docs", "--urgent"]) == 1
    assert "penstock ingest docs --urgent" in capsys.readouterr().out


def test_ingest_json_has_the_documented_keys_and_adds_up(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """The contract of scripts that call it."""
    Path("docs").mkdir()
    cli.main(["ingest", "docs", "--json"])
    answer = json.loads(capsys.readouterr().out)
    keys = "listed unchanged indexed failed rejected filtered deferred deleted withheld chunks tokens version seconds"
    assert set(keys.split()) <= answer.keys()
    states = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")
    assert answer["listed"] == sum(answer[state] for state in states)


def test_an_account_that_does_not_add_up_fails(run: FakeRun) -> None:
    """It is never shown as a result."""
    Path("docs").mkdir()
    run.answer = Accounting(listed=3, indexed=1)
    assert cli.main(["ingest", "docs"]) == 3


@pytest.mark.parametrize("state", ["failed", "deferred", "withheld"])
def test_what_is_left_to_do_ends_with_one(run: FakeRun, state: str) -> None:
    """But a dry run that found work to do did its own work completely."""
    Path("docs").mkdir()
    run.answer = Accounting(**{state: 1}, listed=0 if state == "withheld" else 1)
    cli.main(["init"])
    assert cli.main(["ingest", "docs"]) == 1
    assert cli.main(["plan", "docs"]) == 0
    assert [request.dry_run for request in run.asked] == [False, True]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StopSource("docs: the folder cannot be listed"), 2),
        (errors.WrongIndex("made with another model"), 2),
        (errors.Unavailable("1 of 2 replicas"), 3),
        (errors.NoSpace("the disk is full"), 3),
        (errors.Conflict("somebody else"), 3),
        (errors.Fenced("a newer epoch"), 3),
        (errors.Unknown("the outcome"), 3),
        (errors.Corrupt("bytes"), 3),
        (OSError(28, "No space left on device", "/x"), 3),
        (PermissionError(13, "Permission denied", "/x"), 2),
        (RuntimeError("a bug\nin two lines"), 3),
        (KeyboardInterrupt(), 130),
        (type("PanicException", (BaseException,), {})("called `unwrap()`\non an `Err`"), 3),
        (SystemExit("a library that would end the process"), 3),
        (SystemExit(0), 3),
    ],
)
def test_every_error_has_its_code_and_one_line(
    run: FakeRun, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; with --json one object on stdout; a traceback only for -v."""
    Path("docs").mkdir()
    run.answer = error
    assert cli.main(["ingest", "docs"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    said = [line for line in shown.err.splitlines() if "chatters" not in line]
    assert len(said) == 1 and said[0].startswith("penstock: ")

    assert cli.main(["ingest", "docs", "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"]["exit"] == code
    assert answer["error"]["code"] and answer["error"]["message"]

    cli.main(["ingest", "docs", "-v"])
    assert "Traceback" in capsys.readouterr().err


def test_an_empty_variable_of_a_bucket_is_an_unset_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client reads the environment itself and would end in a panic; what is not empty stays."""
    empty = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SKIP_SIGNATURE", "AZURE_ENDPOINT")
    for name in empty:
        monkeypatch.setenv(name, "")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_PROXY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OTHER", "")
    assert cli.main(["analyze-store", "s3://", "--json"]) == 2
    assert not set(empty) & set(os.environ) and {"AWS_PROXY_URL", "OTHER"} < set(os.environ)


def test_unknown_model_is_a_matter_of_configuration() -> None:
    """The embedding package's own error, matched without importing it."""
    from penstock.embed.models import UnknownModel

    assert outcome(UnknownModel("no such model"))[:2] == (2, "unknown-model")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["ingest"],
        ["ingest", "no/such/folder"],
        ["ingest", "nothing-of-that-name"],
        ["ingest", ".", "--limit", "0"],
        ["ingest", "--urgent"],
        ["ingest", ".", "--urgent", "--priority", "backfill"],
        ["ingest", ".", "--priority", "first"],
        ["ingest", ".", "/", "--as", "two"],
        ["ingest", ".", "--config", "none.toml"],
        ["ingest", ".", "--home", "file"],
        ["plan", "no/such/folder"],
        ["search"],
        ["search", "  "],
        ["search", "x", "--queries", "file"],
        ["search", "--queries", "none.jsonl"],
        ["search", "--queries", "file"],
        ["search", "x", "-k", "0"],
        ["search", "x"],
        ["status"],
        ["failures"],
        ["verify"],
        ["sources"],
        ["sources", "list"],
        ["sources", "rebind", "a", "."],
        ["sources", "remove", "a", "--yes"],
    ],
)
def test_a_wrong_command_line_ends_with_two_and_makes_nothing(
    words: list[str], run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line or one object, and no home where there was none."""
    Path("file").write_text("not a home, not a query")
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert cli.main([*words, "--json"]) == 2
    assert set(json.loads(capsys.readouterr().out)) == {"error"}
    assert [path.name for path in Path().iterdir()] == ["file"]
    assert run.asked == []


def test_init_makes_the_home_that_the_configuration_names(capsys: pytest.CaptureFixture[str]) -> None:
    """./penstock.toml counts without being asked for; --home wins."""
    Path("penstock.toml").write_text('home = "index"')
    assert cli.main(["init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"home": str(Path("index").absolute())}
    assert cli.main(["init", "--home", "other"]) == 0
    assert (Path("index") / "home.json").is_file() and (Path("other") / "home.json").is_file()


def test_an_empty_home_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It is empty, and says what to do next."""
    cli.main(["init"])
    capsys.readouterr()
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out.startswith("Empty: nothing has been ingested yet.\nNext: penstock ingest PATH")
    for words, answer in [
        (["status"], None),
        (["search", "anything"], {"id": "", "hits": []}),
        (["failures"], {"failures": []}),
        (["verify"], {"ok": True, "findings": []}),
        (["sources", "list"], {"sources": []}),
    ]:
        assert cli.main([*words, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert answer is None or shown == answer


class FakeEncoder:
    """Knows how many questions it was given at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_queries(self, texts: list[str]) -> np.ndarray[Any, Any]:
        self.batches.append(len(texts))
        return np.array([[len(text), 0.0] for text in texts], np.float32)


class FakeReader:
    """Answers each question with its length, so that answers can be told apart."""

    def search(self, vectors: np.ndarray[Any, Any], k: int, **options: Any) -> list[list[Hit]]:
        return [[Hit("s/a", float(v[0]), "text\n", None, 0, 5, "c")] * k for v in vectors]


def test_queries_are_answered_in_order_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encoded many at a time; `_id` goes before `id`, numbers become text."""
    from penstock.flows.commands import cmd_search

    encoder = FakeEncoder()
    monkeypatch.setattr(cmd_search, "_open", lambda ctx, console: (FakeReader(), encoder))
    lines = [{"_id": str(n), "id": "no", "text": "x" * (n + 1), "other": [1]} for n in range(100)]
    lines.append({"id": 100, "text": "x" * 101})  # type: ignore[dict-item]
    Path("q.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    cli.main(["init"])
    capsys.readouterr()
    assert cli.main(["search", "--queries", "q.jsonl", "-k", "2", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["id"] for answer in answers] == [str(n) for n in range(101)]
    assert [answer["hits"][0]["score"] for answer in answers] == [n + 1 for n in range(101)]
    assert {len(answer["hits"]) for answer in answers} == {2}
    assert {"uri", "score", "text", "page", "start", "end", "chunk_id"} <= answers[0]["hits"][0].keys()
    assert max(encoder.batches) > 1


@pytest.mark.parametrize(
    "line", ['{"text": "no id"}', '{"id": "1"}', '{"id": "1", "text": " "}', "[1]", "{", '{"id": 1.5, "text": "x"}']
)
def test_a_bad_query_is_named_by_its_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded."""
    Path("q.jsonl").write_text('{"id": "a", "text": "good"}\n' + line)
    cli.main(["init"])
    assert cli.main(["search", "--queries", "q.jsonl"]) == 2
    assert "q.jsonl, line 2" in capsys.readouterr().err


def test_models_are_compared_by_what_makes_their_vectors() -> None:
    """How a space was cut into chunks does not matter to a question."""
    from penstock.flows.commands.cmd_search import mismatch

    assert mismatch({"weights": "a"}, {"weights": "a", "chunk_tokens": "99"}) == []
    assert mismatch({"weights": "a", "pooling": "mean"}, {"weights": "b", "pooling": "mean"}) == ["weights"]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_gone_is_no_error() -> None:
    """`penstock search … | head -1`."""
    console = Console(Closed(), io.StringIO(), as_json=True)
    console.answer({"a": 1}, "")
    console.answer({"b": 1}, "")


def test_help_into_a_closed_pipe_ends_quietly() -> None:
    """As a real process, where the interpreter flushes once more at exit."""
    line = f"{sys.executable} -m penstock.flows.cli init --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_signs_of_life_are_for_people() -> None:
    """A log does not get them."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    log, screen = io.StringIO(), Terminal()
    Console(io.StringIO(), log).sign("opening")
    Console(io.StringIO(), screen).sign("opening")
    assert (log.getvalue(), screen.getvalue()) == ("", "penstock: opening\n")


@pytest.fixture
def account_fields() -> Iterator[set[str]]:
    yield {field.name for field in msgspec.structs.fields(Accounting)}


def test_docs_name_every_field_of_the_account(account_fields: set[str]) -> None:
    """docs/cli.md is the JSON contract."""
    documented = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert not {name for name in account_fields if f"`{name}`" not in documented}


ARGUMENTS = {
    "search": ["q"],
    "analyze-store": ["u"],
    "export": ["d"],
    "replica add": ["2", "p"],
    "replica remove": ["2"],
    "replica replace": ["2"],
    "replica quorum": ["2"],
    "sources rebind": ["a", "b"],
    "sources remove": ["a"],
    "sources test": ["a"],
    "explain": ["u"],
    "eval": ["q", "r"],
    "rollback": ["--to", "1"],
    "snapshot show": ["n"],
    "snapshot hold": ["n"],
    "snapshot release": ["n"],
}


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_options_for_all_go_before_or_after_the_command(command: str) -> None:
    """And between two words of one; given twice, the later one counts."""
    words, rest = command.split(), ARGUMENTS.get(command, [])
    options = ["--home", "H", "--config", "C", "--json", "-v"]

    def parsed(*line: str) -> dict[str, Any]:
        return vars(cli.build_parser().parse_args(line))

    everywhere = parsed(*words, *rest, *options)
    assert [everywhere[name] for name in ("home", "config", "json", "verbose")] == [Path("H"), Path("C"), True, True]
    assert parsed(*options, *words, *rest) == everywhere
    assert parsed(words[0], *options, *words[1:], *rest) == everywhere
    assert parsed("--home", "no", "--config", "no", *words, *options, *rest) == everywhere
    nowhere = parsed(*words, *rest)
    assert [nowhere[name] for name in ("home", "config", "json", "verbose")] == [None, None, False, False]


def test_a_home_named_before_the_command_is_the_one_that_is_made() -> None:
    """And no other."""
    assert cli.main(["--home", "X", "init"]) == 0
    assert [path.name for path in Path().iterdir()] == ["X"]


def test_a_question_in_bytes_that_the_locale_cannot_read_is_utf_8_or_refused() -> None:
    """Python hands over what it could not decode as lone surrogates."""
    assert questions.typed("gr\udcc3\udcbc\udcc3\udc9fe")[0].text == "grüße"
    for nonsense in ("a\udcff", "a\ud800"):
        with pytest.raises(UsageError, match="not valid UTF-8"):
            questions.typed(nonsense)


def test_a_path_that_is_no_text_is_still_named_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Escaped, as JSON can."""
    assert cli.main(["status", "--home", "a\udcff", "--json"]) == 2
    assert "a\udcff" in json.loads(capsys.readouterr().out)["error"]["message"]


def shell(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("penstock", f"{sys.executable} -m penstock.flows.cli")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("line", ["init >/dev/full", "init --json >/dev/full", "init >&-", "init --json >&-"])
def test_an_answer_that_cannot_be_written_is_one_line_on_stderr(line: str) -> None:
    """A full disk or a closed stdout ends with 3 and no traceback; what was done is done."""
    done = shell(f"penstock {line}")
    assert done.returncode == 3
    assert done.stderr.startswith("penstock: stdout cannot be written: ")
    assert len(done.stderr.splitlines()) == 1
    assert Path(".penstock/home.json").is_file()


@pytest.mark.parametrize("line", ["--help >/dev/full", "--version >/dev/full", "--version >&-"])
def test_help_that_cannot_be_written_is_one_line_too(line: str) -> None:
    """Though argparse writes it, not we."""
    done = shell(f"penstock {line}")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_without_a_stderr_the_answer_and_the_code_stay(where: str) -> None:
    """Nobody reads it, and that is no reason to fail."""
    done = shell(f"penstock init --json {where}; penstock --home none status {where}; echo $?")
    answer, code = done.stdout.splitlines()
    assert json.loads(answer).keys() == {"home"}
    assert code == "2"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("torch.nn", "torch is not installed: pip install 'penstock[all]'"),
        ("psycopg", "psycopg is not installed: pip install 'penstock[all]'"),
        ("obstore.store", "obstore is not installed: pip install 'penstock[all]'"),
        ("oracledb", "oracledb is not installed: pip install oracledb"),
    ],
)
def test_a_missing_library_is_named_with_what_installs_it(module: str, said: str) -> None:
    """Our extras hold our libraries, and no other."""
    code, name, message = outcome(ModuleNotFoundError(module, name=module))
    assert (code, name) == (2, "not-installed")
    assert message.startswith(said)


def test_all_of_the_optional_libraries_are_known_as_ours() -> None:
    """As pyproject.toml lists them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    listed = {re.split(r"[\[<>=]", line)[0] for extra in ("ingest", "embed", "minilm") for line in project[extra]}
    imported = {"python-docx": "docx", "python-pptx": "pptx", "markdown-it-py": "markdown_it"}
    for name in listed - {"penstock"}:
        module = imported.get(name, name.replace("-", "_"))
        assert "penstock[all]" in outcome(ModuleNotFoundError("", name=module))[2], module


def test_queries_may_begin_with_a_byte_order_mark_and_come_from_stdin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Editors write the one, pipes need the other; an error names stdin."""
    data = b'\xef\xbb\xbf{"id": 1, "text": "a"}\r\n{"id": 2, "text": "b"}\n'
    Path("q.jsonl").write_bytes(data)
    asked = questions.read(Path("q.jsonl"))
    assert [(question.id, question.text) for question in asked] == [("1", "a"), ("2", "b")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert questions.read(Path("-")) == asked
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{")))
    with pytest.raises(UsageError, match="stdin, line 1"):
        questions.read(Path("-"))


def test_an_incomplete_run_says_what_to_type(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """The same ingest of the same home, without its limit."""
    Path("a b").mkdir()
    run.answer = Accounting(listed=2, indexed=1, deferred=1, version=4)
    assert cli.main(["--home", "H", "ingest", "a b", "--limit", "1"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("Incomplete: 1 deferred.")
    assert "Next: penstock ingest 'a b' --home H " in shown
