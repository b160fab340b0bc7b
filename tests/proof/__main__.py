#!/usr/bin/env python3
"""`make proof`: a bounded run of everything that proves the index, and the figures of docs/reliability.md.

    python -m tests.proof [--budget-minutes 28] [--only PART]… [--dry-run]

Seven parts take their time beside the budget, three quarters of an hour together: recovery and the demo of it,
Prefect (`screens` needs Chromium, `operations`, `zombie`), and sources (`sources` installs Debian packages where they
are missing and that is possible, and starts servers on loopback; `rough` is a source that misbehaves). With `--only`
the other parts' figures stay.

Each part is a command of its own (`--dry-run` prints them) that ends with one JSON object and exits 1 if a promise was
broken. The page is written from what they say; its figures are never typed. Exits 1 if any part does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proof import page

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Part:
    """`share` of the budget that it gets as {seconds}; 0: it takes what it takes, about `takes` seconds. `beside`: its
    time is not part of the budget, and what it does is shown."""

    name: str
    command: tuple[str, ...]
    share: float = 0.0
    takes: float = 0.0
    beside: bool = False


PARTS = (
    Part("sim", ("-m", "tests.sim", "--schedules", "1000000", "--seconds", "{seconds}", "--json"), share=0.30),
    Part("soak", ("-m", "tests.proof.soak", "--seconds", "{seconds}", "--json"), share=0.25),
    Part("servers", ("-m", "tests.proof.soak", "--servers", "--seconds", "{seconds}", "--json"), share=0.15),
    Part("power", ("-m", "tests.proof.power", "--seconds", "{seconds}", "--json"), share=0.15),
    Part("damage", ("-m", "tests.proof.damage", "--seconds", "{seconds}", "--json"), share=0.15),
    Part("mutations", ("-m", "tests.proof.mutations", "--json"), takes=300),
    Part("kills", ("tests/proof/kills.py", "--kills", "50"), takes=360),
    Part("cost", ("bench/reliability.py", "--json"), takes=120),
    Part("failover", ("bench/failover.py", "--json"), takes=60),
    Part("recovery", ("-m", "tests.proof.recovery"), takes=240, beside=True),
    Part("disaster", ("-m", "examples.disaster", "--at", ".demo-disaster", "--json"), takes=180, beside=True),
    Part("screens", ("-m", "tests.proof.screens", "--into", "docs/pictures", "--json"), takes=300, beside=True),
    Part("operations", ("-m", "tests.proof.operations"), takes=480, beside=True),
    Part("zombie", ("-m", "tests.proof.zombie"), takes=360, beside=True),
    Part("rough", ("-m", "tests.proof.rough", "--seconds", "120"), takes=600, beside=True),
    Part("sources", ("-m", "tests.proof.real", "--json"), takes=600, beside=True),
)


def run(part: Part, seconds: float) -> dict[str, Any]:
    """What the part said, with `exit` and `seconds`; `said` where it was no JSON."""
    command = [sys.executable, *(word.format(seconds=int(seconds)) for word in part.command)]
    started = time.monotonic()
    if not part.command[0].startswith("-") and not (ROOT / part.command[0]).exists():
        return {"exit": 1, "seconds": 0.0, "said": f"{part.command[0]} is not there"}
    try:
        ran = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=None if part.beside else subprocess.PIPE, text=True,
            timeout=2 * max(seconds, part.takes) + 600,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1" if part.share else "2")},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"exit": 124, "seconds": round(time.monotonic() - started, 1), "said": "it did not end"}
    said: dict[str, Any]
    try:
        said = json.loads(ran.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        said = {"said": (ran.stdout + (ran.stderr or ""))[-2000:]}
    return {**said, "exit": ran.returncode, "seconds": round(time.monotonic() - started, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-minutes", type=float, default=28.0)
    parser.add_argument("--only", action="append", choices=[part.name for part in PARTS], default=[])
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md")
    parser.add_argument("--keep", type=Path, help="a JSON file: results are added, and parts not run are taken from it")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    fixed = sum(part.takes for part in PARTS if not part.beside)
    left = max(60.0, options.budget_minutes * 60 - fixed)
    results: dict[str, Any] = {}
    if options.keep is not None and options.keep.exists():
        results = json.loads(options.keep.read_text())
    failed = []
    for part in PARTS:
        if options.only and part.name not in options.only:
            continue
        seconds = part.share * left
        if options.dry_run:
            print("python", *(word.format(seconds=int(seconds)) for word in part.command))
            continue
        print(f"── {part.name}: about {seconds or part.takes:.0f} s", flush=True)
        results[part.name] = run(part, seconds)
        if results[part.name]["exit"]:
            failed.append(part.name)
            print(f"FAILED: {json.dumps(results[part.name])[:3000]}", flush=True)
        if options.keep is not None:
            options.keep.write_text(json.dumps(results))
    if options.dry_run:
        return 0
    page.write(options.page, results)
    print(f"── {options.page} is written" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
