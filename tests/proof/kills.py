#!/usr/bin/env python3
"""SIGKILL an ingest at random moments, then let it finish: the index must equal a clean build.

    tests/proof/kills.py --kills 50 --queries q.jsonl FOLDER…      (--seed replays the moments)

Without folders: made-up text, and questions cut out of it. Everything is the real thing: the installed command,
the real model, real files, kill -9. Prints one JSON object; exits 1 if a hit differs, if `verify` finds anything,
or if the killed runs made no progress.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from corpus import made_up

COMMAND = [sys.executable, "-m", "penstock.flows.cli"]


def penstock(*words: str, check: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
    if done.returncode not in check:
        sys.exit(
            f"penstock {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]} {done.stdout[-2000:]}"
        )
    return done.stdout


def hits(home: Path, queries: Path) -> list[dict[str, Any]]:
    """Every query's hits, scores to five decimals."""
    lines = penstock("search", "--home", str(home), "--queries", str(queries), "-k", "10", "--json").splitlines()
    answers = [json.loads(line) for line in lines]
    for answer in answers:
        for hit in answer["hits"]:
            hit["score"] = round(hit["score"], 5)
    return answers


def made_up_corpus(work: Path) -> tuple[list[Path], Path]:
    """A folder of about 1 MB, and a question for every tenth document."""
    folder, queries = work / "corpus", work / "queries.jsonl"
    folder.mkdir()
    made_up(folder, 1.0)
    texts = [path.read_text()[100:220] for path in sorted(folder.iterdir())[::10]]
    queries.write_text("".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    return [folder], queries


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--queries", type=Path, help="JSON lines with _id and text")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--latest", type=float, default=12.0, help="kill at most this many seconds after the start")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="penstock-kills-"))
    if not options.folders:
        options.folders, options.queries = made_up_corpus(work)
    if options.queries is None:
        parser.error("--queries goes with folders")
    folders = [str(folder.resolve()) for folder in options.folders]
    started = time.monotonic()

    clean = json.loads(penstock("ingest", *folders, "--home", str(work / "clean"), "--json"))
    versions, killed_after = [], []
    for _ in range(options.kills):
        run = subprocess.Popen(
            [*COMMAND, "ingest", *folders, "--home", str(work / "killed")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait = dice.uniform(0.05, options.latest)
        try:
            run.wait(wait)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
        killed_after.append(round(wait, 2))
        if (work / "killed" / "replicas").exists():
            status = json.loads(penstock("status", "--home", str(work / "killed"), "--json", check=(0, 2, 3)))
            versions.append(status.get("version", 0))
    last = json.loads(penstock("ingest", *folders, "--home", str(work / "killed"), "--json"))
    same = hits(work / "clean", options.queries) == hits(work / "killed", options.queries)
    whole = subprocess.run([*COMMAND, "verify", "--home", str(work / "killed")], capture_output=True).returncode == 0
    left = [path.name for path in (work / "killed" / "spool").glob("shard-*")]
    result = {
        "seed": seed,
        "kills": options.kills,
        "killed_after_seconds": killed_after,
        "versions_after_each_kill": versions,
        "documents": clean["indexed"],
        "left_for_the_last_run": last["indexed"],
        "tokens_clean": clean["tokens"],
        "tokens_last_run": last["tokens"],
        "hits_equal": same,
        "verify_ok": whole,
        "spool_left": left,
        "seconds": round(time.monotonic() - started, 1),
    }
    progressed = last["indexed"] < clean["indexed"]
    print(json.dumps(result | {"progressed": progressed}))
    shutil.rmtree(work)
    return 0 if same and whole and progressed and not left else 1


if __name__ == "__main__":
    sys.exit(main())
