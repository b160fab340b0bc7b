#!/usr/bin/env python3
"""Damage files of a home, one at a time or one in each replica, thousands of times if there is time for it.

    python -m tests.proof.damage --seconds 60 [--seed N] [--json]

Each time: `verify` must say that something is wrong, a reader must answer as before, repair must mend it, and then
`verify` must find nothing and the reader still answer as before. Exits 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from penstock.index.reading.reader import Reader
from tests.index.world import delta, vector
from tests.proof import damage_kinds
from tests.proof.homes import Home

QUERIES = np.array([vector("s/query", str(n)) for n in range(8)])
BOTH = "a different blob of each replica"


def made(root: Path) -> None:
    """A home with every kind of file: updates, deletions, failures, and several state runs."""
    with Home(root).create() as writer:
        writer.commit(delta(0, {f"s/{n}": f"one two{n}" for n in range(9)}))
        writer.commit(delta(1, {"s/1": "changed here", "s/2": None, "s/new": "more"}))
        writer.commit(delta(2, {"s/3": "x", "s/odd": "y"}, status="failed"))
        writer.commit(delta(3, {"s/4": "x"}, status="rejected"))
        writer.commit(delta(4, {"s/5": "last words of all"}))


def answers(home: Path) -> list[list[tuple[str, float]]]:
    with Reader.open(home, report=lambda _: None) as reader:
        return [[(hit.chunk_id, hit.score) for hit in hits] for hits in reader.search(QUERIES, 10)]


def hurt(kind: str, home: Path, dice: random.Random) -> str:
    """Do it to one file, or to one of each replica; return what was done."""
    replicas = sorted((home / "replicas").iterdir())
    if kind == BOTH:
        names = sorted(path.relative_to(replicas[0]) for path in damage_kinds.by_kind(replicas[0])["blobs"])
        chosen = dice.sample(names, 2)
        for replica, name in zip(replicas, chosen, strict=True):
            damage_kinds.FILE[dice.choice(sorted(damage_kinds.FILE))](replica / name, dice)
        return f"{kind}: {', '.join(map(str, chosen))}"
    files = damage_kinds.by_kind(dice.choice(replicas))
    victim = dice.choice(files[dice.choice(sorted(files))])
    damage_kinds.FILE[kind](victim, dice)
    return f"{kind} {victim.relative_to(home)}"


def campaign(work: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Damage copies of one home until the time is up."""
    dice, counts, wrong = random.Random(seed), Counter[str](), []
    made(work / "made")
    wanted = answers(work / "made")
    kinds = [*damage_kinds.FILE, BOTH]
    ends, turn, detected = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends or turn < len(kinds):
        kind = kinds[turn % len(kinds)]
        turn += 1
        home = work / "home"
        shutil.copytree(work / "made", home)
        try:
            done = hurt(kind, home, dice)
            counts[kind] += 1
            seen = bool(Home(home).findings())
            detected += seen
            faults = {
                "it was not detected": not seen,
                "a reader answered otherwise": answers(home) != wanted,
                "repair did not make it whole": not Home(home).repair().whole,
            }
            left = Home(home).findings()
            faults |= {
                f"after repair: {left[:3]}": bool(left),
                "after repair a reader answered otherwise": answers(home) != wanted,
            }
            wrong += [f"{done}: {what}" for what, so in faults.items() if so]
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {error}")
        shutil.rmtree(home)
        if len(wrong) > 20:
            break
    return {"damaged": turn, "detected": detected, "by_kind": dict(sorted(counts.items())), "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = Path(tempfile.mkdtemp(prefix="penstock-damage-"))
    try:
        result = {"seed": seed, **campaign(work, options.seconds, seed)}
    finally:
        shutil.rmtree(work)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 1 if result["wrong"] or result["detected"] < result["damaged"] else 0


if __name__ == "__main__":
    sys.exit(main())
