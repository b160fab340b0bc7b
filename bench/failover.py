#!/usr/bin/env python
"""How long a search takes while one replica is ill: p50, p99 and the longest, in milliseconds.

    bench/failover.py [--replicas N] [--rounds N] [--docs N] [--json]

Builds an index of its own, then for each illness (hung, slow, failing, missing, flipped, cut) opens readers, makes
the first replica ill before or after opening, and times opening, the first search, and further ones. Every answer is
compared with that of healthy replicas; a wrong one ends the run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from penstock.index import Reader
from penstock.index.blobs import blob
from penstock.index.stores.store import LocalStore
from tests.fakes.unwell import ILLNESSES, Unwell
from tests.index.world import DIM, World, delta

WORDS = ["gate", "water", "reservoir", "turbine", "pipe", "flow", "pressure", "valve"]


def build(root: Path, replicas: int, docs: int) -> World:
    home = World(root, replicas=replicas, write_quorum=replicas)
    writer = home.create()
    for base in range(4):
        made = {f"s/{base}-{n}": " ".join(itertools.islice(itertools.cycle(WORDS), n % 7 + 1)) for n in range(docs)}
        writer.commit(delta(base, made))
    writer.close()
    return home


def measure(home: World, illness: str, early: bool, rounds: int, expected: object) -> list[float]:
    """Seconds of each thing that a caller waits for."""
    queries = np.random.default_rng(0).standard_normal((1, DIM)).astype(np.float32)
    taken = []
    for _ in range(rounds):
        stores = [Unwell(LocalStore(home.folder(name), token=home.token)) for name in home.ids]
        stores[0].illness = illness if early else ""
        began = time.perf_counter()
        with Reader.open(*stores, report=lambda _: None) as reader:
            taken.append(time.perf_counter() - began)
            stores[0].illness = illness
            for _ in range(3):
                began = time.perf_counter()
                found = reader.search(queries, 10)
                taken.append(time.perf_counter() - began)
                if expected is not None and found != expected:
                    sys.exit(f"{illness}: another answer than that of healthy replicas")
        stores[0].cured.set()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--docs", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    blob._HELD = 0  # small blobs are else read when the reader opens, and nothing is left to be read from an ill store
    with tempfile.TemporaryDirectory() as folder:
        home = build(Path(folder) / "home", given.replicas, given.docs)
        queries = np.random.default_rng(0).standard_normal((1, DIM)).astype(np.float32)
        with Reader.open(home.root) as reader:
            expected = reader.search(queries, 10)
        everything: list[float] = []
        for illness in ("", *ILLNESSES):
            for early in (True, False):
                taken = measure(home, illness, early, given.rounds, expected)
                everything += taken if illness else []
                say(given.json, illness or "healthy", "before opening" if early else "while open", taken)
        say(given.json, "any illness", "any time", everything)


def say(as_json: bool, illness: str, when: str, taken: list[float]) -> None:
    figures = {name: round(1e3 * float(np.quantile(taken, at)), 1) for name, at in (("p50", 0.5), ("p99", 0.99))}
    figures["max"] = round(1e3 * max(taken), 1)
    if as_json:
        print(json.dumps({"illness": illness, "when": when, "n": len(taken), **figures}))
    else:
        print(f"{illness:12} {when:15} " + "  ".join(f"{name} {value:8.1f} ms" for name, value in figures.items()))


if __name__ == "__main__":
    main()
