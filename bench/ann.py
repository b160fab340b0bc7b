#!/usr/bin/env python
"""Recall, speed, memory and build time of an index that was made and merged through the library, on one thread.

    bench/ann.py [TEXTS ...] [--vectors N,N,...] [--queries N] [--noise X] [--embeddings FILE.npy] [--json]

Vectors are real embeddings of TEXTS (folders, JSON Lines; without any: the bundled examples and made-up text) plus
seeded noise: see bench/vectors.py. A tenth of the embeddings is kept out of the index, and queries are made of those,
as the vectors are. `--embeddings` keeps the embeddings in a file, and uses them from there the next time.

For each size: segments of 16,384 vectors with their rows are built and put into a local store; a quantizer is trained
on a sample; all are merged into one flat and one IVF segment. Then fresh processes with one thread each measure:

    exact     FAISS's IndexFlatIP on the same vectors in memory, one query at a time, and all queries as one batch
    flat      the merged flat segment, held in memory, and streamed from its file (no memory for vectors)
    ivf       the merged IVF segment: recall@10 against `exact`, queries one at a time

`open_to_first_query_s` is from before the segment is opened to the first answers, rows included, `import` the time to
import numpy, FAISS and penstock before that; the file is in the page cache, as it was just written. `rss_anon` is the
process's anonymous memory when all queries are done, `first_100_ms` the mean of the first hundred queries, which verify
what they touch, `query_ms` that of the second round of all queries. Where something else keeps the machine busy, the
`cpu` figures say what an idle one would do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

K = 10
SHARD = 16_384
CHUNKS = 4
"""Rows of one document."""


def main() -> int:
    args = _arguments()
    if args.child:
        print(json.dumps(_measure(json.loads(args.child))))
        return 0
    import vectors

    real = _embeddings(args.embeddings, lambda: vectors.real(args.texts, args.real))
    kept_out, base = real[::10], np.delete(real, np.s_[::10], axis=0)
    found = []
    for size in args.vectors:
        with tempfile.TemporaryDirectory(dir=args.work) as scratch:
            queries = next(vectors.noisy(kept_out, args.queries, args.noise, seed=1))
            figures = _one(Path(scratch), vectors.noisy(base, size, args.noise), size, queries)
            found.append({"vectors": size, "noise": args.noise, "embeddings": len(base), **figures})
            print(json.dumps(found[-1]) if args.json else _lines(found[-1]), flush=True)
    return 0


def _one(scratch: Path, blocks: Iterator[NDArray[np.float32]], size: int, queries: NDArray[np.float32]) -> Any:
    """All figures of one size."""
    np.save(scratch / "queries.npy", queries)
    built = Built(scratch)
    figures = built.make(blocks, size)
    ask = {"scratch": str(scratch), "count": size}
    exact = _child(ask | {"way": "exact"})
    truth = np.load(scratch / "truth.npy")
    figures["exact"] = exact
    for way, kind in (("flat", "flat"), ("flat_streamed", "flat"), ("ivf", "ivf")):
        figures[way] = _child(ask | {"way": way, "refs": built.refs[kind]})
        got = np.load(scratch / "got.npy")
        figures[way]["recall_at_10"] = round(float(_recall(got, truth)), 4)
        figures[way]["index_bytes"] = built.sizes[kind]
        figures[way]["rss_anon_share"] = round(figures[way]["rss_anon"] / built.sizes[kind], 3)
    ivf = figures["ivf"]
    figures["ivf_speedup_over_exact"] = {
        "clock": round(exact["query_ms"] / ivf["query_ms"], 1),
        "cpu": round(exact["query_cpu_ms"] / ivf["query_cpu_ms"], 1),
        "batched_cpu": round(exact["batched_cpu_ms"] / ivf["query_cpu_ms"], 1),
    }
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return figures


def _recall(got: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(got, truth, strict=True)]
    return sum(shared) / truth.size


class Built:
    """A store below `scratch`, with one merged segment of each kind. `refs`: their refs as JSON; `sizes`: bytes."""

    def __init__(self, scratch: Path) -> None:
        from penstock.index.store import LocalStore

        numbers = iter(range(1 << 40))
        self._store = LocalStore.create(scratch / "store", token=lambda: f"t{next(numbers)}")
        self._work = scratch / "work"
        self._work.mkdir()
        self.refs: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}

    def make(self, blocks: Iterator[NDArray[np.float32]], size: int) -> dict[str, Any]:
        """Build, train, merge; return how many seconds each took."""
        from penstock.index import quantizer
        from penstock.index.segment import Segment

        timed: dict[str, Any] = {}
        refs = self._timed(timed, "build_s", lambda: self._shards(blocks))
        opened = [Segment(ref, [self._store], print) for ref in refs]
        sample = quantizer.sample(opened, quantizer.sample_size(size))
        for segment in opened:
            segment.close()
        timed["lists"] = quantizer.lists(size)
        trained, path = self._timed(timed, "train_s", lambda: quantizer.train(sample, size, self._work, "txn"))
        self._put({trained.ref.name: path})
        self._timed(timed, "merge_flat_s", lambda: self._merge("flat", refs, None))
        self._timed(timed, "merge_ivf_s", lambda: self._merge("ivf", refs, trained))
        timed["peak_rss_bytes"] = _status("VmHWM")
        return timed

    def _shards(self, blocks: Iterator[NDArray[np.float32]]) -> list[Any]:
        from penstock.index import segment
        from penstock.index.types import Row

        refs, first = [], 0
        for number, block in enumerate(blocks):
            rows = (
                Row(f"{n:09d}", f"made/{n // CHUNKS}-{number}", f"The text of chunk {n}.", 0, 20, 6)
                for n in range(first, first + len(block))
            )
            ref, files = segment.build(self._work, f"s{number}", block, rows, "txn", provenance={})
            self._put(files)
            refs.append(ref)
            first += len(block)
        return refs

    def _merge(self, kind: str, refs: Sequence[Any], trained: Any) -> None:
        import msgspec

        from penstock.index.merge import merge

        merged = merge(refs, [self._store], self._work, "txn", kind, quantizer=trained, report=print)
        assert merged is not None
        self._put(merged.files)
        ref = merged.ref
        blobs = [blob for blob in (ref.index, ref.vectors, ref.rows, ref.docs, ref.facets, ref.quantizer) if blob]
        self.sizes[kind] = sum(blob.size for blob in blobs)
        self.refs[kind] = [msgspec.to_builtins(ref)]

    def _put(self, files: dict[str, Path]) -> None:
        for name, path in files.items():
            self._store.put_if_absent(f"blobs/{name[:2]}/{name}", path)
            path.unlink()

    def _timed(self, into: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        into[name] = round(time.perf_counter() - started, 1)
        return result


def _child(ask: dict[str, Any]) -> Any:
    """Run `_measure` in a fresh process with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, __file__, "--child", json.dumps(ask)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def _measure(ask: dict[str, Any]) -> dict[str, Any]:
    """One way to search, measured in this process; what it found goes to a file."""
    scratch = Path(ask["scratch"])
    queries = np.load(scratch / "queries.npy")
    if ask["way"] == "exact":
        return _measure_faiss(scratch, ask["count"], queries)
    started = time.perf_counter()
    import faiss
    import msgspec

    from penstock.index import search
    from penstock.index.segment import Segment, VectorMemory
    from penstock.index.store import LocalStore
    from penstock.index.types import SegmentRef

    faiss.omp_set_num_threads(1)
    imported = time.perf_counter()
    store = LocalStore(scratch / "store", token=lambda: "none")
    memory = VectorMemory({"flat": 1 << 40}.get(ask["way"], 0))
    refs = msgspec.convert(ask["refs"], list[SegmentRef])
    segments = [Segment(ref, [store], print, memory) for ref in refs]

    def one(query: NDArray[np.float32]) -> list[int]:
        return [int(match.row.chunk_id) for match in search.top_k(segments, query[None], K)[0]]

    one(queries[0])
    opened = time.perf_counter()
    first, _ = _mean(one, queries[:100])
    got: list[list[int]] = []
    steady, steady_cpu = _mean(lambda query: got.append(one(query)), queries)
    np.save(scratch / "got.npy", np.array(got))
    return {
        "import_s": round(imported - started, 2),
        "open_to_first_query_s": round(opened - imported, 2),
        "first_100_ms": round(first, 2),
        "query_ms": round(steady, 2),
        "query_cpu_ms": round(steady_cpu, 2),
        "queries_per_second": round(1000 / steady, 1),
        "rss_anon": _status("RssAnon"),
    }


