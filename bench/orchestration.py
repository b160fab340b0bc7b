#!/usr/bin/env python
"""What Prefect costs: one large ingest as a deployed flow run on a real server and worker, and the same without.

    bench/orchestration.py [--documents 10000] [--minutes 10] [--turns N] [--scratch DIR] [--json] [--page FILE]

So many documents of made-up text, never twice the same, of a size that so many minutes of embedding come out of it (a
short ingest says how fast this machine is; a tenth more is taken). Then, each turn, into fresh homes:

    without     `penstock ingest`, with no Prefect to be recorded at
    with        the run of a deployment, by a worker, the server beside it

    wall share        (seconds with - seconds without) / seconds with: from submission until the run's end at the
                      server, and from the command's start to its end; over several turns that of the sums. A machine
                      whose speed drifts by a per cent says a per cent of nonsense here: the next figure tells more
    processor share   processor seconds that only Prefect makes necessary / (seconds with * cores): all of the server,
                      the worker itself, and what the run's own process (without those that embed and parse) took more
                      than without; of processes that end, up to five seconds are not seen
    server memory     resident, of the server's processes: before the run, after it, and at most
    database          the server's SQLite files, before and after: what one run leaves there

Progress is on stderr, every half minute. Exits 1 if a target was missed, 2 if it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import family
import figures
import invented
import machine
import service
from figures import said
from service import Broke, Progress, Service

SHARE, TASK_RUNS = 2.0, 300
"""Targets: per cent of the wall time, task runs."""
MORE = 1.1
_PATIENCE = 6.0
"""Times the minutes of embedding that were meant: after that a run counts as stuck."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One ingest. `own`: processor seconds of its own process, without those that embed and parse."""

    seconds: float
    embedding_seconds: float
    own: float
    figures: dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of embedding (default: 10)")
    parser.add_argument("--turns", type=int, default=1, help="of without and with (default: 1)")
    return service.carried_out("orchestration", parser, measure, rows)


