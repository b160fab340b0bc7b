"""The parts of a run's page: tables and lists, each a list of Markdown lines, empty where there is nothing to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from penstock.flows.answers import freshness
from penstock.flows.answers.render import duration, plain, size
from penstock.flows.runs.accounting import STATES, Accounting, Shipment, SourceAccount
from penstock.flows.runs.story import Story

_MARKUP = re.compile(r"([\\`|\[\]!*_#~<>&$])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
MOST_SOURCES = 50
"""Rows of the table by source; the others are summed up."""


def cell(text: str) -> str:
    """Names of files are hostile: nothing of them may become markup, be it escaped already, nor an address a link."""
    said = _MARKUP.sub(lambda found: _ENTITIES.get(found[1], f"\\{found[1]}"), " ".join(plain(text).split()))
    return said.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A head that ends with `:` stands over numbers. No rows: no table."""
    made = [f"| {' | '.join(row)} |" for row in rows]
    if not made:
        return []
    bars = ["---:" if head.endswith(":") else "---" for head in heads]
    return [f"| {' | '.join(head.rstrip(':') for head in heads)} |", f"|{'|'.join(bars)}|", *made]


def titled(title: str, lines: Sequence[str]) -> list[str]:
    """The lines under their title; nothing where there are none."""
    return ["", f"## {title}", "", *lines] if lines else []


def by_source(account: Accounting) -> list[str]:
    """The same figures for each source, where there are several, with their sum, which is the account's."""
    if len(account.sources) < 2:
        return []
    shown = dict(list(account.sources.items())[:MOST_SOURCES])
    rest = [one for name, one in account.sources.items() if name not in shown]
    rows = [_source(cell(name), one) for name, one in shown.items()]
    if rest:
        rows.append(_source(f"{len(rest)} more", _summed(rest)))
    total = _summed(list(account.sources.values()))
    fits = all(getattr(total, state) == getattr(account, state) for state in STATES)
    rows.append([f"**{value}**" for value in _source("all" if fits else "all, WHICH IS NOT THE ACCOUNT", total)])
    heads = ["source", "listed:", *(f"{state}:" for state in STATES), "deleted:", "withheld:"]
    return table(heads, rows) + [
        line
        for name, one in shown.items()
        if one.problem
        for line in ("", f"{cell(name)} was not listed: {cell(one.problem)}.")
    ]


def _source(name: str, one: SourceAccount) -> list[str]:
    states = [str(getattr(one, state)) for state in STATES]
    return [name, str(one.listed), *states, str(one.deleted), str(one.withheld)]


def _summed(accounts: Sequence[SourceAccount]) -> SourceAccount:
    names = ("listed", *STATES, "deleted", "withheld", "gaps", "waits")
    return SourceAccount(**{name: sum(getattr(one, name) for one in accounts) for name in names})


def slowest(story: Story) -> list[str]:
    """The documents that took longest before they were embedded."""
    return table(
        ["document", "seconds:", "size:", "came to"],
        (
            [cell(one.uri), f"{one.seconds:.1f}", size(one.bytes), cell(f"{one.status} {one.reason}")]
            for one in story.slowest()
        ),
    )


def aside(story: Story) -> list[str]:
    """What was waited for, what gave way, who was left out."""
    given = [
        f"- {cell(device)} was given to something more urgent {_times(one.times)}, for {duration(one.seconds)}"
        + (f"; {_times(one.lent)} our model made its vectors" if one.lent else "")
        + "."
        for device, one in sorted(story.gave_way.items())
    ]
    waited = [
        f"- {cell(source)}: nobody was to ask it, {_times(one.times)}, for {duration(one.seconds)} altogether "
        f"(the last time: {cell(one.why)})."
        for source, one in sorted(story.waits.items())
    ]
    return given + waited


def replicas(account: Accounting, story: Story) -> list[str]:
    """Which version each replica has, and who took no part at some time."""
    names = sorted({*account.replicas, *story.left_out})
    rows = []
    for name in names:
        version = account.replicas.get(name)
        state = "unknown" if version is None else f"version {version}"
        fine = version is not None and version >= account.version
        said = story.left_out.get(name, "")
        health = "in step" if fine else "behind: a later commit brings it in step, or penstock repair"
        rows.append([cell(name), state, f"{health}; once left out: {cell(said)}" if said else health])
    return table(["replica", "has", "health"], rows)


def fresh(account: Accounting, now: float) -> list[str]:
    """How fresh each source is after this run."""
    return table(
        ["source", "each change before that is searchable"],
        (
            [cell(name), cell(freshness.line(one, now)) + (" **older than it may be**" if one.breached_since else "")]
            for name, one in account.freshness.items()
        ),
    )


def reasons(account: Accounting) -> list[str]:
    """Why documents failed or were rejected, most frequent first."""
    found = table(
        ["state", "reason", "documents:"],
        (
            [status, cell(reason), str(count)]
            for status, counts in sorted(account.reasons.items())
            for reason, count in _ranked(counts)
        ),
    )
    return [*found, "", f"{_next_try(account)}`penstock failures` lists each with its detail."] if found else []


def repeated(account: Accounting) -> list[str]:
    """Requests that had to be made again."""
    return table(
        ["source", "reason", "times:"],
        (
            [cell(source), cell(reason), str(count)]
            for source, counts in sorted(account.retries.items())
            for reason, count in _ranked(counts)
        ),
    )


def shipments(account: Accounting) -> list[str]:
    """How far each DR store is."""
    heads = ["DR store", "up to version:", "still to go", "shipped now", "seconds behind its commit"]
    return table(heads, (_shipment(name, one) for name, one in account.ship.items()))


def vectors(quality: Mapping[str, float]) -> list[str]:
    """What was committed beside what was there before; what is out of the ordinary stands among the messages."""
    if not quality:
        return []
    rows = [
        ("tokens in a chunk, mean", "tokens_mean", ".0f"),
        ("tokens in a chunk, standard deviation", "tokens_sd", ".0f"),
        ("cosine of two documents, mean", "documents_cosine", ".3f"),
        ("near-duplicates", "near_duplicates", ".1%"),
    ]
    lines = ["| | this run | before |", "|---|---:|---:|"]
    for said, name, form in rows:
        before = format(quality[f"before_{name}"], form) if f"before_{name}" in quality else ""
        lines.append(f"| {said} | {format(quality[name], form)} | {before} |")
    if "centroid_cosine" in quality:
        lines += ["", f"Cosine of the centroids: {quality['centroid_cosine']:.3f}."]
    return lines


def _shipment(name: str, one: Shipment) -> list[str]:
    left = "nothing"
    if one.versions_behind is None or one.bytes_behind is None or one.seconds_behind is None:
        left = "unknown"
    elif one.versions_behind:
        left = f"{one.versions_behind} versions, {size(one.bytes_behind)}; behind by {duration(one.seconds_behind)}"
    shipped = f"{one.shipped_versions} versions, {size(one.shipped_bytes)}"
    late = f"median {one.lag_p50:.1f}, at most {one.lag_max:.1f}" if one.shipped_versions else ""
    return [cell(name), str(one.version), left, shipped, late]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _next_try(account: Accounting) -> str:
    if not account.next_try:
        return ""
    return f"The first of them is due at {datetime.fromtimestamp(account.next_try, UTC):%Y-%m-%d %H:%M:%S} UTC. "
