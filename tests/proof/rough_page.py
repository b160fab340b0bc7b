"""What the rough source's part of the proof says, as lines of docs/reliability.md."""

from __future__ import annotations

from typing import Any


def lines(result: dict[str, Any]) -> list[str]:
    """A table of figures; all of them come out of `result`."""
    faults, unchanged = result.get("faults", {}), result.get("unchanged", {})
    kills, failed = result.get("kills", 0), result.get("failed", [])
    landed = faults.get("with_faults", {}).get("landed", "not run")
    rows = [
        ("SIGKILLs of one ingest at 30 % errors; equal to a clean build, fetched no more than the kills explain",
         f"{kills}, yes" if kills else "not shown"),
        (f"seeds by chance from {result.get('first_seed')}, three histories each", f"{result.get('seeds')}"),
        ("seeds that broke a promise", ", ".join(str(each["seed"]) for each in failed) or "none"),
        ("30 % errors and 429 storms: landed, of documents", f"{landed}, {_said(faults, 'documents')}"),
        ("the same: most requests in one second; allowed",
         f"{_said(faults, 'busiest_second')}; {_said(faults, 'allowed_per_second')}"),
        ("the same: time, cooldowns taken off, to fault-free time (target: 1.5)", _said(faults, "ratio")),
        (f"{_said(unchanged, 'items')} unchanged items, second run: µs an item beyond the listing (target: 200)",
         _said(unchanged, "us_per_item_beyond_listing")),
        ("the same: bodies fetched; texts embedded; versions made",
         f"{_said(unchanged, 'fetched')}; {_said(unchanged, 'embedded')}; {_said(unchanged, 'commits')}"),
    ]  # fmt: skip
    return ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]


def _said(of: dict[str, Any], name: str) -> str:
    return str(of.get(name, "not run"))
