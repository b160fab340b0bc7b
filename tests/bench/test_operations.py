"""What bench/urgent.py and bench/orchestration.py make of what they saw; measuring takes half an hour each."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.flows.telling.figures import Figures

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules, which find each other beside them."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = ("figures", "invented", "family", "service", "urgent_figures", "urgent", "turns", "orchestration")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def task(name: str, begin: int, end: int, state: str = "COMPLETED") -> dict[str, Any]:
    at = "2026-11-21T10:{:02d}:{:02d}+00:00"
    return {
        "name": name,
        "state_type": state,
        "start_time": at.format(*divmod(begin, 60)),
        "end_time": at.format(*divmod(end, 60)),
    }


def turn(bench: SimpleNamespace, urgents: list[Any]) -> Any:
    run = task("backfill texts", 0, 600) | {"state": {"message": "version 12: 9 indexed, of 9 listed"}}
    index = {"documents": 9, "others": 0, "tokens": 6000, "chunks": 40, "version": 12}
    return bench.urgent_figures.Turn(run, 12, index, urgents)


def urgent(
    bench: SimpleNamespace, way: str, seconds: float | None, problem: str = "", about: tuple[float, float] = (0.0, 0.0)
) -> Any:
    vector = np.zeros(4, np.float32)
    return bench.urgent_figures.Urgent("u.txt", way, "text", vector, seconds, problem, *about)


def batches(slow: tuple[tuple[float, float], ...] = (), drift: float = 1.0, left: float = 0.2) -> NDArray[np.float64]:
    """A batch each half second, for 601 seconds: 100 tokens, `left` of them in `slow`, `drift` of that at the end."""
    at = np.arange(0.0, 601.5, 0.5)
    tokens = np.linspace(100.0, 100.0 * drift, len(at))
    for begin, end in slow:
        tokens[(at > begin) & (at <= end)] *= left
    return np.stack([at, tokens], axis=1)


def test_embedding_that_overlaps_counts_once(bench: SimpleNamespace) -> None:
    """Two devices that embed at the same time do not make an hour out of half an hour; other stages do not count."""
    tasks = [task("embed 2", 10, 30), task("embed 1", 0, 20), task("embed 3", 40, 50), task("prepare 1", 0, 59)]
    assert bench.figures.embedding_seconds(tasks) == 40.0
    assert bench.figures.embedding_seconds([]) == 0.0


def test_shards_are_those_that_were_committed(bench: SimpleNamespace) -> None:
    """A commit that failed is no shard of the backfill."""
    tasks = [task("commit 1", 0, 1), task("commit 2", 1, 2, "FAILED"), task("embed 1", 0, 1)]
    assert bench.figures.shards(tasks) == 1


@pytest.mark.parametrize(
    ("message", "sound"),
    [
        (
            "version 7: 3 indexed, 1 unchanged, 1 rejected, 0 failed, 0 deferred, 0 deleted, 0 withheld, of 5 listed",
            True,
        ),
        ("version 7: 1,003 indexed, 1 unchanged, 0 deferred, of 1,004 listed", True),
        ("version 7: 3 indexed, 1 unchanged, of 5 listed", False),
        ("the process was gone", False),
    ],
)
def test_an_account_that_does_not_add_up_is_seen(bench: SimpleNamespace, message: str, sound: bool) -> None:
    """The message of the run's state is read; one that says nothing of documents does not add up."""
    assert bench.figures.adds_up(message) is sound


def test_loss_is_against_the_seconds_around(bench: SimpleNamespace) -> None:
    """Four fifths of ten seconds each, whether the machine stays as fast as it is or becomes half as fast meanwhile."""
    urgents = [
        urgent(bench, "command", 20.0, about=(100.0, 110.0)),
        urgent(bench, "deployment", 30.0, about=(400.0, 420.0)),
    ]
    for drift in (1.0, 0.5):
        seen = batches(slow=((102.0, 112.0), (405.0, 415.0)), drift=drift)
        found = bench.urgent_figures.report(turn(bench, urgents), seen, 10.0)
        assert [one["seconds"] for one in found["backfill"]["loss_of_each"]] == pytest.approx([8.0, 8.0], abs=0.15)
        assert found["backfill"]["loss_percent"] == pytest.approx(100 * 16 / 601, abs=0.05)
        assert found["until_found"]["command"] == {"n": 1, "p50": 20.0, "p95": 20.0, "max": 20.0}
        assert found["until_found"]["all"]["max"] == 30.0
        assert all(line.startswith("met") for line in found["targets"].values())
        assert dict(bench.urgent_figures.rows(found))["targets missed"] == "none"


