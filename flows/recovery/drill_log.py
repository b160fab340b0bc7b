"""What came of the drills of a home: kept in the home, so that `status` can say how long ago the last one was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from penstock.index.blobs import framed
from penstock.index.errors import Corrupt

FOLDER = "drill"
"""In the home: probes, history, and the scratch place while a drill runs."""
HISTORY = "history.json"
MOST = 200
"""Drills that are remembered."""

Result = Literal["passed", "failed", "undone"]
"""`failed`: what lies in the DR store does not bring the index back as it is. `undone`: nothing was learned, because a
store did not answer, or there was no room."""


class Drilled(msgspec.Struct, frozen=True):
    """One drill of one DR store. Times are seconds (`at`: since the epoch), sizes bytes.

    `shipped`: the newest version there; `restored`: the one that was restored; `head`: the newest in production.
    `seconds_to_answer`: from an empty place to the first answer; `seconds_to_whole`: until every byte was there.
    `equal` of `probes` questions had exactly the hits that production gave at that version.
    """

    store: str
    result: Result
    at: float
    reasons: tuple[str, ...] = ()
    shipped: int = 0
    restored: int = 0
    head: int = 0
    lag_versions: int = 0
    lag_seconds: float = 0.0
    seconds_to_answer: float = 0.0
    seconds_to_whole: float = 0.0
    seconds_to_verify: float = 0.0
    seconds: float = 0.0
    blobs: int = 0
    bytes: int = 0
    documents: int = 0
    chunks: int = 0
    probes: int = 0
    equal: int = 0
    asked: str = ""
    """Where the probes come from: `questions`, or `passages` of the index."""
    findings: int = 0
    kept: str = ""
    notes: tuple[str, ...] = ()


class _History(msgspec.Struct, frozen=True):
    format: int
    drills: tuple[Drilled, ...]


def read(home: Path, report: Callable[[str], None]) -> tuple[Drilled, ...]:
    """The drills, oldest first. A history that cannot be read is reported, and is none."""
    path = home / FOLDER / HISTORY
    try:
        return framed.decode(path.read_bytes(), _History, str(path)).drills
    except FileNotFoundError:
        return ()
    except (Corrupt, OSError) as fault:
        report(f"{str(fault).partition(';')[0]}; what came of earlier drills is not known")
        return ()


def add(home: Path, drilled: Drilled, report: Callable[[str], None]) -> None:
    """Remember one more. One drill at a time adds."""
    drills = (*read(home, report), drilled)[-MOST:]
    replace(home / FOLDER / HISTORY, framed.encode(_History(framed.FORMAT, drills)))


def latest(drills: Iterable[Drilled], stores: Iterable[str]) -> list[Drilled]:
    """The last drill of each of these stores, in their order; those that were never drilled are left out."""
    last = {one.store: one for one in drills}
    return [last[store] for store in stores if store in last]


def replace(path: Path, data: bytes) -> None:
    """Put a small file in the place of what was there, durably: it is the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with fresh.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
