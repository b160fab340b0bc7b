#!/usr/bin/env python
"""What Prefect costs one large ingest: the run of a deployment, on a real server and worker.

    bench/orchestration.py [--documents 10000] [--minutes 10] [--turn 3] [--scratch DIR] [--json] [--page FILE]

So many documents of made-up text, never twice the same, of a size that so many minutes of embedding come out of it (a
short ingest says how fast this machine is; a tenth more is taken). They are ingested twice, into fresh homes:

    without     by `penstock ingest`, with no Prefect to be recorded at
    with        as a run of a deployment, by a worker, the server beside it. While it embeds, the server goes and stands
                (SIGSTOP) by turns of so many seconds. What the run has to tell it waits until it goes: all of it counts

    lost to the server   per cent that it embeds slower in a turn in which the server goes than in the two around it:
                         the mean of all turns, and its standard error. Of one process, within seconds: two processes
                         that do the same differ here by several per cent, whatever is beside them
    start                from submission until the run ran: the worker's look for work, a new process, its imports
    wall share           (start + lost to the server * seconds of embedding) / seconds from submission to the end
    processor share      processor seconds that only Prefect makes necessary / (those seconds * cores): all of the
                         server, the worker itself, and what the run's own process (without those that embed and
                         parse) took more than without; of processes that end, up to five seconds are not seen. For
                         the turns in which the server stood, what it takes beside the run without is added
    server memory        resident, of the server's processes: before the run, after it, and at most
    database             the server's SQLite files, before and after: what one run leaves there

Progress is on stderr, every half minute. Exits 1 if a target was missed, 2 if it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import family
import figures
import invented
import machine
import service
import turns
import urgent_figures
from figures import said
from service import FINAL, Broke, Progress, Service

SHARE, TASK_RUNS = 2.0, 300
"""Targets: per cent of the wall time, task runs."""
MORE = 1.1
_PATIENCE = 6.0
"""Times the minutes of embedding that were meant: after that a run counts as stuck."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One ingest. `own`: processor seconds of its own process, without those that embed and parse."""

    seconds: float
    own: float
    figures: dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of embedding (default: 10)")
    parser.add_argument("--turn", type=float, default=3.0, metavar="SECONDS", help="(default: 3)")
    return service.carried_out("orchestration", parser, measure, rows)


