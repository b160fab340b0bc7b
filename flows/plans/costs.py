"""What a dry run foretells of tokens and time, and what a run remembers so that the next one can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock.flows import model_wiring, wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.plans import throughput
from penstock.flows.plans.estimate import Estimate, Pace, estimate
from penstock.flows.plans.planning import Planned
from penstock.flows.runs import endpoint_terms
from penstock.flows.runs.accounting import Accounting, IngestRequest


def foretell(request: IngestRequest, settings: Settings, planned: Planned, account: Accounting) -> None:
    """Fill in the account's `would_…`, and say what could not be known or would end the run early."""
    home = Home(Path(request.home))
    known, wrong = throughput.read(home.cache)
    found = estimate(planned.plans, known.speed(_device(settings)), _paces(settings), planned.tokens_per_document)
    account.would_new, account.would_change, account.would_retry = found.new, found.changed, found.again
    account.would_embed_tokens, account.would_reuse_tokens = found.tokens, found.reused_tokens
    account.would_take_minutes = None if found.minutes is None else round(found.minutes, 2)
    account.would_cost = endpoint_terms.cost(settings, found.tokens)
    if wrong and found.minutes is None:
        account.messages.append(f"{wrong}: how long it takes is not known until a run has measured it again")
    if prepared := sum(1 for _ in home.spool.glob("*/shard.json")) if home.spool.is_dir() else 0:
        what = "1 shard lies" if prepared == 1 else f"{prepared} shards lie"
        account.messages.append(f"{what} prepared in the spool: what is still wanted of it is not fetched again")
    account.messages += _too_little(request, found)


def remember(
    home: Home, settings: Settings, planned: Planned, account: Accounting, prepared: int, note: Callable[[str], None]
) -> None:
    """How fast this run was. `prepared`: tokens that were fetched, parsed and cut in it.

    What a source gave is known only where there was but one.
    """
    now = wiring.clock()
    names = [plan.source for plan in planned.plans if plan.todo]
    sources = {names[0]: throughput.of_source(account, prepared, now)} if len(names) == 1 else {}
    try:
        throughput.remember(
            home.cache, {_device(settings): throughput.of_device(account, now)}, sources, wiring.token()
        )
    except OSError as error:
        note(f"how fast this was is not kept for the next plan: {error}")


def _device(settings: Settings) -> str:
    return throughput.device_key(model_wiring.model_identity(settings), settings.embed.device, throughput.hardware())


def _paces(settings: Settings) -> dict[str, Pace]:
    return {
        name: Pace(said.budget.requests_per_second, said.budget.per_day)
        for name, said in settings.sources.items()
        if said.type != "files"
    }


def _too_little(request: IngestRequest, found: Estimate) -> list[str]:
    """That the budget that was given would end the run early."""
    said = []
    if request.budget_tokens is not None and (left := found.tokens + found.reused_tokens - request.budget_tokens) > 0:
        said.append(f"a budget of {request.budget_tokens:,} tokens would end the run with about {left:,} to go")
    if request.budget_minutes is not None and (found.minutes or 0.0) > request.budget_minutes:
        said.append(f"a budget of {request.budget_minutes:g} minutes would end the run before all is done")
    return said
