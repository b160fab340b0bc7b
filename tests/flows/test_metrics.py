"""Figures of runs: what the client library's parser reads, and what the account says."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.flows.answers.progress import Quiet
from penstock.flows.metrics import exposition, gpu, names, textfile
from penstock.flows.metrics.figures import LONGEST, Figures
from penstock.flows.metrics.run_figures import RunFigures
from penstock.flows.metrics.run_metrics import RunMetrics, of
from penstock.flows.metrics.textfile import Textfile
from penstock.flows.runs import events
from penstock.flows.runs.accounting import STATES, Accounting, IngestRequest
from penstock.flows.runs.launch import on_threads
from penstock.flows.runs.run import Run
from tests.flows.conftest import World

Series = dict[str, dict[tuple[tuple[str, str], ...], float]]
STARTED = events.RunStarted("r", "/srv/home", "scheduled", 1_000.0, targets=("wiki",))


def test_a_run_leaves_what_its_account_says(world: World) -> None:
    """Documents by state, tokens, commits and how it ended; the parser of the client library reads it."""
    world.write("a.txt", "alpha text")
    world.write("b.txt", "beta text")
    world.write("empty.txt", "")
    config = configured(world)
    account = world.ingest("docs", config=config)
    series = parsed(only_file(world))
    assert by(series, "penstock_run_documents", "state") == accounted(account)
    assert by(series, "penstock_run_documents", "source") == {"docs": account.listed + account.deleted}
    assert by(series, "penstock_run_tokens_total", "kind") == {
        "embedded": account.embedded_tokens,
        "padded": account.padded,
        "reused": account.reused_tokens,
    }
    assert one(series, "penstock_run_commit_seconds_count") == 1
    assert "penstock_run_fresh_seconds_count" not in series, "of a first run nobody knows how long a change took"
    assert by(series, "penstock_run_ended", "state") == {"complete": 1, "incomplete": 0, "stopped": 0, "failed": 0}
    assert one(series, "penstock_run_version") == account.version
    assert one(series, "penstock_run_started_timestamp_seconds") <= one(series, "penstock_run_ended_timestamp_seconds")
    stages = by(series, "penstock_run_stage_seconds_total", "stage")
    assert stages.keys() >= {"prepare", "commit"} and all(seconds >= 0 for seconds in stages.values())
    assert by(series, "penstock_run_queue_shards", "stage") == {"embed": 0, "commit": 0}
    (labels,) = series["penstock_run_version"]
    assert dict(labels) == {"home": str(world.home), "priority": "scheduled", "sources": "docs"}


def test_the_next_run_of_the_kind_replaces_the_file_and_counts_what_changed(world: World) -> None:
    """Unchanged, changed back and deleted documents stand where the account has them."""
    for name in ("a", "b", "c"):
        world.write(f"{name}.txt", f"{name} text")
    config = configured(world)
    world.ingest("docs", config=config)
    world.write("b.txt", "b text")  # touched: fetched again, and found to be the same
    os.utime(world.docs / "b.txt", (1_000_000, 1_000_000))
    world.write("new.txt", "something new")
    (world.docs / "c.txt").unlink()
    account = world.ingest("docs", config=config)
    assert (account.unchanged, account.indexed, account.deleted) == (2, 1, 1)
    series = parsed(only_file(world))
    assert by(series, "penstock_run_documents", "state") == accounted(account)
    assert one(series, "penstock_run_fresh_seconds_count") == 1


def test_what_a_limit_leaves_is_deferred(world: World) -> None:
    """The states of a source add up to what was listed, whatever was left."""
    for number in range(5):
        world.write(f"{number}.txt", f"text {number}")
    account = world.ingest("docs", config=configured(world), limit=2)
    series = parsed(only_file(world))
    assert account.deferred == 3 and by(series, "penstock_run_documents", "state") == accounted(account)
    assert by(series, "penstock_run_ended", "state")["incomplete"] == 1


def test_a_run_of_several_sources_says_of_each_what_became_of_it(world: World) -> None:
    """All together it is the account."""
    world.write("a.txt", "alpha text")
    other = world.home.parent / "other"
    other.mkdir()
    (other / "x.txt").write_text("x text")
    (other / "empty.txt").write_text("")
    config = configured(world, '[sources.other]\npath = "other"\n')
    account = world.ingest("docs", "other", config=config)
    series = parsed(only_file(world))
    assert by(series, "penstock_run_documents", "state") == accounted(account)
    mine = {dict(labels)["state"]: value for labels, value in series["penstock_run_documents"].items()
            if dict(labels)["source"] == "other" and value}  # fmt: skip
    assert mine == {"indexed": 1, "rejected": 1}
    assert {dict(labels)["sources"] for labels in series["penstock_run_version"]} == {"docs,other"}


def test_a_run_that_fails_says_so(world: World) -> None:
    """Whoever alerts on failed runs hears of this one."""
    config = configured(world, '[sources.gone]\npath = "nowhere"\n')
    with pytest.raises(Exception, match="nowhere"):
        world.ingest("gone", config=config)
    assert by(parsed(only_file(world)), "penstock_run_ended", "state")["failed"] == 1


def test_a_dry_run_leaves_no_figures(world: World) -> None:
    """They would hide the last real run's."""
    world.write("a.txt", "alpha text")
    world.ingest("docs", config=configured(world), dry_run=True)
    assert files(world) == []


