"""What `bench/urgent.py` makes of its turns. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import figures
import numpy as np
from figures import said
from numpy.typing import NDArray

SOON, LOSS, LEAST_SHARDS = 60.0, 5.0, 10
"""Targets: seconds until found (p95), per cent of throughput, shards of the backfill."""
UNQUIET = ": nobody gains by being disturbed, so the machine's speed drifted; measure again, with --turns"


@dataclass
class Urgent:
    """One urgent document, and what became of it. `way`: `command` or `deployment`."""

    name: str
    way: str
    text: str
    vector: NDArray[np.float32]
    seconds: float | None = None
    problem: str = ""


@dataclass
class Turn:
    """One backfill."""

    run: dict[str, Any]
    shards: int
    embedding_seconds: float
    index: dict[str, int]
    urgents: list[Urgent] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return figures.seconds(self.run)


def report(alone: list[Turn], disturbed: list[Turn], minutes: float) -> dict[str, Any]:
    """The figures that are printed."""
    urgents = [urgent for each in disturbed for urgent in each.urgents]
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
    before, after = sum(each.seconds for each in alone), sum(each.seconds for each in disturbed)
    lost = round(100 * (1 - before / after), 2)
    least = min(each.shards for each in disturbed)
    embedding = min(each.embedding_seconds for each in alone)
    tokens = sum(each.index["tokens"] for each in alone)
    p95 = figures.spread(everything).get("p95", float("inf"))
    return {
        "backfill": {
            "documents": alone[0].index["documents"],
            "tokens": alone[0].index["tokens"],
            "shards": least,
            "embedding_minutes": round(embedding / 60, 1),
            "seconds_alone": [round(each.seconds, 1) for each in alone],
            "seconds_disturbed": [round(each.seconds, 1) for each in disturbed],
            "tokens_per_second_alone": round(tokens / before),
            "tokens_per_second_disturbed": round(tokens / after),
            "loss_percent": lost,
            "ended": [each.run["state"]["message"] for each in disturbed],
        },
        "until_found": {
            "all": figures.spread(everything),
            **{way: figures.spread(taken) for way, taken in found.items()},
            "of_each": [[u.way, None if u.seconds is None else round(u.seconds, 1)] for u in urgents],
        },
        "problems": bad,
        "targets": {
            f"p95 until found <= {SOON:g} s": said(p95 <= SOON and not bad, f"{p95} s of {len(everything)}"),
            f"loss <= {LOSS:g} %": said(abs(lost) <= LOSS, f"{lost} %" + UNQUIET * (lost < -LOSS)),
            "the backfill ends complete": said(True, "every document is indexed, and the account adds up"),
            f">= {LEAST_SHARDS} shards": said(least >= LEAST_SHARDS, str(least)),
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
        ("the backfill alone, seconds; tokens/s",
         f"{_list(backfill['seconds_alone'])}; {backfill['tokens_per_second_alone']:,}"),
        ("the backfill beside them, seconds; tokens/s",
         f"{_list(backfill['seconds_disturbed'])}; {backfill['tokens_per_second_disturbed']:,}"),
        (f"throughput lost (target: at most {LOSS:g} %)", f"{backfill['loss_percent']} %"),
        ("targets missed", ", ".join(k for k, v in found["targets"].items() if v.startswith("MISSED")) or "none"),
    ]  # fmt: skip


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in values)