def test_urgent_documents_close_together_are_not_each_others_quiet_seconds(bench: SimpleNamespace) -> None:
    """The seconds of the next one, and those before the first batch and after the last, say nothing of the rate."""
    spans = [(1.0, 6.0), (13.0, 18.0), (25.0, 30.0), (590.0, 597.0)]
    urgents = [urgent(bench, "command", 3.0, about=(begin, end)) for begin, end in spans]
    seen = batches(slow=tuple((begin, end + 5) for begin, end in spans))
    found = bench.urgent_figures.report(turn(bench, urgents), seen, 10.0)
    assert [one["seconds"] for one in found["backfill"]["loss_of_each"]] == pytest.approx([8.0] * 3 + [9.6], abs=0.5)
    assert found["targets"]["loss <= 5 %"].startswith("MISSED")


def test_an_urgent_document_that_was_never_found_misses_the_target(bench: SimpleNamespace) -> None:
    """It has no seconds that could be averaged away; one whose run ended badly is no success either."""
    for bad in (urgent(bench, "command", None), urgent(bench, "command", 3.0, "ended with 3")):
        found = bench.urgent_figures.report(turn(bench, [bad]), batches(), 10.0)
        assert found["targets"]["p95 until found <= 60 s"].startswith("MISSED")
        assert found["targets"]["loss <= 5 %"].startswith("MISSED")  # as nobody knows when its run was over
        assert len(found["problems"]) == 1
        bench.urgent_figures.rows(found)


