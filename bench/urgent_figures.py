"""What `bench/urgent.py` makes of its turns. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import figures
import numpy as np
from figures import said
from numpy.typing import NDArray

SOON, LOSS, LEAST_SHARDS = 60.0, 5.0, 10
"""Targets: seconds until found (p95), per cent of throughput, shards of the backfill."""
QUIET, AFTER = 15.0, 5.0
"""Seconds before and after an urgent document whose rate is what the backfill has undisturbed; and the seconds after
its run that still count as its own: its process ends, the server writes down what it was told."""
Batches = NDArray[np.float64]
"""(batches, 2): seconds since 1970 at which it was embedded, its tokens."""


@dataclass
class Urgent:
    """One urgent document, and what became of it. `way`: `command` or `deployment`."""

    name: str
    way: str
    text: str
    vector: NDArray[np.float32]
    seconds: float | None = None
    problem: str = ""
    submitted: float = 0.0
    over: float = 0.0


@dataclass
class Turn:
    """One backfill."""

    run: dict[str, Any]
    shards: int
    index: dict[str, int]
    urgents: list[Urgent] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return figures.seconds(self.run)


def read(file: Path) -> Batches:
    """What `batches.py` left."""
    return np.loadtxt(file, dtype=np.float64, ndmin=2)


def lost(batches: Batches, urgents: list[Urgent]) -> list[dict[str, float]]:
    """Of each urgent document: `seconds` of the backfill that it took, how long it was about, and the rates.

    Tokens count evenly from the end of one batch to that of the next. Those that were submitted too near the beginning
    or the end of the embedding for 15 quiet seconds on both sides have less on that side, or none.
    """
    ends, done = batches[:, 0], np.cumsum(batches[:, 1])
    windows = [(urgent.submitted, urgent.over + AFTER) for urgent in urgents]
    found = []
    for number, (begin, end) in enumerate(windows):
        earliest = max(ends[0], begin - QUIET, windows[number - 1][1] if number else ends[0])
        latest = min(ends[-1], end + QUIET, windows[number + 1][0] if number + 1 < len(windows) else ends[-1])
        first, one, two, last = np.interp([earliest, begin, end, latest], ends, done)
        rate = (one - first + last - two) / ((begin - earliest) + (latest - end))
        found.append({
            "seconds": round(float(end - begin - (two - one) / rate), 2),
            "about": round(end - begin, 1),
            "tokens_per_second": round(float((two - one) / (end - begin))),
            "around_it": round(float(rate)),
        })  # fmt: skip
    return found


def report(turn: Turn, batches: Batches, minutes: float) -> dict[str, Any]:
    """The figures that are printed."""
    urgents = turn.urgents
    found = {
        way: [urgent.seconds for urgent in urgents if urgent.way == way and urgent.seconds is not None]
        for way in ("command", "deployment")
    }
    everything = found["command"] + found["deployment"]
    bad = [
        f"{urgent.name} by {urgent.way}: {urgent.problem or 'never found'}"
        for urgent in urgents
        if urgent.problem or urgent.seconds is None
    ]
    each = lost(batches, [urgent for urgent in urgents if urgent.over])
    embedding = float(batches[-1, 0] - batches[0, 0])
    taken = sum(one["seconds"] for one in each)
    share = round(100 * taken / embedding, 2)
    p95 = figures.spread(everything).get("p95", float("inf"))
    return {
        "backfill": {
            "documents": turn.index["documents"],
            "tokens": turn.index["tokens"],
            "shards": turn.shards,
            "embedding_minutes": round(embedding / 60, 1),
            "seconds": round(turn.seconds, 1),
            "tokens_per_second": round(turn.index["tokens"] / turn.seconds),
            "loss_seconds": round(taken, 1),
            "loss_percent": share,
            "loss_of_each": each,
            "ended": turn.run["state"]["message"],
        },
        "until_found": {
            "all": figures.spread(everything),
            **{way: figures.spread(taken) for way, taken in found.items()},
            "of_each": [[u.way, None if u.seconds is None else round(u.seconds, 1)] for u in urgents],
        },
        "problems": bad,
        "targets": {
            f"p95 until found <= {SOON:g} s": said(p95 <= SOON and not bad, f"{p95} s of {len(everything)}"),
            f"loss <= {LOSS:g} %": said(len(each) == len(urgents) and share <= LOSS, f"{share} %"),
            "the backfill ends complete": said(True, "every document is indexed, and the account adds up"),
            f">= {LEAST_SHARDS} shards": said(turn.shards >= LEAST_SHARDS, str(turn.shards)),
            f">= {minutes:g} minutes of embedding": said(embedding >= 60 * minutes, f"{embedding / 60:.1f} minutes"),
        },
    }


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What the page shows."""
    backfill, until = found["backfill"], found["until_found"]

    def line(spread: dict[str, Any]) -> str:
        return f"{spread['p50']} / {spread['p95']} / {spread['max']} s of {spread['n']}" if spread["n"] else "none"

    return [
        ("backfill", f"{backfill['documents']:,} documents, {backfill['tokens']:,} tokens, "
         f"{backfill['shards']} shards, {backfill['embedding_minutes']} minutes of embedding"),
        (f"until found: p50 / p95 / most (target: p95 <= {SOON:g} s)", line(until["all"])),
        ("by `penstock ingest --urgent`", line(until["command"])),
        ("by the deployment `urgent`", line(until["deployment"])),
        ("the backfill beside them", f"{backfill['seconds']:,.0f} s, {backfill['tokens_per_second']:,} tokens/s"),
        ("seconds that each took of it", ", ".join(f"{one['seconds']:.1f}" for one in backfill["loss_of_each"])),
        (f"throughput lost (target: at most {LOSS:g} %)", f"{backfill['loss_percent']} %"),
        ("targets missed", ", ".join(k for k, v in found["targets"].items() if v.startswith("MISSED")) or "none"),
    ]  # fmt: skip