@pytest.mark.parametrize("broken", ["full", "file", "readonly"])
def test_a_folder_that_cannot_be_written_costs_the_run_nothing_and_is_said_once(world: World, broken: str) -> None:
    """The run ends as it would; one line says that there are no metrics."""
    world.write("a.txt", "alpha text")
    folder = world.home.parent / "prom"
    if broken == "file":
        folder.write_text("in the way")
        folder /= "below"
    elif broken == "full":
        folder = Path("/dev/full")
    else:
        folder = Path("/proc/self/prom")
    notes: list[str] = []

    class Notes(Quiet):
        def note(self, message: str) -> None:
            notes.append(message)

    config = configured(world, folder=str(folder))
    request = IngestRequest(home=str(world.home), targets=("docs",), config=config)
    account = Run(request, Notes()).execute(on_threads)
    assert account.indexed == 1
    (said,) = (note for note in notes if note.startswith("[metrics] textfile: ") and "Errno" not in note)
    assert "documents are not affected" in said
    assert broken != "file" or f"{folder}: is no folder; " in said


def test_a_folder_that_hangs_does_not_hold_up_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What writes is left behind after a moment."""
    monkeypatch.setattr("penstock.flows.metrics.run_metrics.LETTING_GO", 0.1)
    hangs = threading.Event()

    def stuck(self: Textfile, text: bytes) -> bool:
        return hangs.wait(30)

    monkeypatch.setattr(Textfile, "write", stuck)
    listener = RunMetrics(tmp_path, (), every=0.01, clock=lambda: 0.0, gpus=list)
    for event in (STARTED, events.RunEnded("r", "complete", 1.0)):
        listener(event)
    hangs.set()


def test_figures_are_written_while_the_run_goes_on(tmp_path: Path) -> None:
    """Every few seconds, and a run that is killed then leaves them: it has not ended."""
    written = threading.Event()
    asked = 0

    def gpus() -> Sequence[gpu.Gpu]:
        nonlocal asked
        asked += 1
        if asked > 2:
            written.set()
        return [gpu.Gpu("cuda:0", 1 << 30, 80 << 30, 0.5)]

    listener = RunMetrics(tmp_path, ("wiki",), every=0.01, clock=lambda: 1_060.0, gpus=gpus)
    listener(STARTED)
    listener(events.Listed("wiki", 10, 4, 0, 0, 0, states={"unchanged": 6}))
    assert written.wait(30)
    (path,) = tmp_path.glob("*.prom")
    series = parsed(path)
    assert by(series, "penstock_run_documents", "state")["unchanged"] in (6.0,)
    assert set(by(series, "penstock_run_ended", "state").values()) == {0.0}
    assert "penstock_run_ended_timestamp_seconds" not in series
    assert by(series, "penstock_gpu_memory_used_bytes", "device") == {"cuda:0": float(1 << 30)}
    assert by(series, "penstock_gpu_utilization_ratio", "device") == {"cuda:0": 0.5}
    listener(events.RunEnded("r", "complete", 1.0))
    assert "penstock_gpu_memory_used_bytes" not in parsed(path)


def test_the_queues_say_what_waits_for_the_device_and_for_its_commit() -> None:
    """A shard that had nothing left to commit does not stay in the queue for ever."""
    figures = RunFigures(STARTED, "wiki")
    for shard in ("a", "b", "c"):
        figures.told(events.ShardPrepared(shard, "wiki", 1, 1, 10, 0.5), 0.0)
    for shard in ("a", "b"):
        figures.told(events.ShardEmbedded(shard, "wiki", "cuda:0", True, 10, 20, 0, 1.0), 0.0)
    assert queues(figures) == {"embed": 1, "commit": 2}
    figures.told(events.CommitLanded("b", "wiki", 2), 0.0)
    assert queues(figures) == {"embed": 1, "commit": 0}
    figures.told(events.ShardEmbedded("c", "wiki", "cuda:0", False, 0, 0, 0, 0.0), 0.0)
    assert queues(figures) == {"embed": 0, "commit": 0}


def test_budgets_retries_and_giving_way_are_counted() -> None:
    """As the events say; a counter never goes back."""
    started = events.RunStarted("r", "/h", "backfill", 0.0, budget_tokens=1_000, budget_minutes=10)
    figures = RunFigures(started, "all")
    figures.told(events.ShardPrepared("a", "wiki", 1, 1, 250, 0.5), 0.0)
    figures.told(events.ShardEmbedded("a", "wiki", "cuda:0", True, 200, 250, 50, 2.0), 0.0)
    figures.told(events.ShardEmbedded("b", "wiki", "cuda:1", True, 300, 300, 0, 2.0), 0.0)
    figures.told(events.GaveWay("cuda:0", 3.0, True), 0.0)
    figures.told(events.RequestsRepeated("wiki", {"throttled": 2}), 0.0)
    figures.told(events.RequestsRepeated("wiki", {"throttled": 5}), 0.0)
    figures.told(events.SourceWaits("wiki", "429", 30.0, False), 0.0)
    series = parse(exposition.text(figures.at(300.0, [])))
    assert by(series, "penstock_run_budget_used_ratio", "budget") == {"tokens": 0.25, "minutes": 0.5}
    assert one(series, "penstock_run_tokens_per_second") == 250.0
    assert one(series, "penstock_run_batch_fill_ratio") == pytest.approx(500 / 550)
    assert one(series, "penstock_run_gave_way_seconds_total") == 3.0
    assert by(series, "penstock_run_fetch_retries_total", "reason") == {"throttled": 5.0}
    assert by(series, "penstock_run_source_waits", "source") == {"wiki": 1.0}


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_runs_of_one_kind_never_share_a_file(tmp_path: Path) -> None:
    """The first has it; when it is killed, the lock goes with it and the second writes."""
    first, second = (Textfile(tmp_path, tmp_path / "home", "run:scheduled:all") for _ in range(2))
    assert first.write(b"a 1\n") and not second.write(b"a 2\n")
    assert first.path == second.path and first.path.read_bytes().endswith(b"a 1\n")
    first.close()
    assert second.write(b"a 2\n") and second.path.read_bytes().endswith(b"a 2\n")
    assert Textfile(tmp_path, tmp_path / "home", "run:urgent:all").path != first.path
    assert Textfile(tmp_path, tmp_path / "other", "run:scheduled:all").path != first.path


def test_what_cannot_be_written_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader never sees half a file, and nothing is left lying about that a collector would read."""
    file = Textfile(tmp_path, tmp_path, "watch")
    file.write(b"a 1\n")
    before = file.path.read_bytes()

    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        file.write(b"a 2\n")
    assert file.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [file.path.name]
    assert not list(tmp_path.glob(".*.new")) and stat.S_IMODE(file.path.stat().st_mode) & 0o400


