"""A small home for tests, and deltas to commit to it. Vectors and texts follow from (uri, content) alone."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.index.care.verify import verify
from penstock.index.commits.commit import Delta, Writer
from penstock.index.commits.crew import Sequential
from penstock.index.segments.segment import Segment
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import DocState, DocText, Manifest, Row, SourceState

DIM = 8
IDENTITY = {"weights": "w1", "pooling": "mean"}
SOURCE = SourceState("s", "files", "/somewhere")


class World:
    """A home below `root`: catalog, N replicas, workdir. Time is a counter; tokens are unique per process."""

    def __init__(self, root: Path, replicas: int = 2, write_quorum: int = 2) -> None:
        self.root, self.write_quorum = root, write_quorum
        self.ids = [str(n) for n in range(replicas)]
        self.reports: list[str] = []
        self._ticks = itertools.count(1)
        self.database = "catalog.db"
        self.wrap: Callable[[str, Store], Store] = lambda _, store: store

    @property
    def catalog(self) -> str:
        return f"sqlite:///{self.root / self.database}"

    def token(self) -> str:
        return os.urandom(8).hex()

    def folder(self, name: str) -> Path:
        return self.root / "replicas" / name

    def stores(self) -> dict[str, Store]:
        return {n: self.wrap(n, LocalStore(self.folder(n), token=self.token)) for n in self.ids}

    def _arguments(self) -> dict[str, Any]:
        return {
            "write_quorum": self.write_quorum,
            "workdir": self.root / "work",
            "clock": lambda: 1000.0 + next(self._ticks),
            "token": self.token,
            "report": self.reports.append,
            "crew": Sequential(),
        }

    def create(self, reach: Callable[[str], None] = lambda _: None) -> Writer:
        return Writer.create(self.catalog, self.stores(), reach=reach, **self._arguments())

    def open(self, reach: Callable[[str], None] = lambda _: None, **options: object) -> Writer:
        return Writer.open(self.catalog, self.stores(), reach=reach, **self._arguments(), **options)

    def findings(self) -> list[str]:
        found = verify(list(self.stores().values()), self.catalog, report_progress=lambda *_: None)
        return [f"{f.where}: {f.what}" for f in found]


def delta(base: int, docs: Mapping[str, str | None], *, status: str = "indexed", **more: object) -> Delta:
    """A delta that sets each uri to that content (None: deleted). Content of n words makes n chunks."""
    states, rows = [], []
    for uri, content in sorted(docs.items()):
        words = (content or "").split() if content is not None and status == "indexed" else []
        kind = "deleted" if content is None else status
        states.append(
            DocState(uri, "s", kind, content=content or "", chunks=len(words), tokens=len(words), changed_at=1.0)
        )
        rows += [Row(f"{uri}#{n}", uri, w, n, n + 1, 1) for n, w in enumerate(words)]
    vectors = np.array([vector(row.uri, row.text) for row in rows], np.float32).reshape(-1, DIM)
    texts = [DocText(s.uri, s.content, s.content) for s in states if s.status == "indexed"]
    arguments: dict[str, object] = {"sources": {"s": SOURCE}, **more}
    return Delta(
        base,
        states,
        vectors,
        lambda: iter(rows),
        lambda: iter(texts),
        identity=IDENTITY,
        dim=DIM,
        **arguments,  # type: ignore[arg-type]
    )


def vector(uri: str, text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"{uri}\0{text}".encode()).digest()[:8], "little")
    made = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return made / np.linalg.norm(made)


def served(manifest: Manifest, stores: Mapping[str, Store]) -> dict[str, list[str]]:
    """What a reader would find: the texts of the live rows of each document, with vectors that belong to them."""
    found: dict[str, list[str]] = {}
    for space in manifest.spaces.values():
        for ref in space.segments:
            segment = Segment(ref, list(stores.values()), lambda _: None)
            live = [n for n in range(ref.count) if n not in segment.dead]
            for n, row in zip(live, segment.row(live), strict=True):
                assert np.array_equal(segment.vectors[n], vector(row.uri, row.text))
                found.setdefault(row.uri, []).append(row.text)
            segment.close()
    return found
