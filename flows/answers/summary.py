"""The account of a run as a person reads it on its page in Prefect."""

from __future__ import annotations

from penstock.flows.answers import summary_parts as parts
from penstock.flows.answers.limits import limiting
from penstock.flows.answers.render import money
from penstock.flows.runs.accounting import STATES, Accounting
from penstock.flows.runs.story import Story

_MEANING = {
    "unchanged": "already indexed, not touched",
    "indexed": "new or changed, searchable now",
    "failed": "something was in the way; tried again by the next run",
    "rejected": "cannot become text until the file or the parser changes",
    "filtered": "left out by configuration",
    "deferred": "not reached in this run",
}


def sentence(account: Accounting) -> str:
    """One line for the state's message, which adds up."""
    filtered = f"{account.filtered} filtered, " if account.filtered else ""
    return (
        f"version {account.version}: {account.indexed} indexed, {account.unchanged} unchanged, "
        f"{account.rejected} rejected, {account.failed} failed, {account.deferred} deferred, "
        f"{filtered}{account.deleted} deleted, {account.withheld} withheld, of {account.listed} listed"
    )


def markdown(account: Accounting, story: Story | None = None, now: float = 0.0) -> str:
    """The accounting table, throughput, what limits, and all that a person may have to look at.

    Every figure is computed; the tables add up or say so. `story`: what happened beside the account; `now`: seconds
    since 1970, for ages.
    """
    story = story or Story()
    lines = [
        "## What became of every document",
        "",
        *_states(account),
        "",
        f"Deleted: {account.deleted}. Withheld from deletion: {account.withheld}. Parts not listed: {account.gaps}. "
        f"Sources not listed: {account.unlisted}. Sources held: {account.held}.",
        *parts.titled("To be looked at", [f"- {parts.cell(message)}" for message in account.messages]),
        *parts.titled("By source", parts.by_source(account)),
        *parts.titled("Failed and rejected, by reason", parts.reasons(account)),
        *parts.titled("Throughput", _throughput(account, story)),
        *parts.titled("How fresh the index is", parts.fresh(account, now)),
        *parts.titled("Waited for, and given way to", parts.aside(story)),
        *parts.titled("Slowest documents", parts.slowest(story)),
        *parts.titled("Requests that were repeated", parts.repeated(account)),
        *parts.titled("Vectors of this run", parts.vectors(account.quality)),
        *parts.titled("Replicas", parts.replicas(account, story)),
        *parts.titled("DR stores", parts.shipments(account)),
    ]
    return "\n".join(lines) + "\n"


def _states(account: Accounting) -> list[str]:
    total = sum(getattr(account, name) for name in STATES)
    fits = "adds up" if total == account.listed else "DOES NOT ADD UP"
    rows = [[name, str(getattr(account, name)), _MEANING[name]] for name in STATES]
    return parts.table(["state", "documents:", "meaning"], [*rows, ["**listed**", f"**{account.listed}**", fits]])


def _throughput(account: Accounting, story: Story) -> list[str]:
    limits = limiting(account, story)
    stages = [[stage, f"{spent:.1f}"] for stage, spent in account.stage_seconds.items()]
    return [
        f"Version {account.version} after {account.seconds:.1f} s: {account.chunks} chunks, {account.tokens} tokens; "
        f"{account.embedded_tokens} embedded now{_rate(account)}, {account.taken_over_tokens} taken over, "
        f"{account.reused_tokens} not again because their vectors were there ({account.reused_share:.0%}, "
        f"{account.reused_chunks} chunks);{_paid(account)} {account.fetched} documents fetched; "
        f"padding {_padding(account)}; {account.resumed} documents taken over from an interrupted run.",
        *(["", limits] if limits else []),
        *(["", *parts.table(["stage", "seconds:"], stages)] if stages else []),
    ]


def _rate(account: Accounting) -> str:
    return f", at {account.tokens_per_second:,.0f} tokens/s" if account.tokens_per_second else ""


def _paid(account: Accounting) -> str:
    price = "" if account.cost is None else f" ({money(account.cost)})"
    return f" {account.billed_tokens} to be paid for{price};" if account.billed_tokens else ""


def _padding(account: Accounting) -> str:
    return f"{1 - account.embedded_tokens / account.padded:.0%}" if account.padded else "none"