def test_files_of_homes_that_are_gone_are_swept_away(tmp_path: Path) -> None:
    """Others' files, those in use and those of homes that are there stay."""
    here, gone, busy = tmp_path / "here", tmp_path / 'g"o\nne', tmp_path / "busy"
    here.mkdir()
    kept = [Textfile(tmp_path, here, "watch"), Textfile(tmp_path, busy, "watch")]
    dead = Textfile(tmp_path, gone, "run:scheduled:all")
    for file in (*kept, dead):
        file.write(b"a 1\n")
    kept[0].close()
    dead.close()
    strange = tmp_path / "penstock-mine.prom"
    strange.write_text("mine 1\n")
    assert textfile.sweep(tmp_path, os.path.getmtime(dead.path) + 60) == [dead.path]
    assert sorted(tmp_path.glob("*.prom")) == sorted([kept[0].path, kept[1].path, strange])
    later = os.path.getmtime(kept[0].path) + textfile.FORGOTTEN + 60
    assert textfile.sweep(tmp_path, later) == [kept[0].path]
    assert textfile.sweep(tmp_path / "nowhere", 0.0) == []


def test_a_lock_that_was_swept_away_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever had it open must not believe that the file is his."""
    real, taken = fcntl.flock, 0

    def flock(descriptor: int, how: int) -> None:
        nonlocal taken
        real(descriptor, how)
        taken += 1
        if taken == 1:
            next(tmp_path.glob(".*.lock")).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    file = Textfile(tmp_path, tmp_path, "watch")
    assert file.write(b"a 1\n") and taken == 2
    assert not Textfile(tmp_path, tmp_path, "watch").write(b"a 2\n")


# ── names and labels ─────────────────────────────────────────────────────────────────────────────────────


@given(home=st.text(), source=st.text(), other=st.text())
@settings(max_examples=100, deadline=None)
def test_a_label_may_hold_any_text(home: str, source: str, other: str) -> None:
    """Quotes, backslashes, line ends, half surrogates: the parser gives back what a label held; two stay two."""
    figures = Figures({"home": home})
    figures.set(names.SOURCE_HELD, 1, source=source)
    figures.set(names.SOURCE_HELD, 0, source=other)
    series = parse(exposition.text(figures))["penstock_source_held"]
    plain = {dict(labels)["source"] for labels in series}
    assert all(len(value) <= LONGEST for value in plain)
    if source.isprintable() and other.isprintable() and max(len(source), len(other)) <= LONGEST:
        assert plain == {source, other}


def test_long_labels_that_differ_at_their_end_stay_two() -> None:
    """A home deep down in the tree does not become its neighbour."""
    figures = Figures({"home": "/h"})
    for end in "ab":
        figures.set(names.SOURCE_HELD, 1, source="x" * 500 + end)
    assert len(parse(exposition.text(figures))["penstock_source_held"]) == 2


def test_a_metric_has_its_labels_and_no_others() -> None:
    """A label that nobody declared would break the dashboard."""
    with pytest.raises(ValueError, match="penstock_chunks has the labels home"):
        Figures({"home": "/h"}).set(names.CHUNKS, 1, uri="a")


@pytest.mark.parametrize(
    ("targets", "label"),
    [
        ((), "all"),
        (("wiki",), "wiki"),
        (("wiki", "docs", "wiki"), "docs,wiki"),
        (("/srv/some/path.pdf",), "paths"),
        (("wiki", "/srv/some/path.pdf"), "paths"),
        (tuple("abcdefg"), "7 sources"),
    ],
)
def test_the_label_of_what_was_asked_for_takes_few_values(targets: tuple[str, ...], label: str) -> None:
    """Whatever a person types becomes no series of its own."""
    assert of(targets, {"wiki", "docs", *"abcdefg"}) == label


def test_every_name_is_that_of_its_kind() -> None:
    """As Prometheus' conventions have it: one prefix, `_total` for counters and for nothing else, base units."""
    for name, metric in names.METRICS.items():
        assert name.startswith("penstock_") and metric.help and not metric.help.endswith(".")
        assert name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert not {"uri", "document", "run", "path"} & set(metric.labels)
    assert {*names.RUN_METRICS} | {*names.STATE_METRICS} == {*names.METRICS.values()}


