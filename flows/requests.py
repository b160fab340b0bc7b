"""The Prefect flows that people start by a form: `penstock-backfill`, `penstock-urgent` and `penstock-retry`.

Each is an ingest with a purpose: the body is that of `penstock.flows.ingest`, the parameters are its own. Deploy them
by module path: `penstock.flows.requests:backfill` and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.flows import reach, wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.moments import window
from penstock.flows.config.settings import load
from penstock.flows.config.source_settings import Priority
from penstock.flows.ingest import ran
from penstock.flows.parameters import AtLeastNone, AtLeastOne, Minutes, Moment, Paths, Reason
from penstock.flows.runs.accounting import IngestRequest, Retry
from penstock.flows.telling import tags


def _run_name() -> str:
    """`backfill wiki since 30d`, `urgent handbook/leaflet.pdf`, `retry wiki timed_out`: what a person asked for."""
    return tags.asked(str(flow_run.flow_name), flow_run.parameters)


@flow(
    name="penstock-backfill",
    flow_run_name=_run_name,
    description="Ingest whole sources, or a window of time; gives way to everything else.",
    retries=0,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=64),
)
def backfill(
    sources: list[str] = [],  # noqa: B006 - a form shows a list, and nobody changes it
    since: Moment | None = None,
    until: Moment | None = None,
    limit: AtLeastOne | None = None,
    budget_tokens: AtLeastOne | None = None,
    budget_minutes: Minutes | None = None,
    dry_run: bool = False,
    full: bool = False,
    confirm_deletions: AtLeastNone = 0,
    config: str | None = None,
    home: str | None = None,
) -> State[Any]:
    """Ingest with time to spare. Ends as an ingest does.

    Args:
        sources: Names of sources; none of them: all that are configured.
        since: Only what changed at the source from then on: 7d, 2026-11-21 or 2026-11-21T08:00Z.
        until: Only what changed at the source before then.
        limit: At most so many documents; the others wait for the next run.
        budget_tokens: When so many tokens are prepared, the run ends in order; the next one goes on.
        budget_minutes: When so much time is spent, the run ends in order; the next one goes on.
        dry_run: Say what would be done, in documents, tokens and minutes; change nothing.
        full: List everything, also of a source that can say what changed.
        confirm_deletions: Believe it when at most so many documents of a source are gone at once.
        config: The configuration file (penstock.toml).
        home: The folder of the index, where it is not the configuration's.
    """
    first, last = window(since, until, wiring.clock())
    reach.check(sources, wiring.configured(config))
    return ran(
        IngestRequest(
            home=str(wiring.home_of(home, config)),
            config=config,
            targets=tuple(sources),
            limit=limit,
            dry_run=dry_run,
            confirm_deletions=confirm_deletions,
            since=first,
            until=last,
            budget_tokens=budget_tokens,
            budget_minutes=budget_minutes,
            full=full,
            priority="backfill",
        )
    )


@flow(
    name="penstock-urgent",
    flow_run_name=_run_name,
    description="Ingest these files or folders now, before everything else.",
    retries=0,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=64),
)
def urgent(paths: Paths, config: str | None = None, home: str | None = None) -> State[Any]:
    """Ingest what somebody waits for. Ends as an ingest does.

    Args:
        paths: Files or folders, taken from the configuration's folder; or names of sources.
        config: The configuration file (penstock.toml).
        home: The folder of the index, where it is not the configuration's.
    """
    targets = anchored(paths, wiring.configured(config))
    reach.check(targets, wiring.configured(config))
    return ran(
        IngestRequest(
            home=str(wiring.home_of(home, config)),
            config=config,
            targets=targets,
            priority="urgent",
        )
    )


@flow(
    name="penstock-retry",
    flow_run_name=_run_name,
    description="Do again exactly what failed.",
    retries=0,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=64),
)
def retry(
    source: str | None = None,
    reason: Reason | None = None,
    uris: list[str] = [],  # noqa: B006
    limit: AtLeastOne | None = None,
    priority: Priority = "scheduled",
    config: str | None = None,
    home: str | None = None,
) -> State[Any]:
    """Do again the documents that failed, whenever their next try would be; nothing is listed. Ends as an ingest does.

    Args:
        source: Only of this source.
        reason: Only what failed, or was rejected, for this reason.
        uris: Only these documents, also if they were rejected.
        limit: At most so many documents.
        priority: Who goes first where a device is wanted.
        config: The configuration file (penstock.toml).
        home: The folder of the index, where it is not the configuration's.
    """
    known = {**FAILURES, **REJECTIONS}
    if reason and reason not in known:
        raise UsageError(f"reason {reason}: known are {', '.join(sorted(known))}")
    return ran(
        IngestRequest(
            home=str(wiring.home_of(home, config)),
            config=config,
            targets=(source,) if source else (),
            limit=limit,
            retry=Retry(source or "", reason or "", tuple(uris)),
            priority=priority,
        )
    )


def anchored(words: Sequence[str], config: Path | None) -> tuple[str, ...]:
    """Paths made absolute, taken from the folder of `config`, wherever the worker stands; names of sources as they are.

    What is a source and also lies in that folder is refused by the run, as the command line refuses it.
    """
    if not words:
        raise UsageError("paths: name at least one file, folder or source")
    folder = config.absolute().parent if config else Path.cwd()
    named = load(config).sources if config else {}
    return tuple(
        word if word in named and not (folder / word).exists() else str(folder / Path(word).expanduser())
        for word in words
    )
