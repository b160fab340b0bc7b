"""`penstock doctor` says in one line whether it can work here, and names what is in the way and how to mend it."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from penstock.connectors.parsing.pool import ParserPool
from penstock.connectors.types import Document, Fetched
from penstock.embed import models
from penstock.embed.engine.gpus import Gpu
from penstock.embed.engine.memory import Memory
from penstock.embed.types import Encoder, EncoderUnavailable
from penstock.flows import cli, model_wiring, prefect_api, wiring
from penstock.flows.answers import doctor as answers
from penstock.flows.answers.doctor import Feed, Finding, Report, SourcePace
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.doctor import engine, feeding, machine, packages, places, samples, sources
from penstock.flows.plans import throughput
from penstock.flows.runs import slots
from penstock.flows.runs.loading import Here
from tests.fakes.encoder import HashEncoder

MEASURED, ENCODERS = feeding.measured, model_wiring.encoders


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place of its own, a fake engine that is measured for a moment, no Prefect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setattr(prefect_api, "configured", lambda: False)
    monkeypatch.setattr(engine, "SECONDS", 0.02)
    monkeypatch.setattr(feeding, "SECONDS", 0.01)
    monkeypatch.setattr(places, "LITTLE", 1)
    monkeypatch.setattr(places, "HARDLY", 1)
    monkeypatch.setattr(machine, "LEAST_MEMORY", 1)
    monkeypatch.setattr(machine, "LEAST_FILES", 1)
    monkeypatch.setattr(feeding, "measured", _canned)
    _engines(monkeypatch, {"cpu": HashEncoder})


def _canned(files: object, pool: object, cut: Callable[[Document], object], *rest: object) -> Iterator[Feed]:
    """Stands for the parsers, which take a second to start."""
    cut(Document(samples.text(1, 20_000), "text", "", "", ""))
    yield Feed("text", 1e9, 1e9, 1)


def _engines(monkeypatch: pytest.MonkeyPatch, loads: Mapping[str, Callable[[], Encoder]]) -> None:
    monkeypatch.setattr(model_wiring, "encoders", lambda *_: {name: Here(it) for name, it in loads.items()})


def _asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object], str]:
    """(exit code, what --json says, what a person would have read)."""
    code = cli.main(["doctor", *words, "--json"])
    answer = json.loads(capsys.readouterr().out)
    return code, answer, answers.render(msgspec.convert(answer, Report))


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def test_where_all_is_well_it_says_so_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Measured: the engine, and whether each kind of file feeds it. Nothing is left behind."""
    monkeypatch.setattr(feeding, "measured", MEASURED)
    before = {path for path in tmp_path.rglob("*") if "slots" not in str(path)}
    code, answer, shown = _asked(capsys)
    assert (code, answer["usable"], answer["healthy"]) == (0, True, True), answer["findings"]
    assert str(answer["verdict"]).startswith("Ready: fake embeds ")
    assert answer["next"] == "penstock ingest PATH"
    feeds = answer["feeding"]
    assert isinstance(feeds, list) and [feed["kind"] for feed in feeds] == ["text", "html", "pdf"]
    assert all(feed["parse_tokens_per_second"] > 0 and feed["times"] > 0 for feed in feeds)
    assert "parse.workers = " in shown and "sha256 53aa51172d142c89" in shown
    assert {path for path in tmp_path.rglob("*") if "slots" not in str(path)} == before


def test_the_verdict_and_the_next_command_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads two lines, and the rest if they care."""
    assert cli.main(["doctor", "--quick", "--home", "here"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert (first[:7], second, third) == ("Ready: ", "Next: penstock ingest PATH --home here", "")


def test_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of them stands in docs/cli.md."""
    _, answer, _ = _asked(capsys, "--quick")
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    documented = text.partition("\n## doctor\n")[2].partition("\n## ")[0]
    kinds = (Report, Finding, Feed, SourcePace, answers.Machine, answers.Engine, answers.Place, answers.ModelFacts, Gpu)
    assert answer.keys() == {field.name for field in msgspec.structs.fields(Report)}
    for kind in kinds:
        for field in msgspec.structs.fields(kind):
            assert f"`{field.name}`" in documented, f"{kind.__name__}.{field.name} is not in docs/cli.md"


