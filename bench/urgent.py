#!/usr/bin/env python
"""Urgent documents beside a backfill: how long until each is found, and what it costs the backfill.

    bench/urgent.py [--minutes 10] [--urgents 10] [--texts FOLDER] [--scratch DIR] [--json] [--page FILE]

A real Prefect server, a worker that is up, and a project folder deployed with `penstock deploy`. A short ingest of the
same kind of text says how much text is so many minutes of embedding (a fifth more is taken). Then a flow run of
`penstock-backfill/backfill` over all of it, into a fresh home, and while it embeds one urgent document after the other,
at even distances, alternately by the command `penstock ingest --urgent PATH` and as a run of the deployment
`penstock-urgent/urgent`.

    until found  from when the command is started, or the run is asked for, until a `Reader` in this process that
                 refreshes itself finds the document: start of a process, parsing, waiting, embedding, commit
    loss         of the backfill's throughput: for each urgent document the tokens that the backfill embedded from
                 when it was submitted until five seconds after its run was over, against the rate of the fifteen
                 seconds before and after; the seconds that are lacking, all together, as a share of the seconds from
                 the first batch to the last. So what the urgent runs cost in all, the start of their processes included

Against the same backfill alone it cannot be measured here: a rented machine is a quarter faster or slower ten minutes
later, and the loss is a few per cent. What is compared is half a minute apart, ten times. What would slow down all that
comes after cannot be seen so: `around_it` of each urgent document, in order, would fall.

Text: `--texts`, a folder such as `bench/texts FOLDER --megabytes 40` makes; what it lacks, or all of it, is made up of
words of this project's documents, never twice the same. Progress is on stderr, every half minute. Exits 1 if a target
was missed, 2 if it could not be measured. With all around it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures
import invented
import machine
import numpy as np
import service
from numpy.typing import NDArray
from service import Broke, Progress, Service
from urgent_figures import Turn, Urgent, read, report, rows

CHARACTERS = 9_000
"""Of a made-up document."""
MORE = 1.2
"""So much more text than the rate says, as the rate is that of a short run."""
PATIENCE = 600.0
"""Seconds that an urgent document may take; after that it counts as never found."""
_POLL = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of embedding (default: 10)")
    parser.add_argument("--urgents", type=int, default=10, help="urgent documents in a turn (default: 10)")
    parser.add_argument("--texts", type=Path, metavar="FOLDER", help="text files for the backfill")
    return service.carried_out("urgent", parser, measure, rows)


def measure(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, one after the other."""
    found: dict[str, Any] = {"machine": machine.described(), "load_before": machine.load()}
    texts, batches = scratch / "texts", scratch / "batches.txt"
    texts.mkdir()
    samples = given(args.texts, scratch, 60)
    config = service.project(scratch / "first", texts, "backfill")
    seen = {"BENCH_BATCHES": str(batches), "PYTHONPATH": str(Path(__file__).resolve().parent)}
    with service.started(scratch / "prefect", config, seen) as up:
        rate, density = service.calibrated(scratch, samples, up.environment)
        size = 60 * args.minutes * MORE * rate / density
        machine.say(f"{rate:,.0f} tokens/s here: {size / 1e6:.1f} MB of text for {args.minutes:g} minutes")
        found["text"] = gathered(args.texts, texts, size)
        disturbed = turn(up, scratch / "disturbed", texts, written(args.urgents), args.minutes)
    return found | report(disturbed, read(batches), args.minutes)


