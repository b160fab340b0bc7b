#!/usr/bin/env python
"""Recall, speed, memory and build time of an index that was made and merged through the library, on one thread.

    bench/ann.py [TEXTS ...] [--vectors N,N,...] [--queries N] [--noise X] [--embeddings FILE.npy] [--json]

Vectors are real embeddings of TEXTS (folders, JSON Lines; without any: the bundled examples and made-up text) plus
seeded noise: see bench/vectors.py. A tenth of the embeddings is kept out of the index, and queries are made of those,
as the vectors are. `--embeddings` keeps the embeddings in a file, and uses them from there the next time.

For each size a home is made with one replica, and the vectors with their rows are committed to it, 16,384 at a time.
What was committed is merged into one flat segment, and the home is compacted (`penstock.index.care.compact`, with the
training of the quantizer), which makes one IVF segment of it; where there are too few vectors for that, an IVF one is
made beside the home. Then fresh processes with one thread each measure:

    exact           FAISS's IndexFlatIP on the same vectors in memory, one query at a time, and all as one batch
    flat            the flat segment, held in memory
    flat_streamed   the same, with no memory for vectors: read from its file for each query
    ivf             the IVF segment: recall@10 against what `flat` finds, queries one at a time
    reader          penstock.Reader on the compacted home, as it comes

`open_to_first_query_s` is from before the segment, or the reader, is opened to the first answers, rows included,
`import_s` the time to import numpy, FAISS and penstock before that; files are in the page cache, as they were just
written. `rss_anon` is the process's anonymous memory when all queries are done, `first_100_ms` the mean of the first
hundred queries, which verify what they touch, `query_ms` that of the second round of all queries. Where something else
keeps the machine busy, the `cpu` figures say what an idle one would do.
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
from collections import Counter
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
    figures["exact"] = _child(ask | {"way": "exact"})
    truth = None
    for way, kind in (("flat", "flat"), ("flat_streamed", "flat"), ("ivf", "ivf"), ("reader", "reader")):
        figures[way] = _child(ask | {"way": way, "refs": built.refs.get(kind)})
        got = np.load(scratch / "got.npy")
        truth = got if truth is None else truth
        figures[way]["recall_at_10"] = round(float(_recall(got, truth[: len(got)])), 4)
        figures[way]["index_bytes"] = built.sizes[kind]
        figures[way]["rss_anon_share"] = round(figures[way]["rss_anon"] / built.sizes[kind], 3)
    exact, ours = figures["exact"], figures["reader"]
    figures["reader_speedup_over_exact"] = {
        "clock": round(exact["query_ms"] / ours["query_ms"], 1),
        "cpu": round(exact["query_cpu_ms"] / ours["query_cpu_ms"], 1),
        "batched_cpu": round(exact["batched_cpu_ms"] / ours["query_cpu_ms"], 1),
    }
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return figures


def _recall(got: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(got, truth, strict=True)]
    return sum(shared) / truth.size


class Built:
    """A home below `scratch`, compacted, and merged segments beside it. `refs`: those as JSON; `sizes`: bytes."""

    def __init__(self, scratch: Path) -> None:
        from penstock.index.commits.commit import Writer
        from penstock.index.stores.store import LocalStore

        self._work = scratch / "merging"
        self._work.mkdir()
        (scratch / "home").mkdir()
        self._store = LocalStore(scratch / "home" / "replicas" / "0", token=lambda: os.urandom(16).hex())
        self._writer = Writer.create(
            f"sqlite:///{scratch / 'home' / 'catalog.db'}",
            {"0": self._store},
            write_quorum=1,
            workdir=scratch / "home" / "work",
            clock=time.time,
            token=lambda: os.urandom(16).hex(),
            report=lambda line: print(line, file=sys.stderr),
        )
        self.refs: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}

    def make(self, blocks: Iterator[NDArray[np.float32]], size: int) -> dict[str, Any]:
        """Commit, merge, compact; return how many seconds each took."""
        from penstock.index.care import compact
        from penstock.index.segments import quantizer

        timed: dict[str, Any] = {"commits": 0}
        self._timed(timed, "commit_s", lambda: self._commit(blocks, timed))
        shards = self._segments()
        trained = None
        if size < quantizer.IVF_FROM:
            trained = self._timed(timed, "train_s", lambda: self._train(shards, size))
            self._timed(timed, "merge_ivf_s", lambda: self._merge("ivf", shards, trained))
        self._timed(timed, "merge_flat_s", lambda: self._merge("flat", shards, None))
        self._timed(timed, "compact_s", lambda: compact.compact(self._writer, compact.Policy(), full=True))
        compacted = self._segments()
        self._note("reader", compacted)
        if trained is None:
            self._note("ivf", compacted)
        timed |= {"kinds": [ref.kind for ref in compacted], "lists": quantizer.lists(size)}
        timed["peak_rss_bytes"] = _status("VmHWM")
        self._writer.close()
        return timed

    def _commit(self, blocks: Iterator[NDArray[np.float32]], timed: dict[str, Any]) -> None:
        from penstock.index.commits.commit import Delta
        from penstock.index.types import DocState, Row

        first = 0
        for number, block in enumerate(blocks):
            uris = [f"made/{number:05d}/{n // CHUNKS:05d}" for n in range(len(block))]
            rows = [
                Row(f"{first + n:09d}", uri, f"The text of chunk {first + n}.", 0, 20, 6) for n, uri in enumerate(uris)
            ]
            states = [
                DocState(uri, "made", "indexed", content=uri, chunks=chunks, tokens=6 * chunks)
                for uri, chunks in Counter(uris).items()
            ]
            first += len(block)
            self._writer.commit(Delta(number, states, block, rows=rows.__iter__, dim=block.shape[1]))
            timed["commits"] += 1

    def _segments(self) -> tuple[Any, ...]:
        head = self._writer.head()
        return head.spaces[head.live].segments

    def _train(self, refs: Sequence[Any], size: int) -> Any:
        from penstock.index.segments import quantizer
        from penstock.index.segments.segment import Segment

        opened = [Segment(ref, [self._store], print) for ref in refs]
        trained, path = quantizer.train(
            quantizer.sample(opened, quantizer.sample_size(size)), size, self._work, "bench"
        )
        self._put({trained.ref.name: path})
        return trained

    def _merge(self, kind: str, refs: Sequence[Any], trained: Any) -> None:
        from penstock.index.segments.merge import merge

        merged = merge(refs, [self._store], self._work, "bench", kind, quantizer=trained, report=print)
        assert merged is not None
        self._put(merged.files)
        self._note(kind, [merged.ref])

    def _note(self, kind: str, refs: Sequence[Any]) -> None:
        import msgspec

        from penstock.index.commits.manifest import blobs_of

        self.refs[kind] = [msgspec.to_builtins(ref) for ref in refs]
        self.sizes[kind] = sum(blob.size for ref in refs for blob in blobs_of(ref))

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

    from penstock.index.reading.reader import Reader

    faiss.omp_set_num_threads(1)
    imported = time.perf_counter()
    if ask["way"] == "reader":
        reader = Reader.open(scratch / "home" / "replicas" / "0")

        def one(query: NDArray[np.float32]) -> list[int]:
            return [int(hit.chunk_id) for hit in reader.search(query[None], K)[0]]
    else:
        one = _by_segments(scratch, ask)
        queries = queries[:20] if ask["way"] == "flat_streamed" else queries  # slow, and steady

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


def _by_segments(scratch: Path, ask: dict[str, Any]) -> Callable[[NDArray[np.float32]], list[int]]:
    """Search the segments that are asked for, without a reader."""
    import msgspec

    from penstock.index.segments import search
    from penstock.index.segments.segment import Segment, VectorMemory
    from penstock.index.stores.store import LocalStore
    from penstock.index.types import SegmentRef

    store = LocalStore(scratch / "home" / "replicas" / "0", token=lambda: "none")
    memory = VectorMemory({"flat": 1 << 40}.get(ask["way"], 0))
    refs = msgspec.convert(ask["refs"], list[SegmentRef])
    segments = [Segment(ref, [store], print, memory) for ref in refs]
    return lambda query: [int(match.row.chunk_id) for match in search.top_k(segments, query[None], K)[0]]


def _measure_faiss(scratch: Path, count: int, queries: NDArray[np.float32]) -> dict[str, Any]:
    """Plain FAISS over all vectors of the flat segment: the speed to beat."""
    import faiss

    faiss.omp_set_num_threads(1)
    blobs = scratch.joinpath("home", "replicas", "0", "blobs").glob("*/*")
    index = faiss.read_index(str(next(path for path in blobs if _is_flat(path, count))))
    index.search(queries[:1], K)
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