def measure(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, one after the other."""
    found: dict[str, Any] = {"machine": machine.described(), "load_before": machine.load()}
    texts = scratch / "texts"
    texts.mkdir()
    patience = 60 * (_PATIENCE * args.minutes + 10)
    without, with_ = list[Ran](), list[Ran]()
    with service.started(scratch / "prefect", service.project(scratch / "first", texts, "scheduled")) as up:
        made(scratch, texts, args, up)
        for turn in range(args.turns):
            without.append(plainly(up, scratch / f"without-{turn}", texts, patience))
            with_.append(recorded(up, scratch / f"with-{turn}", texts, patience))
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
    with family.Watch({"run": process.pid}) as watch:
        code, account = service.answer(process, patience, progress)
        seconds = time.monotonic() - began
    progress.close()
    if code:
        raise Broke(f"penstock ingest ended with {code}: {config.with_suffix('.log').read_text()[-1500:]}")
    own = watch.by_kind("run").get("itself", 0.0)
    shutil.rmtree(folder)
    return Ran(seconds, account["stage_seconds"]["embed"], own, {"load": machine.load(), "cpu": watch.by_kind("run")})


def recorded(up: Service, folder: Path, texts: Path, patience: float) -> Ran:
    """The run of the deployment. Raises `Broke` if it did not end complete."""
    config = service.project(folder, texts, "scheduled")
    up.deploy(config)
    machine.say(f"with Prefect; load {machine.load()}")
    documents, before, progress = sum(1 for _ in texts.iterdir()), up.database(), Progress(folder / "home")
    with family.Watch({"server": up.server, "worker": up.worker}) as watch:
        began = time.time()
        flow_run = up.submit("penstock-ingest", "ingest-texts", {})
        run = up.until_final(flow_run, patience, progress, look=10.0)
    progress.close()
    index, message = service.indexed(folder / "home"), run["state"]["message"] or ""
    if run["state_name"] != "Completed" or not figures.adds_up(message) or index["documents"] != documents:
        raise Broke(f"the run ended {run['state_name']}: {message}; the index has {index}; {up.logs()}")
    tasks = up.tasks(flow_run)
    shutil.rmtree(folder)
    seconds = figures.moment(run["end_time"]) - began
    worker = watch.by_kind("worker")
    found = {
        **index,
        "task_runs": len(tasks),
        "shards": figures.shards(tasks),
        "until_it_ran": round(figures.moment(run["start_time"]) - began, 1),
        "server_cpu_seconds": round(watch.cpu("server"), 1),
        "worker_cpu_seconds": round(watch.itself("worker"), 1),
        "server_mb": {"before": _mb(watch.first), "after": _mb(watch.last), "most": _mb(watch.peak)},
        "database_kb": {"before": before // 1000, "after": up.database() // 1000},
        "cpu": worker,
        "load": machine.load(),
    }
    return Ran(seconds, figures.embedding_seconds(tasks), worker.get("flow", 0.0), found)


def _mb(held: dict[str, int]) -> int:
    return held["server"] // 1_000_000


def report(without: list[Ran], with_: list[Ran], args: argparse.Namespace) -> dict[str, Any]:
    """The figures that are printed."""
    cores = len(os.sched_getaffinity(0))
    plain, whole = sum(each.seconds for each in without), sum(each.seconds for each in with_)
    wall = 100 * (whole - plain) / whole
    extra = [
        {
            "server": ran.figures["server_cpu_seconds"],
            "worker": ran.figures["worker_cpu_seconds"],
            "run": round(max(0.0, ran.own - beside.own), 1),
        }
        for ran, beside in zip(with_, without, strict=True)
    ]
    cpu = 100 * sum(sum(each.values()) for each in extra) / (whole * cores)
    last, embedding = with_[-1].figures, min(each.embedding_seconds for each in with_)
    tasks = max(each.figures["task_runs"] for each in with_)
    return {
        "documents": last["documents"],
        "tokens": last["tokens"],
        "shards": last["shards"],
        "task_runs": tasks,
        "embedding_minutes": round(embedding / 60, 1),
        "seconds_without": [round(each.seconds, 1) for each in without],
        "seconds_with": [round(each.seconds, 1) for each in with_],
        "until_it_ran": round(statistics.median(each.figures["until_it_ran"] for each in with_), 1),
        "wall_share_percent": round(wall, 2),
        "processor_share_percent": round(cpu, 2),
        "processor_seconds": extra,
        "server_mb": [each.figures["server_mb"] for each in with_],
        "database_kb": [each.figures["database_kb"] for each in with_],
        "turns": {"without": [each.figures for each in without], "with": [each.figures for each in with_]},
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
    memory, database, spent = found["server_mb"][-1], found["database_kb"][-1], found["processor_seconds"][-1]
    return [
        ("the run", f"{found['documents']:,} documents, {found['tokens']:,} tokens, {found['shards']} shards, "
         f"{found['embedding_minutes']} minutes of embedding"),
        (f"task runs (target: at most {TASK_RUNS})", str(found["task_runs"])),
        ("seconds without Prefect", ", ".join(f"{value:,.0f}" for value in found["seconds_without"])),
        ("seconds with it, the start by the worker included",
         ", ".join(f"{value:,.0f}" for value in found["seconds_with"]) + f"; {found['until_it_ran']} until it ran"),
        (f"share of the wall time (target: at most {SHARE:g} %)", f"{found['wall_share_percent']} %"),
        (f"share of the processors (target: at most {SHARE:g} %)", f"{found['processor_share_percent']} %"),
        ("processor seconds: server; worker; more in the run's own process",
         f"{spent['server']}; {spent['worker']}; {spent['run']}"),
        ("server memory before / after / at most", f"{memory['before']} / {memory['after']} / {memory['most']} MB"),
        ("server database before / after", f"{database['before']:,} / {database['after']:,} kB"),
        ("targets missed", ", ".join(k for k, v in found["targets"].items() if v.startswith("MISSED")) or "none"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
