#!/usr/bin/env python3
"""Make the golden home of the present format, once, when the format has settled: it is kept for ever after.

    tests/index/golden/make.py tests/index/golden/v2

Writes `home/` (catalog and two replicas) and `expected.json` (what this code answers about it). Format 1's was made
by the code of format 1, with this script as it was then.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[3]))
from penstock.index.care import collect, compact
from penstock.index.commits.commit import Delta, Writer
from penstock.index.commits.crew import Sequential
from penstock.index.reading.reader import Reader
from penstock.index.segments import quantizer
from penstock.index.stores.store import LocalStore
from penstock.index.types import FORMAT, DocState, DocText, Row, SourceState

DIM = 16
IDENTITY = {"weights": "golden", "pooling": "mean"}
SOURCES = {"papers": SourceState("papers", "files", "/papers", cursor="c1"), "wiki": SourceState("wiki", "http", "w")}
K = 5
MANY = 150


def vector(text: str) -> np.ndarray:
    """A unit vector that follows from the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    made = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return made / np.linalg.norm(made)


def document(source: str, name: str, words: str, status: str = "indexed") -> tuple[DocState, list[Row], DocText]:
    """A document whose chunks are its words; a few carry every optional field."""
    uri, parts = f"{source}/{name}", words.split() if status == "indexed" else []
    rows = [
        Row(f"{uri}#{n}", uri, word, n * 10, n * 10 + len(word), 1, page=n + 1, heading=("Top", word))
        if n % 2
        else Row(f"{uri}#{n}", uri, word, n * 10, n * 10 + 5, 1, metadata={"lang": "en"}, labels=("staff",))
        for n, word in enumerate(parts)
    ]
    state = DocState(
        uri, source, status, "v1", hashlib.sha256(words.encode()).hexdigest(), "p1", len(words),
        len(rows), len(rows), reason="" if parts else "bad", detail="" if parts else "made to", changed_at=1.0,
    )  # fmt: skip
    text = DocText(uri, state.content, words, kind="md", title=name, pages=((0, 1, 1),), headings=((0, 1, ("Top",)),))
    return state, rows, text


def delta(base: int, *documents: tuple[DocState, list[Row], DocText], gone: tuple[str, ...] = ()) -> Delta:
    """These documents, and those uris deleted."""
    ordered = sorted(documents, key=lambda one: one[0].uri)
    rows = [row for _, some, _ in ordered for row in some]
    texts = [text for state, _, text in ordered if state.status == "indexed"]
    states = [state for state, _, _ in ordered] + [DocState(uri, uri.split("/")[0], "deleted") for uri in gone]
    vectors = np.array([vector(row.text) for row in rows], np.float32).reshape(-1, DIM)
    return Delta(
        base, states, vectors, lambda: iter(rows), lambda: iter(texts), SOURCES, identity=IDENTITY, dim=DIM,
        provenance={"device": "none"},
    )  # fmt: skip


def history() -> Iterator[tuple[tuple[tuple[DocState, list[Row], DocText], ...], tuple[str, ...]]]:
    """What each commit brings, and what it deletes."""
    yield (document("papers", "alpha", "one two three"), document("papers", "beta", "four five")), ()
    yield (document("wiki", "gamma", "six seven eight nine"), document("papers", "beta", "cinq")), ()
    yield (document("papers", "torn", "x", "failed"), document("wiki", "odd", "y", "rejected")), ()
    yield (document("papers", "alpha", "z", "failed"), document("wiki", "delta", "ten eleven")), ("papers/beta",)
    yield (document("papers", "epsilon", "twelve"),), ()


def write(home: Path) -> None:
    """The home itself: ids and times come from counters, so it is the same whoever makes it."""
    tokens, ticks = itertools.count(1), itertools.count(1)

    def token() -> str:
        return hashlib.sha256(b"golden%d" % next(tokens)).hexdigest()[:32]

    stores = {name: LocalStore(home / "replicas" / name, token=token) for name in ("0", "1")}
    with Writer.create(
        f"sqlite:///{home / 'catalog.db'}", stores, write_quorum=2, workdir=home / "work",
        clock=lambda: 1000.0 + next(ticks), token=token, report=lambda line: sys.exit(line), crew=Sequential(),
    ) as writer:  # fmt: skip
        for documents, gone in history():
            writer.commit(delta(writer.head().version, *documents, gone=gone))
        writer.commit(delta(writer.head().version, document("wiki", "many", " ".join(f"word{n}" for n in range(MANY)))))
        compact.compact(writer, compact.Policy(), full=True)
        collect.collect(writer, collect.Retention(versions=2, seconds=0), now=2000.0)
        late = document("wiki", "gamma", "six again"), document("wiki", "eta", "after it was merged")
        writer.commit(delta(writer.head().version, *late))
        kinds = [ref.kind for ref in writer.head().spaces["default"].segments]
        assert kinds == ["ivf", "flat"], f"the golden home must have segments of both kinds, not {kinds}"
    shutil.rmtree(home / "work")
    for folder in home.glob("replicas/*/tmp"):
        shutil.rmtree(folder)


def expected(home: Path) -> dict[str, object]:
    """What the code that made it answers."""
    queries = ["one", "cinq", "four", "nine", "eleven", "nowhere"]
    with Reader.open(home) as reader:
        found = reader.search(np.array([vector(query) for query in queries]), K)
        return {
            "format": FORMAT,
            "version": reader.version,
            "counts": dict(reader.manifest.counts),
            "hits": {
                query: [[hit.uri, hit.chunk_id, hit.text, round(hit.score, 6), hit.page, hit.heading] for hit in hits]
                for query, hits in zip(queries, found, strict=True)
            },
            "states": {state.uri: msgspec.to_builtins(state) for state in reader.states()},
        }


def main(folder: Path) -> None:
    quantizer.IVF_FROM = 100  # a home that is small enough to be kept
    folder.mkdir(parents=True)
    write(folder / "home")
    (folder / "expected.json").write_text(json.dumps(expected(folder / "home"), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