def test_the_real_model_is_loaded_measured_and_let_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run loads it: the encoder says of itself on what, in which way and why."""
    monkeypatch.setattr(model_wiring, "encoders", ENCODERS)
    code, answer, shown = _asked(capsys)
    assert code == 0, answer["findings"]
    (found,) = answer["engines"]  # type: ignore[misc]
    assert found["tokens_per_second"] > 0
    assert {"device", "dtype", "dtype_why", "path", "path_why", "budget", "budget_why"} <= found["provenance"].keys()
    assert "measured now" in shown and "batch" in shown


def test_quick_loads_and_measures_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in files and in the system is all that it looks at."""

    def never() -> Encoder:
        raise AssertionError

    _engines(monkeypatch, {"cpu": never})
    monkeypatch.setattr(wiring, "parser_pool", lambda settings: never())
    code, answer, _ = _asked(capsys, "--quick")
    assert (code, answer["engines"], answer["feeding"]) == (0, [], [])
    assert "as far as can be seen without loading the model" in str(answer["verdict"])


def test_a_model_that_is_not_there_is_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And nothing is measured then."""
    (tmp_path / "penstock.toml").write_text('[embed]\nmodel = "./none"\n')
    code, answer, shown = _asked(capsys)
    assert (code, answer["usable"], answer["engines"]) == (2, False, [])
    assert str(answer["verdict"]).startswith("Not usable: model ")
    assert "FAIL" in shown


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EncoderUnavailable("the device's memory was taken"), "the device's memory was taken"),
        (ImportError("libcudart.so.12: cannot open shared object file"), "libcudart.so.12"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "torch is not installed"),
        (models.UnknownModel("[embed] device = 'cuda': torch sees no GPU here"), "sees no GPU"),
        (RuntimeError("CUDA error: device-side assert triggered\nand much more"), "device-side assert"),
    ],
)
def test_whatever_loading_raises_is_a_finding(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 2, never a traceback; what was found elsewhere is still shown."""

    def broken() -> Encoder:
        raise error

    _engines(monkeypatch, {"cuda-0": broken})
    code, answer, shown = _asked(capsys)
    assert code == 2
    assert said in str(answer["verdict"])
    assert "Traceback" not in shown and len(shown.splitlines()[0]) < 300
    assert answer["machine"] and answer["feeding"]


def test_a_wrong_configuration_is_a_finding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the key and the fix; the machine is looked at all the same."""
    (tmp_path / "penstock.toml").write_text("[embed]\nmodle = 'x'\n")
    code, answer, _ = _asked(capsys, "--quick")
    assert code == 2
    assert "modle" in str(answer["verdict"])
    assert answer["machine"]


def test_a_file_in_the_homes_place_is_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing could be written there."""
    (tmp_path / "file").write_text("")
    code, answer, _ = _asked(capsys, "--quick", "--home", str(tmp_path / "file"))
    assert code == 2
    assert "cannot be written" in str(answer["verdict"])


