#!/usr/bin/env python
"""What Prefect costs: one large ingest as a deployed flow run on a real server and worker, and the same without.

    bench/orchestration.py [--documents 10000] [--minutes 10] [--turn 30] [--scratch DIR] [--json] [--page FILE]

So many documents of made-up text, never twice the same, of a size that so many minutes of embedding come out of it (a
short ingest says how fast this machine is; a tenth more is taken). Then both of these, into homes and slots of their
own, by turns of so many seconds: while one goes, all processes of the other stand. So the speed of the machine is the
same for both.

    without     `penstock ingest`, with no Prefect to be recorded at
    with        the run of a deployment, by a worker, the server beside it; server and worker go only while it goes

    wall share        (seconds with - seconds without) / seconds with, only those in which it went: from submission
                      until the run's end at the server, and from the command's start to its end
    processor share   processor seconds that only Prefect makes necessary / (seconds with * cores): all of the server,
                      the worker itself, and what the run's own process (without those that embed and parse) took more
                      than without; of processes that end, up to five seconds are not seen
    server memory     resident, of the server's processes: before the run, after it, and at most
    database          the server's SQLite files, before and after: what one run leaves there

What Prefect does every so often, and less often than a turn is long, is counted up to twice: clocks do not stand.
Progress is on stderr, every half minute. Exits 1 if a target was missed, 2 if it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
from figures import said
from service import Broke, Progress, Service
from turns import Turns

SHARE, TASK_RUNS = 2.0, 300
"""Targets: per cent of the wall time, task runs."""
MORE = 1.1
_PATIENCE = 6.0
"""Times the minutes of embedding that were meant: after that a run counts as stuck."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One ingest. `seconds`: while it went; `own`: processor seconds of its process, without embedding and parsing."""

    seconds: float
    own: float
    figures: dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of embedding (default: 10)")
    parser.add_argument("--turn", type=float, default=30.0, metavar="SECONDS", help="of each (default: 30)")
    return service.carried_out("orchestration", parser, measure, rows)


def measure(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, one after the other."""
    found: dict[str, Any] = {"machine": machine.described(), "load_before": machine.load()}
    texts = scratch / "texts"
    texts.mkdir()
    patience = 120 * (_PATIENCE * args.minutes + 10)
    with service.started(scratch / "prefect", service.project(scratch / "first", texts, "scheduled")) as up:
        made(scratch, texts, args, up)
        up.deploy(service.project(scratch / "with", texts, "scheduled"))
        machine.say(f"both by turns of {args.turn:g} s; load {machine.load()}")
        with ThreadPoolExecutor(2) as pool, Turns({"without": [], "with": [up.server, up.worker]}, args.turn) as turns:
            without = pool.submit(plainly, up, scratch / "without", texts, turns, patience)
            with_ = pool.submit(recorded, up, scratch / "with", texts, turns, patience)
            return found | report(without.result(), with_.result(), args)


def made(scratch: Path, texts: Path, args: argparse.Namespace, up: Service) -> None:
    """The documents, of a size that suits the machine."""
    invented.write(scratch / "samples", 250, 2100, first=500_000)
    rate, density = service.calibrated(scratch, sorted((scratch / "samples").iterdir()), up.environment)
    characters = max(200, round(60 * args.minutes * MORE * rate / density / args.documents))
    size = invented.write(texts, args.documents, characters)
    machine.say(f"{rate:,.0f} tokens/s here: {args.documents:,} documents of {characters:,} characters, "
                f"{size / 1e6:.1f} MB")  # fmt: skip


def plainly(up: Service, folder: Path, texts: Path, turns: Turns, patience: float) -> Ran:
    """`penstock ingest` without Prefect. Raises `Broke` if it did not end complete."""
    config = service.project(folder, texts, "scheduled")
    environment = service.alone(up.environment) | {"PENSTOCK_SLOTS": str(folder / "slots")}
    progress = Progress(folder / "home")
    ingest = partial(service.command, "ingest", config=config, environment=environment)
    with turns.going("without", ingest) as process:
        began = time.time()
        with family.Watch({"run": process.pid}) as watch:
            code, _ = service.answer(process, patience, lambda: f"without: {progress()}")
            seconds = turns.seconds("without", began, time.time())
    progress.close()
    if code:
        raise Broke(f"penstock ingest ended with {code}: {config.with_suffix('.log').read_text()[-1500:]}")
    spent = watch.by_kind("run")
    return Ran(seconds, spent.get("itself", 0.0), {"cpu": spent})


def recorded(up: Service, folder: Path, texts: Path, turns: Turns, patience: float) -> Ran:
    """The run of the deployment. Raises `Broke` if it did not end complete."""
    documents, before, progress = sum(1 for _ in texts.iterdir()), up.database(), Progress(folder / "home")
    with turns.going("with"), family.Watch({"server": up.server, "worker": up.worker}) as watch:
        began = time.time()
        flow_run = up.submit("penstock-ingest", "ingest-texts", {})
        run = up.until_final(flow_run, patience, lambda: f"with: {progress()}", look=10.0)
        ran, ended = (figures.moment(run[name]) for name in ("start_time", "end_time"))
        went = partial(turns.seconds, "with")
    progress.close()
    index, message = service.indexed(folder / "home"), run["state"]["message"] or ""
    if run["state_name"] != "Completed" or not figures.adds_up(message) or index["documents"] != documents:
        raise Broke(f"the run ended {run['state_name']}: {message}; the index has {index}; {up.logs()}")
    tasks, worker = up.tasks(flow_run), watch.by_kind("worker")
    found = {
        **index,
        "task_runs": len(tasks),
        "shards": figures.shards(tasks),
        "until_it_ran": round(went(began, ran), 1),
        "server_cpu_seconds": round(watch.cpu("server"), 1),
        "worker_cpu_seconds": round(watch.itself("worker"), 1),
        "server_mb": {"before": _mb(watch.first), "after": _mb(watch.last), "most": _mb(watch.peak)},
        "database_kb": {"before": before // 1000, "after": up.database() // 1000},
        "embedding_seconds": figures.embedding_seconds(tasks, went),
        "cpu": worker,
    }
    return Ran(went(began, ended), worker.get("flow", 0.0), found)


def _mb(held: dict[str, int]) -> int:
    return held["server"] // 1_000_000


def report(without: Ran, with_: Ran, args: argparse.Namespace) -> dict[str, Any]:
    """The figures that are printed."""
    last = with_.figures
    wall = 100 * (with_.seconds - without.seconds) / with_.seconds
    extra = {
        "server": last["server_cpu_seconds"],
        "worker": last["worker_cpu_seconds"],
        "run": round(max(0.0, with_.own - without.own), 1),
    }
    cpu = 100 * sum(extra.values()) / (with_.seconds * len(os.sched_getaffinity(0)))
    tasks, embedding = last["task_runs"], last["embedding_seconds"]
    return {
        "documents": last["documents"],
        "tokens": last["tokens"],
        "shards": last["shards"],
        "task_runs": tasks,
        "embedding_minutes": round(embedding / 60, 1),
        "seconds_without": round(without.seconds, 1),
        "seconds_with": round(with_.seconds, 1),
        "until_it_ran": last["until_it_ran"],
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
        ("seconds without Prefect", f"{found['seconds_without']:,.0f}"),
        ("seconds with it, the start by the worker included",
         f"{found['seconds_with']:,.0f}; {found['until_it_ran']} until it ran"),
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
