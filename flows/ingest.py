"""The Prefect flow: the same run, seen and steered from Prefect.

Prefect gives scheduling, visibility, cancellation and alerts; *resumption is ours*, by the commit. So the flow
never retries as a whole, results are not persisted, and only `commit` is retried, for an unavailable store.
Prefect sees shards, never documents. Deploy it by module path: `penstock.flows.ingest:ingest`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import msgspec
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from penstock.flows import wiring
from penstock.flows.answers import summary
from penstock.flows.commands.moments import moment
from penstock.flows.config.settings import load
from penstock.flows.config.source_settings import Priority
from penstock.flows.runs.accounting import Accounting, IngestRequest, Retry
from penstock.flows.runs.pipeline import Handle, Submit
from penstock.flows.runs.run import Run
from penstock.flows.sources.redactor import REDACTOR, clean_logs
from penstock.index.errors import NoSpace, Unavailable

_handed_over: ContextVar[Run | None] = ContextVar("penstock_run", default=None)
"""A run that the command line has planned already, so that the source is not listed twice."""


def _store_was_away(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Retry condition: a store that did not answer may answer soon; a full disk will not empty itself."""
    return isinstance(state.data, Unavailable) and not isinstance(state.data, NoSpace)


@task(name="prepare", task_run_name="prepare {number}", persist_result=False, cache_policy=NO_CACHE)
def prepare(number: int, stage: Callable[[], Any]) -> Any:
    """Fetch, parse and cut one shard into the spool."""
    return stage()


@task(name="embed", task_run_name="embed {number}", persist_result=False, cache_policy=NO_CACHE)
def embed(number: int, stage: Callable[[], Any]) -> Any:
    """Embed one shard; holds the device's slot."""
    return stage()


@task(
    name="commit",
    task_run_name="commit {number}",
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_store_was_away,
)
def commit(number: int, stage: Callable[[], Any]) -> Any:
    """Commit one shard: all of it, or nothing."""
    return stage()


_TASKS = {"prepare": prepare, "embed": embed, "commit": commit}


def _run_name() -> str:
    """`ingest handbook, wiki`: what a person looks for in the list of runs."""
    given = flow_run.parameters
    sources = given.get("sources") or []
    if not sources and given.get("config"):
        with suppress(Exception):  # what is wrong with the settings, the run itself will say
            sources = list(load(Path(given["config"])).sources)
    names = ", ".join(PurePath(source).name or source for source in sources)
    return f"ingest {names or 'everything configured'}"[:100]


@flow(
    name="penstock-ingest",
    flow_run_name=_run_name,
    description="Bring the index in step with its sources.",
    retries=0,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # threads start as devices need them
)
def ingest(
    sources: list[str] | None = None,
    home: str | None = None,
    config: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    confirm_deletions: int = 0,
    since: str | None = None,
    until: str | None = None,
    budget_tokens: int | None = None,
    budget_minutes: float | None = None,
    full: bool = False,
    retry: bool = False,
    priority: Priority | None = None,
) -> State[Any]:
    """Ingest `sources` (names or paths; none: all that are configured) into `home` or the home of `config`.

    `limit` bounds how many documents are worked on; `confirm_deletions` is the ceiling up to which a large
    loss of documents at a source is believed. `since` and `until` are times as the command line takes them (`7d`);
    at the budget the run stops at a shard boundary; `full` lists everything; `retry` does only again what failed;
    `priority` says who goes first where a device is wanted. Ends as `ran` says.
    """
    run = _handed_over.get()
    if run is not None:
        return _ended(run)
    return ran(
        IngestRequest(
            home=str(wiring.home_of(home, config)),
            config=config,
            targets=tuple(sources or ()),
            name=name,
            limit=limit,
            dry_run=dry_run,
            confirm_deletions=confirm_deletions,
            since=moment("since", since, wiring.clock()),
            until=moment("until", until, wiring.clock()),
            budget_tokens=budget_tokens,
            budget_minutes=budget_minutes,
            full=full,
            retry=Retry() if retry else None,
            priority=priority,
        )
    )


def ran(request: IngestRequest) -> State[Any]:
    """The state that a flow run ends in which did `request`: the body of every flow that ingests.

    `Completed`, named `Incomplete` if documents failed, were deferred or withheld. Raises what the run raises, if it
    could not finish; Prefect calls that `Failed`.
    """
    return _ended(Run(request, _ToLog()))


def _ended(run: Run) -> State[Any]:
    clean_logs("prefect", "prefect.flow_runs", "prefect.task_runs")
    try:
        account = run.execute(_engine)
    except Exception as error:  # Prefect keeps what it says
        REDACTOR.cleaned(error)
        raise
    page = REDACTOR.clean(summary.markdown(account))
    create_markdown_artifact(markdown=page, key="penstock-ingest", description="What became of every document")
    data = msgspec.to_builtins(account)
    message = summary.sentence(account)
    if account.exit_code():
        return Completed(name="Incomplete", message=message, data=data)
    return Completed(message=message, data=data)


def record(run: Run) -> Accounting:
    """Execute a run that is planned already as a flow run, from this process. Raises what the run raises."""
    token = _handed_over.set(run)
    request = run.request
    try:
        ingest(
            sources=list(request.targets),
            home=request.home,
            config=request.config,
            name=request.name,
            limit=request.limit,
            dry_run=request.dry_run,
            confirm_deletions=request.confirm_deletions,
            since=_time(request.since),
            until=_time(request.until),
            budget_tokens=request.budget_tokens,
            budget_minutes=request.budget_minutes,
            full=request.full,
            retry=request.retry is not None,
            priority=request.priority,
        )
    finally:
        _handed_over.reset(token)
    return run.accounting


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def _engine(pipeline: Callable[[Submit], None]) -> None:
    handles: list[Any] = []

    def submit(name: str, number: int, stage: Callable[[], Any]) -> Handle:
        handle = _TASKS[name].submit(number, stage)
        handles.append(handle)
        return handle  # type: ignore[no-any-return]

    try:
        pipeline(submit)
    finally:
        for handle in handles:
            handle.wait()  # a stage must not go on when what it works with is closed


class _ToLog:
    """An observer for a flow run: what a person would read goes to the run's log."""

    def __init__(self) -> None:
        self._log = get_run_logger()

    def stage(self, name: str) -> None:
        self._log.log(logging.DEBUG, "%s", name)

    def planned(self, documents: int, bytes_: int) -> None:
        self._log.info("%s documents to do, %.1f MB at the source", documents, max(bytes_, 0) / 1e6)

    def advanced(self, documents: int, tokens: int) -> None:
        pass

    def reused(self, tokens: int) -> None:
        pass

    def committed(self, version: int) -> None:
        self._log.info("version %s is committed", version)

    def note(self, message: str) -> None:
        self._log.warning("%s", message)

    def finished(self) -> None:
        pass
