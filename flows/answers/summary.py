"""The account of a run as a person reads it on its page in Prefect."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from penstock.flows.answers.render import duration, money, plain, size
from penstock.flows.runs.accounting import STATES, Accounting, Shipment

_MARKUP = re.compile(r"([\\`|\[\]!])")

_MEANING = {
    "unchanged": "already indexed, not touched",
    "indexed": "new or changed, searchable now",
    "failed": "something was in the way; tried again by the next run",
    "rejected": "cannot become text until the file or the parser changes",
    "filtered": "left out by configuration",
    "deferred": "not reached in this run",
}


def sentence(account: Accounting) -> str:
    """One line for the state's message."""
    return (
        f"version {account.version}: {account.indexed} indexed, {account.unchanged} unchanged, "
        f"{account.rejected} rejected, {account.failed} failed, {account.deferred} deferred, "
        f"{account.deleted} deleted, {account.withheld} withheld, of {account.listed} listed"
    )


def markdown(account: Accounting) -> str:
    """The accounting table, throughput and failures. Every figure is computed; the table adds up or it says so."""
    total = sum(getattr(account, name) for name in STATES)
    rows = [f"| {name} | {getattr(account, name)} | {_MEANING[name]} |" for name in STATES]
    parts = [
        "## What became of every document",
        "",
        "| state | documents | meaning |",
        "|---|---:|---|",
        *rows,
        f"| **listed** | **{account.listed}** | {'adds up' if total == account.listed else 'DOES NOT ADD UP'} |",
        "",
        f"Deleted: {account.deleted}. Withheld from deletion: {account.withheld}. Parts not listed: {account.gaps}. "
        f"Sources not listed: {account.unlisted}. Sources held: {account.held}.",
        "",
        "## Throughput",
        "",
        f"Version {account.version} after {account.seconds:.1f} s: {account.chunks} chunks, {account.tokens} tokens; "
        f"{account.embedded_tokens} embedded now{_rate(account)}, {account.taken_over_tokens} taken over, "
        f"{account.reused_tokens} not again because their vectors were there ({account.reused_share:.0%}, "
        f"{account.reused_chunks} chunks);{_paid(account)} {account.fetched} documents fetched; "
        f"padding {_padding(account)}; {account.resumed} documents taken over from an interrupted run.",
        "",
        "| stage | seconds |",
        "|---|---:|",
        *(f"| {stage} | {spent:.1f} |" for stage, spent in account.stage_seconds.items()),
        "",
        "The stages run beside each other; the longest one limits.",
    ]
    if account.quality:
        parts += ["", "## Vectors of this run", "", *_vectors(account.quality)]
    if account.reasons:
        parts += [
            "",
            "## Failed and rejected, by reason",
            "",
            "| state | reason | documents |",
            "|---|---|---:|",
        ]
        parts += [
            f"| {status} | {_cell(reason)} | {count} |"
            for status, reasons in sorted(account.reasons.items())
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        ]
        parts += ["", f"{_next_try(account)}`penstock failures` lists each with its detail."]
    if account.retries:
        parts += ["", "## Requests that were repeated", "", "| source | reason | times |", "|---|---|---:|"]
        parts += [
            f"| {_cell(source)} | {_cell(reason)} | {count} |"
            for source, reasons in sorted(account.retries.items())
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        ]
    if account.ship:
        parts += [
            "",
            "## DR stores",
            "",
            "| DR store | up to version | still to go | shipped now | seconds behind its commit |",
        ]
        parts += ["|---|---:|---|---|---|", *(_shipment(name, one) for name, one in account.ship.items())]
    if account.messages:
        parts += ["", "## To be looked at", "", *(f"- {_cell(message)}" for message in account.messages)]
    return "\n".join(parts) + "\n"


def _vectors(quality: dict[str, float]) -> list[str]:
    """What was committed beside what was there before; what is out of the ordinary stands among the messages."""
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


def _shipment(name: str, one: Shipment) -> str:
    left = "nothing"
    if one.versions_behind is None or one.bytes_behind is None or one.seconds_behind is None:
        left = "unknown"
    elif one.versions_behind:
        left = f"{one.versions_behind} versions, {size(one.bytes_behind)}; behind by {duration(one.seconds_behind)}"
    shipped = f"{one.shipped_versions} versions, {size(one.shipped_bytes)}"
    late = f"median {one.lag_p50:.1f}, at most {one.lag_max:.1f}" if one.shipped_versions else ""
    return f"| {_cell(name)} | {one.version} | {left} | {shipped} | {late} |"


def _next_try(account: Accounting) -> str:
    if not account.next_try:
        return ""
    return f"The first of them is due at {datetime.fromtimestamp(account.next_try, UTC):%Y-%m-%d %H:%M:%S} UTC. "


def _rate(account: Accounting) -> str:
    return f", at {account.tokens_per_second:,.0f} tokens/s" if account.tokens_per_second else ""


def _paid(account: Accounting) -> str:
    price = "" if account.cost is None else f" ({money(account.cost)})"
    return f" {account.billed_tokens} to be paid for{price};" if account.billed_tokens else ""


def _padding(account: Accounting) -> str:
    return f"{1 - account.embedded_tokens / account.padded:.0%}" if account.padded else "none"


def _cell(text: str) -> str:
    """Names of files are hostile: nothing of them may become markup, be it escaped already."""
    return _MARKUP.sub(r"\\\1", " ".join(plain(text).split())).replace("&", "&amp;").replace("<", "&lt;")
