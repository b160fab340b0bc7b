"""Documents that no stage touches: settled by the listing alone, or left undone. In the account, and in words."""

from __future__ import annotations

from penstock.embed.types import EncoderUnavailable
from penstock.flows.answers.render import duration
from penstock.flows.plans.plan import SourcePlan
from penstock.flows.plans.planning import Planned
from penstock.flows.runs.accounting import Accounting
from penstock.flows.runs.events import Listed
from penstock.flows.runs.pipeline import count_reason
from penstock.flows.runs.prepare import Preparer
from penstock.flows.sources.redactor import REDACTOR


def settle(planned: Planned, account: Accounting) -> None:
    """Put into the account what is settled by the listing alone."""
    account.version = planned.version
    account.messages += planned.messages
    for plan in planned.plans:
        account.listed += plan.listed
        account.unchanged += plan.unchanged
        account.filtered += plan.filtered
        account.withheld += plan.withheld
        account.deferred += plan.deferred
        for status, reasons in (("rejected", plan.still_rejected), ("failed", plan.waiting)):
            for reason, count in reasons.items():
                setattr(account, status, getattr(account, status) + count)
                count_reason(account, status, reason, count)
        if plan.next_try:
            account.next_try = min(account.next_try or plan.next_try, plan.next_try)
        if plan.held:
            account.held += 1
            account.held_asked += plan.asked
            account.held_lost += plan.lost
            lost = (
                f"; {plan.lost} of its documents are lost, and are embedded again when it goes on" if plan.lost else ""
            )
            account.messages.append(
                f"{plan.source} is held, {plan.held}: it was not listed and stays as it is{lost}; "
                f"mend what was wrong, then `penstock sources resume {plan.source}` lets it go on"
            )
        if plan.unlisted:
            account.unlisted += 1
            account.messages.append(f"{plan.source} could not be listed: {plan.unlisted}; what is known of it stays")
        if plan.withheld:
            account.messages.append(
                f"{plan.source}: {plan.withheld} documents are no longer listed; that many at once is not "
                f"believed. If they are really gone: the same command with --confirm-deletions {plan.withheld}"
            )
        for gap in plan.gaps:
            account.messages.append(f"{gap.uri_prefix} could not be listed ({gap.reason}); what is known of it stays")
            account.gaps += 1


def listed(plan: SourcePlan) -> Listed:
    """What listing a source came to, as it is told to listeners."""
    settled = {
        "unchanged": plan.unchanged,
        "filtered": plan.filtered,
        "rejected": plan.still_rejected.total(),
        "failed": plan.waiting.total(),
    }
    return Listed(
        plan.source,
        plan.listed,
        len(plan.todo),
        len(plan.gone),
        plan.withheld,
        len(plan.gaps),
        problem=REDACTOR.clean(plan.unlisted or plan.held),
        complete=plan.complete or plan.cursor is not None,
        began=plan.began,
        states={state: count for state, count in settled.items() if count},
    )


def why_left(count: int, preparer: Preparer, unavailable: EncoderUnavailable | None, stopped: bool) -> list[str]:
    """Why `count` documents were not done, one line for each reason, and what to do about it."""
    messages = []
    for name, stop in preparer.stopped_sources.items():
        when = "" if stop.after is None else f"; it may be tried again in {duration(stop.after)}"
        messages.append(f"{name} stopped: {stop}{when}")
    if unavailable is not None:
        when = "" if unavailable.after is None else f" in {duration(unavailable.after)}"
        left = f"{count} documents wait" if count else "no document waits"
        messages.append(f"{unavailable}; what was embedded is kept, {left}: run again{when}")
    elif count and stopped:
        messages.append(f"stopped on request with {count} documents to go; the same command goes on from here")
    elif count and preparer.spent:
        messages.append(
            f"the budget of {preparer.spent} is spent with {count} documents to go; the same command goes on"
        )
    elif count and not preparer.stopped_sources:
        messages.append(f"{count} documents were changed by another run; the same command looks again")
    return messages