def measure(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, one after the other."""
    found: dict[str, Any] = {"machine": machine.described(), "load_before": machine.load()}
    texts, batches = scratch / "texts", scratch / "batches.txt"
    texts.mkdir()
    patience = 60 * (_PATIENCE * args.minutes + 10)
    seen = {"BENCH_BATCHES": str(batches), "PYTHONPATH": str(Path(__file__).resolve().parent)}
    with service.started(scratch / "prefect", service.project(scratch / "first", texts, "scheduled"), seen) as up:
        made(scratch, texts, args, up)
        without = plainly(up, scratch / "without", texts, patience)
        with_ = recorded(up, scratch / "with", texts, batches, args.turn, patience)
    return found | report(without, with_, args)


def made(scratch: Path, texts: Path, args: argparse.Namespace, up: Service) -> None:
    """The documents, of a size that suits the machine."""
    invented.write(scratch / "samples", 250, 2100, first=500_000)
    rate, density = service.calibrated(scratch, sorted((scratch / "samples").iterdir()), up.environment)
    characters = max(200, round(60 * args.minutes * MORE * rate / density / args.documents))
    size = invented.write(texts, args.documents, characters)
    machine.say(f"{rate:,.0f} tokens/s here: {args.documents:,} documents of {characters:,} characters, "
                f"{size / 1e6:.1f} MB")  # fmt: skip


def plainly(up: Service, folder: Path, texts: Path, patience: float) -> Ran:
    """`penstock ingest` without Prefect. Raises `Broke` if it did not end complete."""
    config = service.project(folder, texts, "scheduled")
    machine.say(f"without Prefect; load {machine.load()}")
    began = time.monotonic()
    process = service.command("ingest", config=config, environment=service.alone(up.environment))
    progress = Progress(folder / "home")
    with family.Watch({"run": process.pid, "server": up.server}) as watch:
        code, _ = service.answer(process, patience, progress)
        seconds = time.monotonic() - began
    progress.close()
    if code:
        raise Broke(f"penstock ingest ended with {code}: {config.with_suffix('.log').read_text()[-1500:]}")
    spent = watch.by_kind("run")
    return Ran(seconds, spent.get("itself", 0.0), {"cpu": spent, "idle_server": watch.cpu("server") / seconds})


def recorded(up: Service, folder: Path, texts: Path, batches: Path, period: float, patience: float) -> Ran:
    """The run of the deployment. Raises `Broke` if it did not end complete."""
    config = service.project(folder, texts, "scheduled")
    up.deploy(config)
    up.redeploy("penstock-ingest", "ingest-texts", "batches:ingest")
    machine.say(f"with Prefect; load {machine.load()}")
    documents, before, progress = sum(1 for _ in texts.iterdir()), up.database(), Progress(folder / "home")
    sides = {"goes": partial(turns.go, up.server), "stands": partial(turns.stand, up.server)}
    with family.Watch({"server": up.server, "worker": up.worker}) as watch:
        began = time.time()
        flow_run = up.submit("penstock-ingest", "ingest-texts", {})
        until_it_embeds(up, flow_run, batches, patience)
        try:
            with turns.Turns(sides, period) as taken:
                run = up.until_final(flow_run, patience, progress, look=10.0)
        finally:
            turns.go(up.server)
    progress.close()
    index, message = service.indexed(folder / "home"), run["state"]["message"] or ""
    if run["state_name"] != "Completed" or not figures.adds_up(message) or index["documents"] != documents:
        raise Broke(f"the run ended {run['state_name']}: {message}; the index has {index}; {up.logs()}")
    tasks, worker = up.tasks(flow_run), watch.by_kind("worker")
    stood = sum(turn.ended - turn.began for turn in taken.turns if turn.side == "stands")
    found = {
        **index,
        "task_runs": len(tasks),
        "shards": figures.shards(tasks),
        "until_it_ran": round(figures.moment(run["start_time"]) - began, 1),
        "lost": lost(batches, taken),
        "server_cpu_seconds": round(watch.cpu("server"), 1),
        "server_stood": stood,
        "worker_cpu_seconds": round(watch.itself("worker"), 1),
        "server_mb": {"before": _mb(watch.first), "after": _mb(watch.last), "most": _mb(watch.peak)},
        "database_kb": {"before": before // 1000, "after": up.database() // 1000},
        "embedding_seconds": figures.embedding_seconds(tasks),
        "cpu": worker,
    }
    return Ran(figures.moment(run["end_time"]) - began, worker.get("flow", 0.0), found)


def lost(batches: Path, taken: turns.Turns) -> tuple[float, float, int]:
    """Raises `Broke` where there were too few turns to say it."""
    try:
        return turns.lost(urgent_figures.read(batches), taken.turns, "goes")
    except ValueError as few:
        raise Broke(str(few)) from few


def until_it_embeds(up: Service, flow_run: str, batches: Path, patience: float) -> None:
    """Raises `Broke` if it ends before."""
    deadline = time.monotonic() + patience
    while not batches.exists():
        run = up.run(flow_run)
        if run["state_type"] in FINAL or time.monotonic() > deadline:
            raise Broke(f"the run embedded nothing, and is {run['state_name']}: {up.logs()}")
        time.sleep(5)


def _mb(held: dict[str, int]) -> int:
    return held["server"] // 1_000_000


def report(without: Ran, with_: Ran, args: argparse.Namespace) -> dict[str, Any]:
    """The figures that are printed."""
    last, idle = with_.figures, without.figures["idle_server"]
    share, error, turns_ = last["lost"]
    embedding = last["embedding_seconds"]
    wall = (100 * last["until_it_ran"] + share * embedding) / with_.seconds
    extra = {
        "server": round(last["server_cpu_seconds"] + last["server_stood"] * idle, 1),
        "worker": last["worker_cpu_seconds"],
        "run": round(max(0.0, with_.own - without.own), 1),
    }
    cpu = 100 * sum(extra.values()) / (with_.seconds * len(os.sched_getaffinity(0)))
    tasks = last["task_runs"]
    return {
        "documents": last["documents"],
        "tokens": last["tokens"],
        "shards": last["shards"],
        "task_runs": tasks,
        "embedding_minutes": round(embedding / 60, 1),
        "seconds_without": round(without.seconds, 1),
        "seconds_with": round(with_.seconds, 1),
        "until_it_ran": last["until_it_ran"],
        "lost_percent": round(share, 2),
        "lost_standard_error": round(error, 2),
        "turns": turns_,
        "idle_server_per_minute": round(60 * idle, 2),
        "wall_share_percent": round(wall, 2),
        "processor_share_percent": round(cpu, 2),
        "processor_seconds": extra,
        "server_mb": last["server_mb"],
        "database_kb": last["database_kb"],
        "cpu": {"without": without.figures["cpu"], "with": last["cpu"]},
        "targets": {
            f"wall share <= {SHARE:g} %": said(wall <= SHARE, f"{wall:.2f} %"),
            f"processor share <= {SHARE:g} %": said(cpu <= SHARE, f"{cpu:.2f} %"),
            f"task runs <= {TASK_RUNS}": said(tasks <= TASK_RUNS, str(tasks)),
            f">= {args.minutes:g} minutes of embedding": said(
                embedding >= 60 * args.minutes, f"{embedding / 60:.1f} minutes"
            ),
        },
    }


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What the page shows."""
    memory, database, spent = found["server_mb"], found["database_kb"], found["processor_seconds"]
    return [
        ("the run", f"{found['documents']:,} documents, {found['tokens']:,} tokens, {found['shards']} shards, "
         f"{found['embedding_minutes']} minutes of embedding"),
        (f"task runs (target: at most {TASK_RUNS})", str(found["task_runs"])),
        ("seconds with Prefect; without, by another process",
         f"{found['seconds_with']:,.0f}; {found['seconds_without']:,.0f}"),
        ("lost to the server while it embeds",
         f"{found['lost_percent']} % ± {found['lost_standard_error']}, of {found['turns']} turns"),
        ("start", f"{found['until_it_ran']} s"),
        (f"share of the wall time (target: at most {SHARE:g} %)", f"{found['wall_share_percent']} %"),
        (f"share of the processors (target: at most {SHARE:g} %)", f"{found['processor_share_percent']} %"),
        ("processor seconds: server; worker; more in the run's own process",
         f"{spent['server']}; {spent['worker']}; {spent['run']}"),
        ("of a server that has nothing to do, a minute", str(found["idle_server_per_minute"])),
        ("server memory before / after / at most", f"{memory['before']} / {memory['after']} / {memory['most']} MB"),
        ("server database before / after", f"{database['before']:,} / {database['after']:,} kB"),
        ("targets missed", ", ".join(k for k, v in found["targets"].items() if v.startswith("MISSED")) or "none"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