def test_each_batch_of_a_run_leaves_a_line(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the flow as it is deployed, and what its figures count stays."""
    file = tmp_path / "batches.txt"
    monkeypatch.setenv("BENCH_BATCHES", str(file))
    monkeypatch.setattr(Figures, "advanced", Figures.advanced)  # what importing it changes is put back
    sys.modules.pop("batches", None)
    module = importlib.import_module("batches")
    figures = Figures(lambda: 0.0)
    figures.planned(2)
    for documents, tokens in ((0, 100), (1, 0), (0, 50)):
        figures.advanced(documents, tokens)
    assert bench.urgent_figures.read(file)[:, 1].tolist() == [100.0, 50.0]
    assert "1 of 2 documents" in figures.line()
    assert (module.backfill.name, module.ingest.name) == ("penstock-backfill", "penstock-ingest")


def test_what_only_prefect_costs_is_counted_once(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server, worker, and what the run's own process took more than without; embedding is nobody's overhead."""
    seen = {
        "documents": 10, "tokens": 5, "shards": 3, "task_runs": 9, "until_it_ran": 6.0, "server_cpu_seconds": 6.0,
        "server_stood": 300.0, "worker_cpu_seconds": 3.0, "server_mb": {"before": 200, "after": 230, "most": 240},
        "database_kb": {"before": 900, "after": 1400}, "embedding_seconds": 601.0, "cpu": {}, "lost": (1.0, 0.4, 20),
    }  # fmt: skip
    beside = {"cpu": {}, "idle_server": 0.02}
    without, with_ = bench.orchestration.Ran(640.0, 10.0, beside), bench.orchestration.Ran(620.0, 15.0, seen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    found = bench.orchestration.report(without, with_, SimpleNamespace(minutes=10.0))
    assert found["wall_share_percent"] == 1.94, "6.0 and 6.01 of 620 seconds"
    assert found["processor_share_percent"] == 1.61, "20 of 1,240"
    assert found["processor_seconds"] == {"server": 12.0, "worker": 3.0, "run": 5.0}
    assert all(line.startswith("met") for line in found["targets"].values())
    assert "900 / 1,400 kB" in dict(bench.orchestration.rows(found))["server database before / after"]


def test_invented_text_is_the_same_each_time_and_never_said_twice(bench: SimpleNamespace, tmp_path: Path) -> None:
    """What is said twice would be embedded once, and a run that is measured twice must do the same work."""
    sizes = [bench.invented.write(tmp_path / name, 30, 1500) for name in ("one", "two")]
    texts = [file.read_text() for file in sorted((tmp_path / "one").iterdir())]
    assert texts == [file.read_text() for file in sorted((tmp_path / "two").iterdir())]
    assert sizes[0] == sizes[1] and 0.6 < sizes[0] / (30 * 1500) < 1.6
    sentences = [part for text in texts for part in text.split("\n\n") if len(part) > 300]
    assert len(set(sentences)) == len(sentences) > 30


def test_a_table_goes_between_its_marks(bench: SimpleNamespace, tmp_path: Path) -> None:
    """What stands around it stays; a page without the marks is refused, and so is one that has them twice."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- urgent -->\nold\n<!-- /urgent -->\nafter\n")
    bench.figures.put(page, "urgent", "new \\1")
    assert page.read_text() == "before\n<!-- urgent -->\nnew \\1\n<!-- /urgent -->\nafter\n"
    with pytest.raises(ValueError, match="orchestration"):
        bench.figures.put(page, "orchestration", "new")


@pytest.mark.parametrize("mark", ["urgent", "orchestration"])
def test_the_page_has_the_marks(mark: str) -> None:
    """`--page docs/performance.md` finds its place."""
    page = (BENCH.parent / "docs" / "performance.md").read_text()
    assert page.count(f"<!-- {mark} -->") == page.count(f"<!-- /{mark} -->") == 1


def test_a_process_stands_with_all_below_it_in_the_other_s_turns(bench: SimpleNamespace, tmp_path: Path) -> None:
    """A child that it started does nothing either, and both go on."""
    tick = (
        "import sys, time\n"
        "with open(sys.argv[1], 'a', buffering=1) as file:\n"
        "    for _ in range(80): print(time.time(), file=file); time.sleep(0.01)"
    )
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    with subprocess.Popen([sys.executable, "-c", parent, tick, str(tmp_path / "ticks")]) as process:
        while not (tmp_path / "ticks").exists():
            pass
        sides = {"goes": partial(bench.turns.go, process.pid), "stands": partial(bench.turns.stand, process.pid)}
        with bench.turns.Turns(sides, 0.3) as turns:
            while process.poll() is None:
                time.sleep(0.01)
    ticks = [float(line) for line in (tmp_path / "ticks").read_text().split("\n")[:-1]]
    stood = [turn for turn in turns.turns if turn.side == "stands"]
    assert len(ticks) == 80 and stood
    assert not [at for at in ticks for turn in stood if turn.began + 0.05 < at < turn.ended - 0.05]


def test_a_machine_that_changes_its_speed_adds_nothing_to_what_turns_cost(bench: SimpleNamespace) -> None:
    """A tenth less in each second turn is a tenth, though the machine ends half as fast."""
    side = [bench.turns.Turn("goes" if at % 2 else "stands", 10.0 * at, 10.0 * at + 10) for at in range(70)]
    slow = tuple((turn.began, turn.ended) for turn in side if turn.side == "goes")
    share, error, count = bench.turns.lost(batches(slow, drift=0.5, left=0.9), side, "goes")
    assert abs(share - 10) < 0.3 and 0 <= error < 0.3 and count == 29
    assert abs(bench.turns.lost(batches(drift=0.5), side, "goes")[0]) < 0.3
    with pytest.raises(ValueError, match="embed for longer"):
        bench.turns.lost(batches(), side[:4], "goes")


def test_a_family_is_counted_and_ended_whole(bench: SimpleNamespace) -> None:
    """A child in a session of its own costs, and ends, with its parent's family."""
    child = "import subprocess, sys; subprocess.run(['sleep', '600'], start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", f"{child}  # penstock.embed.worker"]) as process:
        while len(members := bench.family.members(process.pid)) < 2:
            pass
        with bench.family.Watch({"it": process.pid}, period=60) as watch:
            pass
        assert watch.peak["it"] > 1_000_000 and watch.cpu("it") >= 0.0
        bench.family.end(members)
        while bench.family.left(members):  # SIGKILL is on its way
            pass
