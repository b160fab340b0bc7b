#!/usr/bin/env python3
"""What keeping an index safe costs: commits, scrubbing, repair, and searching while things are broken.

    bench/reliability.py [--vectors 24000] [--commits 12] [--json]

Made-up vectors (384 wide) and texts of about 800 characters; local replicas on one disk; the library as it is in
production. Scores are compared with brute force over the same vectors, so recall is measured and not assumed.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.index.care.repair import repair
from penstock.index.care.verify import verify
from penstock.index.commits.commit import Delta, Writer
from penstock.index.reading.reader import Reader
from penstock.index.stores.store import LocalStore
from penstock.index.types import DocState, Row, SourceState

DIM, PER_DOCUMENT, K = 384, 8, 10
TEXT = "Water is brought to the turbine at exactly the pace that the turbine can take. " * 10
QUERIES = 64


class Index:
    """An index of N local replicas below a folder, and all vectors that are in it."""

    def __init__(self, root: Path, replicas: int, write_quorum: int) -> None:
        self.root, self.vectors = root, np.zeros((0, DIM), np.float32)
        self.stores = {str(n): LocalStore(root / "replicas" / str(n), token=_token) for n in range(replicas)}
        self.options: dict[str, Any] = {
            "write_quorum": write_quorum,
            "workdir": root / "work",
            "clock": time.time,
            "token": _token,
            "report": lambda _: None,
        }
        self.catalog = f"sqlite:///{root / 'catalog.db'}"

    def writer(self) -> Writer:
        return Writer.create(self.catalog, self.stores, **self.options)

    def commit(self, writer: Writer, count: int, dice: np.random.Generator) -> float:
        """Commit `count` new vectors; return the seconds that it took."""
        made = dice.standard_normal((count, DIM), np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        first = len(self.vectors)
        self.vectors = np.concatenate([self.vectors, made])
        delta = _delta(writer.head().version, made, first)
        started = time.perf_counter()
        writer.commit(delta)
        return time.perf_counter() - started

    def bytes(self, replica: str) -> int:
        return sum(path.stat().st_size for path in (self.root / "replicas" / replica).rglob("*") if path.is_file())

    def scrub(self) -> int:
        """How many findings `verify` has."""
        return len(verify(self.stores, self.catalog, report_progress=lambda *_: None))

    def repair(self) -> None:
        done = repair(self.catalog, self.stores, report_progress=lambda *_: None, **self.options)
        if not done.whole:
            sys.exit(f"repair did not make the replicas whole: {done}")


def _token() -> str:
    return uuid.uuid4().hex


def _delta(version: int, vectors: NDArray[np.float32], first: int) -> Delta:
    uris = [f"s/{(first + n) // PER_DOCUMENT:08d}" for n in range(len(vectors))]
    rows = [
        Row(f"{uri}#{first + n}", uri, f"{first + n} {TEXT}", 0, len(TEXT), 200, title=uri)
        for n, uri in enumerate(uris)
    ]
    states = [
        DocState(uri, "s", "indexed", "1", uri, chunks=uris.count(uri), tokens=200)
        for uri in dict.fromkeys(uris[i] for i in range(0, len(uris), PER_DOCUMENT))
    ]
    source = {"s": SourceState("s", "made-up", "/nowhere")}
    return Delta(
        version, states, vectors, lambda: iter(rows), sources=source, identity={"weights": "made-up"}, dim=DIM
    )  # fmt: skip


def commits(work: Path, count: int, vectors: int, dice: np.random.Generator) -> dict[str, Any]:
    """Seconds of a commit of a shard's worth of vectors, by number of replicas."""
    figures: dict[str, Any] = {"commit_vectors": vectors}
    for replicas, quorum in ((1, 1), (2, 2), (3, 2)):
        index = Index(work / f"commits{replicas}", replicas, quorum)
        with index.writer() as writer:
            index.commit(writer, PER_DOCUMENT, dice)  # the first one makes things
            took = sorted(index.commit(writer, vectors, dice) for _ in range(count))
        figures[f"commit_n{replicas}_p50_s"] = round(statistics.median(took), 3)
        figures[f"commit_n{replicas}_p99_s"] = round(took[math.ceil(0.99 * len(took)) - 1], 3)
        shutil.rmtree(index.root)
    return figures


def searching(
    index: Index, reader: Reader, until: Callable[[int], bool], dice: np.random.Generator
) -> Mapping[str, float]:
    """Recall against brute force and queries per second, one query at a time, while `until(asked)` is False."""
    queries = dice.standard_normal((QUERIES, DIM), np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = np.argsort(-(queries @ index.vectors.T), axis=1)[:, :K]
    right = asked = 0
    started = time.perf_counter()
    while not until(asked):
        at = asked % QUERIES
        hits = reader.search(queries[at : at + 1], K)[0]
        right += len({int(hit.chunk_id.rsplit("#", 1)[1]) for hit in hits} & set(exact[at].tolist()))
        asked += 1
    took = time.perf_counter() - started
    return {"recall": round(right / (asked * K), 4) if asked else 0.0, "qps": round(asked / took, 1), "queries": asked}


def broken(work: Path, vectors: int, dice: np.random.Generator) -> dict[str, Any]:
    """Scrub, repair, and searching: healthy, with a replica gone, and while it is made again."""
    index = Index(work / "broken", 2, 2)
    with index.writer() as writer:
        for _ in range(6):
            index.commit(writer, vectors // 6 // PER_DOCUMENT * PER_DOCUMENT, dice)
    size = index.bytes("0")
    figures: dict[str, Any] = {"index_vectors": len(index.vectors), "replica_bytes": size}
    started = time.perf_counter()
    if index.scrub():
        sys.exit("a healthy index has findings")
    figures["scrub_gb_min"] = round(2 * size / 1e9 / (time.perf_counter() - started) * 60, 2)

    def enough(asked: int) -> bool:
        return asked >= 2 * QUERIES

    with Reader.open(index.root, report=lambda _: None) as reader:
        figures["healthy"] = searching(index, reader, enough, dice)
    shutil.rmtree(index.root / "replicas" / "0")
    with Reader.open(index.root, report=lambda _: None) as reader:
        figures["one_down"] = searching(index, reader, enough, dice)
        done = threading.Event()
        took: list[float] = []

        def mend() -> None:
            started = time.perf_counter()
            try:
                index.repair()
            finally:
                took.append(time.perf_counter() - started)
                done.set()

        thread = threading.Thread(target=mend)
        thread.start()
        figures["during_repair"] = searching(index, reader, lambda _: done.is_set(), dice)
        thread.join()
    shutil.rmtree(index.root / "replicas" / "0")
    started = time.perf_counter()
    index.repair()
    figures["repair_s_per_gb"] = round((time.perf_counter() - started) / (size / 1e9), 1)
    figures["repair_while_searched_s_per_gb"] = round(took[0] / (size / 1e9), 1)
    if index.scrub():
        sys.exit("a repaired index has findings")
    started = time.perf_counter()
    index.writer().close()
    figures["open_s"] = round(time.perf_counter() - started, 3)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=24000, help="of the index that is broken and mended")
    parser.add_argument("--commits", type=int, default=12, help="for each number of replicas")
    parser.add_argument("--commit-vectors", type=int, default=4096, help="about a minute of embedding on two cores")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    dice = np.random.default_rng(options.seed)
    work = Path(tempfile.mkdtemp(prefix="penstock-reliability-"))
    try:
        figures = commits(work, options.commits, options.commit_vectors, dice) | broken(work, options.vectors, dice)
    finally:
        shutil.rmtree(work)
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
