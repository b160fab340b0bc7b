"""How fresh a source is, in a line."""

from __future__ import annotations

from penstock.flows.answers.times import duration, when
from penstock.flows.runs.accounting import Fresh


def line(one: Fresh, now: float) -> str:
    """`as of 2026-11-21 08:00:00 UTC (4 min old, may be 1 h old); changes took 40 s, 95 % of them up to 2 min`."""
    known = f"as of {when(one.as_of)} ({duration(max(0.0, now - one.as_of))} old" if one.as_of else "never complete ("
    allowed = "" if one.objective is None else f"{', ' if one.as_of else ''}may be {duration(one.objective)} old"
    said = f"{known}{allowed})" if one.as_of or allowed else "never complete"
    if one.documents:
        said += f"; changes took {duration(one.lag_p50)}, 95 % of them up to {duration(one.lag_p95)}"
    return said


def warning(source: str, one: Fresh, now: float) -> str:
    """What is to be looked at where it is staler than it may be."""
    return (
        f"{source} is staler than its objective allows, since {duration(max(0.0, now - one.breached_since))}: "
        f"{line(one, now)}; `penstock ingest {source}` says what is in the way"
    )