def test_warnings_end_with_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It works, and the verdict says what could be better."""
    monkeypatch.setattr(machine, "LEAST_MEMORY", 1 << 60)
    code, answer, _ = _asked(capsys, "--quick")
    assert (code, answer["usable"], answer["healthy"]) == (1, True, False)
    assert str(answer["verdict"]).startswith("Works, with 1 warning: only ")


def test_a_device_in_use_is_not_disturbed(capsys: pytest.CaptureFixture[str]) -> None:
    """Its slot is held by a run: the model is loaded, and nothing is measured."""
    held, done = threading.Event(), threading.Event()

    def run() -> None:
        with slots.hold(
            "cpu", where=slots.directory(), sleep=lambda _: None, stopped=lambda: False, waiting=lambda: None
        ):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert held.wait(60)
        code, answer, shown = _asked(capsys)
    finally:
        done.set()
        thread.join()
    assert (code, answer["tokens_per_second"]) == (0, None)
    assert "another run is using it" in shown
    assert "can embed" in str(answer["verdict"])


def test_several_devices_are_measured_one_after_another(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they do together is what has to be fed."""
    _engines(monkeypatch, {"cuda-0": HashEncoder, "cuda-1": HashEncoder})
    monkeypatch.setattr("penstock.embed.engine.gpus.gpus", lambda: [Gpu("cuda:0", "H100", 70 << 30, 80 << 30)])
    _, answer, shown = _asked(capsys)
    found = answer["engines"]
    assert isinstance(found, list) and [each["slot"] for each in found] == ["cuda-0", "cuda-1"]
    assert answer["tokens_per_second"] == pytest.approx(sum(each["tokens_per_second"] for each in found))
    assert "2 devices" in str(answer["verdict"])
    assert "H100: 75.2 GB free of 85.9 GB" in shown


def test_an_endpoint_is_named_and_not_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may cost money: one short text, and only with --probe."""
    asked: list[str] = []

    class Endpoint(HashEncoder):
        def encode(self, ids: object, texts: object = None) -> Iterator[object]:  # type: ignore[override]
            asked.append(str(texts))
            return super().encode(ids, texts)  # type: ignore[arg-type]

    _engines(monkeypatch, {"endpoint": Endpoint})
    (tmp_path / "penstock.toml").write_text('[embed.endpoint]\nurl = "https://embed.example/v1"\n')
    code, answer, shown = _asked(capsys)
    assert (code, asked, answer["endpoint"]) == (0, [], "https://embed.example/v1")
    assert "vectors come from https://embed.example/v1" in str(answer["verdict"])
    assert "--probe" in shown
    cli.main(["doctor", "--probe"])
    assert asked == ["['gate']"]


def test_what_past_runs_measured_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The device's speed and each source's, with the limits of its budget."""
    (tmp_path / "penstock.toml").write_text(
        '[sources.wiki]\ntype = "mediawiki"\nurl = "https://wiki.example/w/api.php"\n'
        "[sources.wiki.budget]\nrequests_per_second = 2.0\nper_day = 24000\n"
    )
    key = throughput.device_key(model_wiring.model_identity(load(None)), None, throughput.hardware())
    rate = throughput.Rate(4321.0, 1_000_000, 1.0)
    homes.create(tmp_path / ".penstock")
    throughput.remember(tmp_path / ".penstock" / "cache", {key: rate}, {"wiki": rate}, "x")
    _, answer, shown = _asked(capsys, "--quick")
    assert answer["past_tokens_per_second"] == 4321.0
    assert answer["sources"] == [
        {
            "name": "wiki",
            "type": "mediawiki",
            "requests_per_second": 2.0,
            "per_day": 24000,
            "documents_per_hour": 1000.0,
            "tokens_per_second": 4321.0,
        }
    ]
    assert "Source wiki: 1,000 documents/hour at most, 4,321 tokens/s in the last run of it alone." in shown


# ── its parts ──────────────────────────────────────────────────────────────────────────────────────────────


def _versions(**installed: str) -> Callable[[str], str]:
    everything = dict.fromkeys(packages.NAMES, "1.0") | {"faiss-gpu": ""}
    everything |= {name.replace("_", "-"): found for name, found in installed.items()}

    def version(name: str) -> str:
        if not everything[name]:
            raise metadata.PackageNotFoundError
        return everything[name]

    return version


@pytest.mark.parametrize(
    ("installed", "level", "said"),
    [
        ({"faiss_gpu": "1.15.1"}, "problem", "overwrite each other"),
        ({"faiss_cpu": ""}, "problem", "faiss is not installed"),
        ({"torch": ""}, "problem", "torch is not installed"),
        ({"prefect": ""}, "note", "prefect is not installed"),
    ],
)
def test_packages_that_lack_or_quarrel_are_named(installed: dict[str, str], level: str, said: str) -> None:
    """With the command that mends it, where something has to be mended."""
    found = packages.versions(_versions(**installed))
    (finding,) = packages.findings(found, endpoint=False, prefect_api=False)
    assert finding.level == level and said in finding.what
    assert "pip" in finding.fix or level == "note"