def _measure_faiss(scratch: Path, count: int, queries: NDArray[np.float32]) -> dict[str, Any]:
    """Plain FAISS over all vectors of the flat segment: the truth, and the speed to beat."""
    import faiss

    faiss.omp_set_num_threads(1)
    names = sorted(scratch.joinpath("store").rglob("blobs/*/*"), key=lambda path: path.stat().st_size)
    index = faiss.read_index(str(next(path for path in reversed(names) if _is_flat(path, count))))
    np.save(scratch / "truth.npy", index.search(queries, K)[1])
    batched, batched_cpu = _mean(lambda all_of_them: index.search(all_of_them, K), [queries])
    single, single_cpu = _mean(lambda query: index.search(query[None], K), queries)
    return {
        "query_ms": round(single, 2),
        "query_cpu_ms": round(single_cpu, 2),
        "batched_ms": round(batched / len(queries), 2),
        "batched_cpu_ms": round(batched_cpu / len(queries), 2),
        "queries_per_second": round(1000 / single, 1),
    }


def _is_flat(path: Path, count: int) -> bool:
    head = path.open("rb").read(16)
    return head[:4] == b"IxFI" and int.from_bytes(head[8:16], "little") == count


def _mean(work: Callable[[Any], Any], items: Sequence[Any] | NDArray[Any]) -> tuple[float, float]:
    """Milliseconds for each item, by the clock and of this process's time on a CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    for item in items:
        work(item)
    return (time.perf_counter() - clock) * 1000 / len(items), (time.process_time() - cpu) * 1000 / len(items)


def _status(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def _embeddings(file: Path | None, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    if file is None or not file.exists():
        made = make()
        if file is not None:
            np.save(file, made)
        return made
    kept: NDArray[np.float32] = np.load(file)
    return kept


def _lines(figures: dict[str, Any]) -> str:
    flat = []
    for name, value in figures.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat += [f"{f'{name}.{key}'.rstrip('.'):45} {figure}" for key, figure in inner]
    return "\n".join([*flat, ""])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="*", help="folders of .txt and .md, or JSON Lines with text")
    parser.add_argument("--vectors", type=_sizes, default=[1_000_000], help="sizes, with commas (default 1000000)")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.7, help="longest noise, as a share of a vector (default 0.7)")
    parser.add_argument("--real", type=int, default=6000, help="real embeddings at most (default 6000)")
    parser.add_argument("--embeddings", type=Path, help="a file to keep them in")
    parser.add_argument("--work", type=Path, help="a folder on a disk with room for four times the vectors")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
