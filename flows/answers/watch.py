"""What a look found, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.flows.answers.render import count, duration, plain, size, table
from penstock.flows.metrics.look import Look


def verdict(look: Look) -> str:
    """One sentence."""
    if not look.problems:
        return f"Well: version {look.version}, nothing to see to."
    worst = look.problems[0].said
    more = f" (and {len(look.problems) - 1} more)" if len(look.problems) > 1 else ""
    return f"{worst[:1].upper()}{worst[1:]}{more}."


def payload(look: Look) -> dict[str, Any]:
    """For programs."""
    found: dict[str, Any] = msgspec.to_builtins(look)
    return {"ok": not look.problems, "verdict": verdict(look), **found}


def text(look: Look) -> str:
    """The verdict, what to do, the figures."""
    lines = [plain(verdict(look))]
    for each in look.problems:
        lines.append(f"  {each.kind}: {plain(each.said)}; {plain(each.step)}")
    lines += [f"  late: {plain(name)} did not answer in time" for name in look.late]
    return "\n".join([*lines, "", table([[name, plain(value), ""] for name, value in rows(look)])])


def markdown(look: Look) -> str:
    """The page that a look leaves in Prefect."""
    lines = [f"**{_cell(verdict(look))}**", ""]
    if look.problems:
        lines += ["| problem | what it is | what helps |", "|---|---|---|"]
        lines += [f"| {each.kind} | {_cell(each.said)} | {_cell(each.step)} |" for each in look.problems]
        lines.append("")
    lines += ["| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows(look))])


def rows(look: Look) -> Iterator[tuple[str, str]]:
    """The figures, each with its name."""
    yield "version", "unknown" if look.version is None else str(look.version)
    if look.chunks is not None:
        yield "chunks", f"{look.chunks:,}"
    for source, states in look.documents.items():
        yield f"documents of {source}", ", ".join(f"{n:,} {state}" for state, n in states.items())
    for name, replica in look.replicas.items():
        lacks = f", lacks {size(replica.lacks)}" if replica.lacks else ""
        yield f"replica {name}", f"version {replica.version}{lacks}" if replica.up else replica.problem
    for name, store in look.stores.items():
        yield f"DR store {name}", ", ".join(_store(store.up, store.lag_seconds, store.snapshot_age, store.drill_age))
    for name, fresh in look.freshness.items():
        wanted = f" (objective {duration(fresh.objective)})" if fresh.objective is not None else ""
        yield f"freshness of {name}", f"{duration(fresh.age or 0.0)}{wanted}"
    for name, budget in look.budgets.items():
        used = ", ".join(f"{which} {share:.0%}" for which, share in budget.used.items())
        yield f"budget of {name}", f"{used}{', breaker open' if budget.breaker_open else ''}"
    if look.searches:
        yield "search", f"{max(look.searches) * 1000:.1f} ms at most, of {count(len(look.searches), 'probe')}"
    yield "looked for", duration(look.seconds)


def _store(up: bool, lag: float | None, snapshot: float | None, drill: float | None) -> Iterator[str]:
    yield "answers" if up else "does not answer, or is not to be shipped to"
    if lag is not None:
        yield f"{duration(lag)} behind"
    if snapshot is not None:
        yield f"snapshot {duration(snapshot)} old"
    if drill is not None:
        yield f"drill {duration(drill)} ago"


def _cell(text: str) -> str:
    return plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