def test_an_endpoint_needs_no_torch() -> None:
    """But Prefect has to be there once an API is configured."""
    found = packages.versions(_versions(torch="", prefect=""))
    (finding,) = packages.findings(found, endpoint=True, prefect_api=True)
    assert finding.level == "problem" and "prefect" in finding.what


def test_the_machine_is_described_from_its_files(tmp_path: Path) -> None:
    """Without loading anything."""
    (tmp_path / "cpuinfo").write_text("model name : A CPU\nflags : fpu avx2 amx_bf16\n\nmodel name : B\n")
    found = machine.machine(tmp_path, lambda: (99.0, 0.0, 0.0), lambda: Memory(1 << 20, 1 << 34, "cgroup v2"))
    assert (found.processor, found.flags) == ("A CPU", ["amx_bf16", "avx2"])
    assert found.open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    nothing = machine.machine(tmp_path / "none", lambda: (0.0, 0.0, 0.0), lambda: None)
    assert (nothing.flags, nothing.memory_free) == ([], None)


def test_what_is_scarce_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Memory, open files, a busy machine, a quota; a GPU that torch does not see."""
    monkeypatch.setattr(machine, "LEAST_MEMORY", 2 << 30)
    monkeypatch.setattr(machine, "LEAST_FILES", 1024)
    found = machine.machine(tmp_path, lambda: (99.0, 0.0, 0.0), lambda: Memory(1 << 30, 1 << 34, "cgroup v2"))
    found = msgspec.structs.replace(found, open_files=256, cores=64, usable=2, gpus=[])
    said = "\n".join(finding.what for finding in machine.findings(found))
    for words in ("1.1 GB of memory are free (cgroup v2)", "256 open files", "load 99.0", "2 of 64 cores"):
        assert words in said
    assert [finding.level for finding in machine.unseen(found)] == ["warning"]
    assert not machine.driver(tmp_path / "none")


def test_little_room_is_said_once_for_each_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hardly any, nothing can be written at all."""
    found = places.places({"home": tmp_path / "a", "spool": tmp_path / "a" / "b"})
    assert [(place.there, place.writable) for place in found] == [(False, True), (False, True)]
    monkeypatch.setattr(places, "LITTLE", 1 << 62)
    assert [finding.level for finding in places.findings(found)] == ["warning"]
    monkeypatch.setattr(places, "HARDLY", 1 << 62)
    assert [finding.level for finding in places.findings(found)] == ["problem"]