def test_a_machine_without_a_gpu_has_no_figures_of_one() -> None:
    """And that is no error."""
    assert gpu.gpus() == [] or all(0 <= each.used_bytes <= each.total_bytes for each in gpu.gpus())


def test_a_gpu_that_fails_or_does_not_say_how_busy_it_is_keeps_no_other_from_being_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that fell off the bus is left out, a slice of one (MIG) has no utilisation; NVML is let go of each time."""
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert gpu.gpus() == [
        gpu.Gpu("cuda:0", 10 << 30, 80 << 30, 0.75),
        gpu.Gpu("cuda:2", 1 << 30, 20 << 30, None),
    ]
    assert nvml.begun == 0


class Nvml(types.ModuleType):
    """NVML as nvidia-ml-py shows it, of a machine with three devices: a good one, a lost one, a slice."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.begun = 0

    def nvmlInit(self) -> None:
        self.begun += 1

    def nvmlShutdown(self) -> None:
        self.begun -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if number == 1:
            raise self.NVMLError("GPU is lost")
        return number

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        used, total = {0: (10, 80), 2: (1, 20)}[handle]
        return types.SimpleNamespace(used=used << 30, total=total << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> types.SimpleNamespace:
        if handle == 2:
            raise self.NVMLError("Not Supported")
        return types.SimpleNamespace(gpu=75)


def configured(world: World, more: str = "", folder: str = "prom") -> str:
    path = world.home.parent / "penstock.toml"
    path.write_text(f'[metrics]\ntextfile = "{folder}"\n\n[sources.docs]\npath = "docs"\n\n{more}')
    return str(path)


def files(world: World) -> list[Path]:
    return sorted((world.home.parent / "prom").glob("*.prom"))


def only_file(world: World) -> Path:
    (path,) = files(world)
    return path


def parsed(path: Path) -> Series:
    return parse(path.read_bytes())


def parse(text: bytes) -> Series:
    """Sample name → labels → value, as the client library reads it. Each series once, each of a metric in names.py."""
    series: Series = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            held = series.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in held, sample
            held[labels] = sample.value
            declared = family.name if family.name in names.METRICS else f"{family.name}_total"
            assert set(sample.labels) - {"le"} == set(names.METRICS[declared].labels)
    return series


def by(series: Series, name: str, label: str) -> dict[str, float]:
    """Value of a label → the sum over all others."""
    found: dict[str, float] = {}
    for labels, value in series[name].items():
        key = dict(labels)[label]
        found[key] = found.get(key, 0.0) + value
    return found


def one(series: Series, name: str) -> float:
    (value,) = series[name].values()
    return value


def queues(figures: RunFigures) -> dict[str, float]:
    return by(parse(exposition.text(figures.at(0.0, []))), "penstock_run_queue_shards", "stage")


def accounted(account: Accounting) -> dict[str, float]:
    return {state: float(getattr(account, state)) for state in (*STATES, "deleted", "withheld")}
