#!/usr/bin/env python
"""Disk and memory by chunks: what a run leaves on disk, by what it is for, and what a process holds that searches it.

    bench/sizing.py [FOLDER | FILE.jsonl ...] [--chunks N] [--work DIR] [--page docs/operations.md] [--json]

`penstock ingest` of text into a fresh home with two replicas, by the pipeline as it comes, with vectors that are made
of a hash in place of the model (384 components, as all-MiniLM-L6-v2: no model runs, and no speed here means anything).
Text is that of the folders (`bench/texts` makes some), else made of this project's own documents. Where it is less
than N chunks need, it is taken again with a number before each paragraph, so that no two chunks are equal.

    sizes        bytes of one replica by what they are for, after the ingest, and after `penstock compact` and
                 `penstock collect` with nothing older kept; of the catalog and of the cache of vectors: once for all
                 replicas. `per_million`: the same for a million chunks, in proportion
                 (`log and markers` and the catalog follow commits and not chunks)
    spool_peak   the most that lay in the spool during the run, looked at ten times a second
    peak_bytes   the most memory of the run's process and its parsers together, without a model
    reader       anonymous memory (RssAnon) of a fresh process with one thread: when everything is imported, when the
                 index is open, after the first search, and after 200
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import corpus
import machine
import pipeline

BYTES_A_CHUNK = 780
"""Of English manuals, at 256 tokens a chunk: how much text to take. What came of it is counted."""
KINDS = (
    "vectors",
    "index codes",
    "rows",
    "tables of rows",
    "document state",
    "texts",
    "manifests, older versions",
    "log and markers",
)
SEARCHES = 200


def main() -> int:
    args = _arguments()
    if args.child:
        print(json.dumps(_searched(Path(args.child))))
        return 0
    with tempfile.TemporaryDirectory(prefix="penstock-sizing-", dir=args.work) as scratch:
        found = measure(Path(scratch), args.texts, args.chunks, args.model)
    if args.page:
        write(args.page, table(found))
    if args.json:
        print(json.dumps(found))
    else:
        machine.show(found)
    return 0


def measure(scratch: Path, texts: Sequence[Path], chunks: int, model: str) -> dict[str, Any]:
    """One ingest, its care, its readers."""
    home, folder = scratch / "home", scratch / "documents"
    if not texts:
        (scratch / "made").mkdir()
        texts = corpus.made_up(scratch / "made", min(4.0, chunks * BYTES_A_CHUNK / 1e6))
    size = corpus.as_folder(list(enough(corpus.documents(texts), chunks * BYTES_A_CHUNK)), folder)
    machine.say(f"{size / 1e6:.1f} MB of text are ingested")
    with Largest(home / "spool") as spool:
        run = pipeline.run(home, [folder], embed={"model": model}, encoder="hashing")
    account = run["account"]
    found: dict[str, Any] = {
        "machine": machine.described(("faiss-cpu", "numpy")),
        "documents": account["indexed"],
        "chunks": account["chunks"],
        "text_bytes": size,
        "peak_bytes": run["peak_bytes"],
        "spool_peak": spool.bytes,
    }
    for state in ("ingested", "compacted"):
        if state == "compacted":
            machine.say("compacted and collected")
            _care(home)
        sizes, served = measured(home)
        million = {kind: round(size * 1e6 / served) for kind, size in sizes.items()}
        found[state] = {"sizes": sizes, "per_million": million, "reader": _child(home)}
    return found


def enough(texts: Sequence[str], size: int) -> Iterator[str]:
    """Texts until there are `size` bytes: as they are, then again with a number before each paragraph."""
    turn = 0
    while size > 0:
        for text in texts:
            made = text if not turn else re.sub(r"(^|\n\n)(?=\S)", rf"\g<1>{turn}. ", text)
            yield made
            if (size := size - len(made.encode())) <= 0:
                return
        turn += 1


class Largest:
    """While it is entered: the most bytes that lay below `folder`. What comes and goes in between is not seen."""

    def __init__(self, folder: Path) -> None:
        self.bytes = 0
        self._folder, self._over = folder, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Largest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.bytes = max(self.bytes, below(self._folder))


def below(place: Path) -> int:
    """Bytes of a file, or of all files below a folder; of those that go away meanwhile, none."""
    total = 0
    for file in [place] if place.is_file() else place.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def measured(home: Path) -> tuple[dict[str, int], int]:
    """Bytes by what they are for, and how many chunks are served."""
    from penstock.index.reading.reader import Reader

    with Reader.open(home) as reader:
        manifest = reader.manifest
    replica = home / "replicas" / "0"
    sizes = dict.fromkeys(KINDS, 0)
    for segment in manifest.spaces[manifest.live].segments:
        sizes["vectors"] += (segment.vectors or segment.index).size
        sizes["index codes"] += segment.index.size if segment.vectors else 0
        sizes["rows"] += segment.rows.size
        tables = (segment.docs, segment.dead, segment.facets)
        sizes["tables of rows"] += sum(blob.size for blob in tables if blob is not None)
    shared = {segment.quantizer for segment in manifest.spaces[manifest.live].segments if segment.quantizer}
    sizes["index codes"] += sum(blob.size for blob in shared)
    sizes["document state"] = sum(run.blob.size for run in manifest.state)
    sizes["texts"] = sum(run.blob.size for run in manifest.texts)
    whole = below(replica)
    sizes["log and markers"] = whole - below(replica / "blobs")
    sizes["manifests, older versions"] = whole - sum(sizes.values())
    sizes["one replica"] = whole
    sizes["catalog"] = sum(below(file) for file in home.glob("catalog.db*"))
    sizes["cache of vectors"] = below(home / "cache")
    return sizes, manifest.counts["chunks"]


def _care(home: Path) -> None:
    config = home.with_suffix(".care.toml")
    config.write_text("[keep]\nversions = 1\nhours = 0.0\n")
    for command in ("compact", "collect"):
        words = [command, "--home", str(home), "--config", str(config)]
        subprocess.run([sys.executable, "-m", "penstock.flows.cli", *words], check=True, stdout=subprocess.DEVNULL)


def _child(home: Path) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, __file__, "--child", str(home)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _searched(home: Path) -> dict[str, int]:
    """Anonymous memory of this process, in bytes, at four moments."""
    import numpy as np

    from penstock.index.reading.reader import Reader
    from penstock.index.segments import search  # noqa: F401  # what the first search would import

    found = {"imported": _anonymous()}
    with Reader.open(home) as reader:
        found["open"] = _anonymous()
        space = reader.manifest.spaces[reader.manifest.live]
        chance = np.random.default_rng(20261121)
        for number in range(SEARCHES):
            query = chance.standard_normal((1, space.dim), dtype=np.float32)
            reader.search(query / np.linalg.norm(query), k=10)
            if number == 0:
                found["after the first search"] = _anonymous()
    found[f"after {SEARCHES} searches"] = _anonymous()
    return found


def _anonymous() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def table(found: dict[str, Any]) -> str:
    """The figures as the page shows them."""
    here, states = found["machine"], ("ingested", "compacted")
    lines = [
        f"{here['date']}; {here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB; faiss-cpu {here['faiss-cpu']}; "
        f"{found['documents']:,} documents, {found['text_bytes'] / 1e6:.1f} MB of text, {found['chunks']:,} chunks of "
        "384 components.",
        "",
        "| MB per million chunks | after the ingest | after `compact` and `collect` |",
        "|---|---:|---:|",
    ]
    for kind in [*KINDS, "one replica", "cache of vectors"]:
        figures = [f"{found[state]['per_million'][kind] / 1e6:,.0f}" for state in states]
        bold = "**" if kind == "one replica" else ""
        lines.append(f"| {bold}{kind}{bold} | {' | '.join(f'{bold}{figure}{bold}' for figure in figures)} |")
    lines += [
        "",
        f"| MB in a process that searches these {found['chunks']:,} | after the ingest | after `compact` |",
        "|---|---:|---:|",
    ]
    for moment in found["ingested"]["reader"]:
        figures = [f"{found[state]['reader'][moment] / 1e6:.0f}" for state in states]
        lines.append(f"| {moment} | {' | '.join(figures)} |")
    lines += [
        "",
        f"The catalog: {found['compacted']['sizes']['catalog'] / 1e3:.0f} kB, whatever the index holds. Most in the "
        f"spool during the run: {found['spool_peak'] / 1e6:.0f} MB. Most memory of the run and its parsers, without a "
        f"model: {found['peak_bytes'] / 1e6:.0f} MB.",
    ]
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Between its markers; the rest stays. Raises ValueError where they are missing."""
    block = f"<!-- sizing -->\n{text}\n<!-- /sizing -->"
    found = re.subn(r"<!-- sizing -->.*?<!-- /sizing -->", lambda _: block, page.read_text("utf-8"), flags=re.DOTALL)
    if found[1] != 1:
        raise ValueError(f"{page} must have one <!-- sizing --> … <!-- /sizing -->")
    page.write_text(found[0], "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="*", help="folders of .txt and .md, or JSON Lines with text")
    parser.add_argument("--chunks", type=int, default=100_000, metavar="N", help="about so many (default: 100000)")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="whose tokenizer and width are taken")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to work (default: the temporary folder)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