def test_slots_of_another_user_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that cannot be opened would stop every run."""
    lock = tmp_path / "cuda-0.lock"
    lock.write_text("")
    assert list(places.slots(lambda: tmp_path)) == []
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != lock)
    (finding,) = places.slots(lambda: tmp_path)
    assert finding.level == "problem" and finding.fix == f"chmod 666 {lock}"

    def denied() -> Path:
        raise PermissionError(13, "Permission denied", "/slots")

    (finding,) = places.slots(denied)
    assert finding.fix == "set PENSTOCK_SLOTS"


def test_a_clock_that_is_behind_is_noticed(tmp_path: Path) -> None:
    """By what was written here, or by being years behind."""
    (tmp_path / "home.json").write_text("")
    os.utime(tmp_path / "home.json", (2e9, 2e9))
    written = {"home.json": tmp_path / "home.json", "catalog.db": tmp_path / "none"}
    assert [f.level for f in places.clock(2e9 - 3 * 86_400, written)] == ["warning"]
    assert [f.level for f in places.clock(86_400.0, written)] == ["warning"]
    assert list(places.clock(2e9 + 1, written)) == []


def test_a_prefect_api_that_does_not_answer_is_a_warning() -> None:
    """One that is not configured is none of our business."""

    def silent(note: Callable[[str], None]) -> bool:
        note("Prefect at http://x does not answer")
        return False

    assert [f.what for f in places.prefect(True, silent)] == ["Prefect at http://x does not answer"]
    assert list(places.prefect(False, silent)) == list(places.prefect(True, lambda note: True)) == []


def test_a_prefect_server_of_another_version_is_a_warning() -> None:
    """It answers, and what it records may be incomplete: the fix is one version on both sides, not a start."""

    def older(note: Callable[[str], None]) -> bool:
        note(prefect_api.judge("3.8.8", "3.6.2"))
        return True

    (finding,) = places.prefect(True, older)
    assert "3.6.2" in finding.what and "older" in finding.what
    assert "one version" in finding.fix


def test_samples_are_files_of_their_kind(tmp_path: Path) -> None:
    """The parsers read all of them, with the words that were put in."""
    files = samples.written(tmp_path)
    with ParserPool(1) as pool:
        for kind, paths in files.items():
            outcome = pool.parse(Fetched(paths[-1], paths[-1].name))
            assert isinstance(outcome, Document)
            assert outcome.kind == kind
            assert len(outcome.text) > 15_000
            assert "boundary layer separates" in " ".join(outcome.text.split())
    assert samples.text(1, 500) != samples.text(2, 500)


def test_feeding_is_compared_with_the_device() -> None:
    """How many times, and with how many processes it would be enough."""
    slow = feeding.compared(Feed("pdf", 1000.0, 50_000.0, 2), 10_000.0)
    assert (slow.times, slow.enough) == (0.2, 10)
    assert "feeds 20% of the device" in answers.sentence(slow) and "parse.workers = 10 would" in answers.sentence(slow)
    (finding,) = feeding.findings([slow], cores=16)
    assert finding.fix == "[parse] workers = 10"
    (finding,) = feeding.findings([slow], cores=4)
    assert finding.fix == "parse on more than 4 cores"

    fast = feeding.compared(Feed("text", 100_000.0, 50_000.0, 2), 10_000.0)
    assert (fast.times, fast.enough) == (5.0, 1)
    assert "feeds the device 5.0×" in answers.sentence(fast)
    assert list(feeding.findings([fast], cores=4)) == []

    uncut = feeding.compared(Feed("text", 100_000.0, 5_000.0, 2), 10_000.0)
    assert (uncut.times, uncut.enough) == (0.5, None)
    assert "cutting into tokens is what limits" in answers.sentence(uncut)


def test_a_source_slower_than_the_device_is_noted() -> None:
    """As far as a run has measured it."""
    found = [SourcePace("slow", "rest", tokens_per_second=10.0), SourcePace("fast", "sql", tokens_per_second=1e9)]
    assert [f.what for f in sources.findings(found, 100.0)] == [
        "source slow gave 10% of what the device takes, when it was run alone"
    ]


def test_sources_without_limits_say_so() -> None:
    """A folder has no budget; one that only an earlier configuration knew is shown with what it gave."""
    settings = load(None)
    assert settings.sources == {}
    found = sources.paces({}, {"gone": 5.0})
    assert [(each.name, each.tokens_per_second) for each in found] == [("gone", 5.0)]
    assert "never measured" in answers.pace(SourcePace("new", "files"))


def test_the_worst_finding_is_the_verdict() -> None:
    """A problem goes before a warning, and that before a note, whatever was found first."""
    report = Report(findings=[Finding("note", "n"), Finding("warning", "w", "mend w"), Finding("problem", "p")])
    assert answers.judge(report, "penstock doctor", "") == 2
    assert (report.verdict, report.next) == ("Not usable: p.", "penstock doctor")
    assert [f.what for f in report.findings] == ["p", "w", "n"]
    report = Report(findings=[Finding("warning", "w", "mend w"), Finding("warning", "v")])
    assert answers.judge(report, "penstock doctor", "") == 1
    assert (report.verdict, report.next) == ("Works, with 2 warnings: w.", "mend w")
