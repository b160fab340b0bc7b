"""Ingests in processes of their own, and what an index serves afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.runs import upkeep
from penstock.index.reading.reader import Reader
from tests.fakes.encoder import HashEncoder
from tests.flows.ingest_child import Child

ROOT = Path(__file__).parents[2]
QUERIES = ["what is kept", "who decides", "anything at all"]


@contextmanager
def running(
    child: Child, slots: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[str]]:
    """The process, past its imports; dead afterwards, whatever happened."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.ingest_child", msgspec.json.encode(child).decode()],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PENSTOCK_SLOTS": str(slots), "PREFECT_API_URL": "", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, dict[str, Any], str]:
    """(exit status, the answer on stdout, stderr) of a process that ends by itself."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, json.loads(out) if out else {}, err


def killed_at(child: Child, slots: Path) -> None:
    """Run the child until it dies by its own hand."""
    with running(child, slots) as process:
        code, answer, err = ended(process)
    assert code == -signal.SIGKILL, (child.die_at, code, answer, err)


def served(home: Path) -> list[list[tuple[str, str, float]]]:
    """Per query, every row that is served: (uri, chunk id, score to five decimals)."""
    with Reader.open(home) as reader:
        return served_by(reader)


def served_by(reader: Reader) -> list[list[tuple[str, str, float]]]:
    every = reader.manifest.counts.get("chunks", 0)
    found = reader.search(HashEncoder().encode_queries(QUERIES), k=every + 10)
    assert all(len(hits) == every for hits in found)
    return [sorted((hit.uri, hit.chunk_id, round(hit.score, 5)) for hit in hits) for hits in found]


def sound(home: Path) -> None:
    """Nothing is wrong with the index and nothing is left in the spool."""
    assert upkeep.verify(load(None), homes.require(home), lambda *_: None) == []
    assert not list((home / "spool").glob("shard-*"))


def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