def given(folder: Path | None, scratch: Path, count: int) -> list[Path]:
    """Some texts of the kind that is measured, spread over all there are."""
    files = files_of(folder)
    if not files:
        invented.write(scratch / "samples", count, CHARACTERS, first=500_000)
        return sorted((scratch / "samples").iterdir())
    return files[:: max(1, len(files) // count)][:count]


def files_of(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted(file for file in folder.rglob("*.txt") if file.is_file())


def gathered(folder: Path | None, texts: Path, size: float) -> dict[str, Any]:
    """Put so many bytes of text into `texts`: first what is given, then what is made up."""
    taken = files = made = 0
    for file in files_of(folder):
        if taken >= size:
            break
        taken += (texts / f"given-{files:06d}.txt").write_bytes(file.read_bytes())
        files += 1
    if taken < size:
        made = round((size - taken) / CHARACTERS) + 1
        taken += invented.write(texts, made, CHARACTERS)
    return {"megabytes": round(taken / 1e6, 2), "files_given": files, "files_made_up": made}


def written(count: int) -> list[Urgent]:
    """Urgent documents that nothing else resembles, and their vectors, made in a process that then is gone."""
    invents = invented.inventor()
    texts = [invents.document(900_000 + number, 700) for number in range(count)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        vectors = pool.submit(embedded, texts).result(timeout=600)
    ways = ("command", "deployment")
    return [
        Urgent(f"urgent-{number:03d}.txt", ways[number % 2], text, vector)
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]


def embedded(texts: list[str]) -> NDArray[np.float32]:
    """float32 (n, d), of texts as questions."""
    from penstock.embed.engine import encoder

    return encoder.load().encode_queries(texts)


def turn(up: Service, folder: Path, texts: Path, urgents: list[Urgent], minutes: float) -> Turn:
    """One backfill into a fresh home. Raises `Broke` if it did not end complete."""
    documents = sum(1 for _ in texts.iterdir())
    config = service.project(folder, texts, "backfill")
    up.deploy(config)
    up.redeploy("penstock-backfill", "backfill", "batches:backfill")
    machine.say(f"backfill of {documents:,} documents, {len(urgents)} urgent ones; load {machine.load()}")
    progress = Progress(folder / "home")
    backfill = up.submit("penstock-backfill", "backfill", {"sources": ["texts"]})
    try:
        disturb(up, backfill, urgents, texts / "urgent", config, progress, minutes)
        run = up.until_final(backfill, 60 * (4 * minutes + 15), progress)
    finally:
        progress.close()
        shutil.rmtree(texts / "urgent", ignore_errors=True)
    index = service.indexed(folder / "home")
    message = run["state"]["message"] or ""
    arrived = sum(urgent.seconds is not None for urgent in urgents)
    whole = index["documents"] == documents + arrived and not index["others"]
    if run["state_name"] != "Completed" or not figures.adds_up(message) or not whole:
        raise Broke(f"the backfill ended {run['state_name']}: {message}; the index has {index}; {up.logs()}")
    tasks = up.tasks(backfill)
    shutil.rmtree(folder)
    return Turn(run, figures.shards(tasks), index, urgents)


def disturb(
    up: Service, backfill: str, urgents: list[Urgent], folder: Path, config: Path, progress: Progress, minutes: float
) -> None:
    """One urgent document after the other, from the first commit of the backfill on."""
    began = time.monotonic()
    while progress.version() == 0:
        if up.run(backfill)["state_type"] not in ("SCHEDULED", "PENDING", "RUNNING"):
            raise Broke(f"the backfill ended before anything was committed; {up.logs()}")
        if time.monotonic() - began > PATIENCE:
            raise Broke(f"the backfill committed nothing within {PATIENCE:.0f} s; {up.logs()}")
        time.sleep(1)
    folder.mkdir()
    first, distance = time.monotonic(), 60 * minutes * 0.85 / len(urgents)
    for number, urgent in enumerate(urgents):
        time.sleep(max(0.0, first + number * distance - time.monotonic()))
        if up.run(backfill)["state_type"] != "RUNNING":
            urgent.problem = "the backfill was over before it was its turn"
            machine.say(f"{urgent.name}: {urgent.problem}")
            continue
        submit(up, urgent, folder / urgent.name, config, progress)
        took = f"found after {urgent.seconds:.1f} s" if urgent.seconds is not None else "not found"
        machine.say(f"{urgent.name} by {urgent.way}: {took} {urgent.problem}; {progress()}")


def submit(up: Service, urgent: Urgent, path: Path, config: Path, progress: Progress) -> None:
    """One urgent document: from submission until it is found, then until its run is over."""
    path.write_text(urgent.text)
    urgent.submitted = time.time()
    assert progress.reader is not None
    began = time.monotonic()
    if urgent.way == "command":
        process = service.command("ingest", "--urgent", path, config=config, environment=up.environment)
        urgent.seconds = until_found(urgent, progress.reader, began)
        code, _ = service.answer(process, PATIENCE)
        urgent.problem = f"ended with {code}" if code else ""
    else:
        run = up.submit("penstock-urgent", "urgent", {"paths": [str(path)]})
        urgent.seconds = until_found(urgent, progress.reader, began)
        ended = up.until_final(run, PATIENCE)
        urgent.problem = "" if ended["state_name"] == "Completed" else f"ended {ended['state_name']}"
    urgent.over = time.time()


def until_found(urgent: Urgent, reader: Any, began: float) -> float | None:
    """Seconds since `began`; None if it was not found in time."""
    version = -1
    while time.monotonic() < began + PATIENCE:
        reader.refresh()
        if reader.version != version:
            version = reader.version
            (hits,) = reader.search(urgent.vector[None, :], k=5)
            if any(hit.uri.endswith(urgent.name) for hit in hits):
                return time.monotonic() - began
        time.sleep(_POLL)
    return None


if __name__ == "__main__":
    sys.exit(main())
