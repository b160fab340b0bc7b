"""Figures out of what Prefect says of a run, and their place in a page. Pure, but for the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

_STATES = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")


def moment(said: str) -> float:
    """Seconds since 1970 of a time as the API says it."""
    return datetime.fromisoformat(said).timestamp()


def seconds(run: dict[str, Any]) -> float:
    """From when a flow run ran to its end."""
    return moment(run["end_time"]) - moment(run["start_time"])


def embedding_seconds(tasks: Sequence[dict[str, Any]]) -> float:
    """In which some shard was in its embed task: overlaps count once."""
    spans = sorted(
        (moment(each["start_time"]), moment(each["end_time"]))
        for each in tasks
        if each["name"].startswith("embed") and each["start_time"] and each["end_time"]
    )
    whole = until = 0.0
    for begin, end in spans:
        whole += max(0.0, end - max(begin, until))
        until = max(until, end)
    return whole


def shards(tasks: Sequence[dict[str, Any]]) -> int:
    """How many were committed."""
    return sum(each["name"].startswith("commit") and each["state_type"] == "COMPLETED" for each in tasks)


def counts(message: str) -> dict[str, int]:
    """What `version 7: 3 indexed, 1 unchanged, …, of 4 listed` says, by word."""
    return {word: int(number.replace(",", "")) for number, word in re.findall(r"(\d[\d,]*) ([a-z]+)", message)}


def adds_up(message: str) -> bool:
    """Whether such a message has every listed document in one state."""
    said = counts(message)
    return "listed" in said and said["listed"] == sum(said.get(state, 0) for state in _STATES)


def spread(taken: Sequence[float]) -> dict[str, float]:
    """Seconds: `p50`, `p95`, `max`, and of how many. Empty for none."""
    if not taken:
        return {"n": 0}
    found = {name: round(float(np.quantile(taken, at)), 1) for name, at in (("p50", 0.5), ("p95", 0.95))}
    return {"n": len(taken), **found, "max": round(max(taken), 1)}


def said(met: bool, figure: str) -> str:
    """A target's line, as all benchmarks write it."""
    return f"{'met' if met else 'MISSED'}: {figure}"


def markdown(found: dict[str, Any], rows: Sequence[tuple[str, str]]) -> str:
    """The machine and the rows, as the page shows them."""
    on = ", ".join(found["machine"][key] for key in ("date", "cpu")) + f", {found['machine']['cores']} cores"
    return "\n".join([f"{on}.", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def put(page: Path, mark: str, text: str) -> None:
    """Put `text` between the marks of the page. Raises `ValueError` where it has not exactly one such place."""
    found = page.read_text()
    block = f"<!-- {mark} -->\n{text}\n<!-- /{mark} -->"
    found, times = re.subn(rf"<!-- {mark} -->.*?<!-- /{mark} -->", lambda _: block, found, flags=re.DOTALL)
    if times != 1:
        raise ValueError(f"{page} must have one <!-- {mark} --> … <!-- /{mark} -->")
    page.write_text(found)
