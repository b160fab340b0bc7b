"""The Prefect flow: the same run, seen and steered from Prefect.

Prefect gives scheduling, visibility, cancellation and alerts; *resumption is ours*, by the commit. So the flow never
retries as a whole and results are not persisted. The work is done on threads of our own, and shown in Prefect beside it
(`showing.py`): a server that is away is not in its way. How a run ends there: `ending.py`. Deploy it by module path:
`penstock.flows.ingest:ingest`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from penstock.flows import ending, prefect_api, reach, wiring
from penstock.flows.commands.moments import window
from penstock.flows.config.settings import load
from penstock.flows.config.source_settings import Priority
from penstock.flows.deploying.heartbeat import quicken
from penstock.flows.parameters import AtLeastNone, AtLeastOne, Minutes, Moment
from penstock.flows.runs.accounting import Accounting, IngestRequest, Retry
from penstock.flows.runs.launch import on_threads
from penstock.flows.runs.pipeline import Handle, Submit
from penstock.flows.runs.run import Run
from penstock.flows.runs.stop import Stop
from penstock.flows.showing import TaskRuns, patient
from penstock.flows.sources.redactor import PREFECT, REDACTOR, clean_logs
from penstock.flows.telling import page, tags

quicken()

_handed_over: ContextVar[Recorded | None] = ContextVar("penstock_run", default=None)
"""A run that the command line has planned already, so that the source is not listed twice."""


class Recorded:
    """A run that is recorded from this process, and what came of it, whatever came of the record."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.begun = self.done = False
        self.error: BaseException | None = None


def _run_name() -> str:
    """`ingest handbook, wiki since 2026-11-01`: what a person looks for in the list of runs."""
    given, names = flow_run.parameters, []
    if given.get("config"):
        with suppress(Exception):  # what is wrong with the settings, the run itself will say
            names = list(load(Path(given["config"])).sources)
    if (recorded := _handed_over.get()) is not None:
        return tags.title(recorded.run.request, names)
    return tags.asked("penstock-ingest", given, names)


@flow(
    name="penstock-ingest",
    flow_run_name=_run_name,
    description="Bring the index in step with its sources.",
    retries=0,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # each waits for a stage, and does nothing else
)
def ingest(
    sources: list[str] | None = None,
    home: str | None = None,
    config: str | None = None,
    name: str | None = None,
    limit: AtLeastOne | None = None,
    dry_run: bool = False,
    confirm_deletions: AtLeastNone = 0,
    since: Moment | None = None,
    until: Moment | None = None,
    budget_tokens: AtLeastOne | None = None,
    budget_minutes: Minutes | None = None,
    full: bool = False,
    retry: bool = False,
    priority: Priority | None = None,
) -> State[Any]:
    """Bring the index in step with its sources. Ends as `ran` says.

    Args:
        sources: Names of sources, or paths; none of them: all that are configured.
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
        name: The name of the source, where one folder is given and its own name does not do.
        limit: At most so many documents; the others wait for the next run.
        dry_run: Say what would be done, in documents, tokens and minutes; change nothing.
        confirm_deletions: Believe it when at most so many documents of a source are gone at once.
        since: Only what changed at the source from then on: 7d, 2026-11-21 or 2026-11-21T08:00Z.
        until: Only what changed at the source before then.
        budget_tokens: When so many tokens are prepared, the run ends in order; the next one goes on.
        budget_minutes: When so much time is spent, the run ends in order; the next one goes on.
        full: List everything, also of a source that can say what changed.
        retry: List nothing, and do only again what failed.
        priority: Who goes first where a device is wanted; none: as the sources say.
    """
    recorded = _handed_over.get()
    if recorded is not None:
        return _recorded(recorded)
    reach.check(sources or (), wiring.configured(config))
    first, last = window(since, until, wiring.clock())
    return ran(
        IngestRequest(
            home=str(wiring.home_of(home, config)),
            config=config,
            targets=tuple(sources or ()),
            name=name,
            limit=limit,
            dry_run=dry_run,
            confirm_deletions=confirm_deletions,
            since=first,
            until=last,
            budget_tokens=budget_tokens,
            budget_minutes=budget_minutes,
            full=full,
            retry=Retry() if retry else None,
            priority=priority,
        )
    )


def ran(request: IngestRequest) -> State[Any]:
    """The state that a flow run ends in which did `request`: the body of every flow that ingests.

    `Completed`; named `Incomplete` if documents failed, were deferred or withheld; named `Stopped` if somebody asked
    the process to stop and work was left. `Cancelled` if that was Prefect. Raises what the run raises, if it could not
    finish; Prefect calls that `Failed`. Either way it first waits for a Prefect that is away, so that the record tells
    the truth; if that does not come back, the process ends here, with the exit code of the command line.
    """
    observer = _ToLog()
    if said := prefect_api.version_problem():
        observer.note(said)
    run = Run(request, observer, Stop())
    try:
        account = _executed(run)
    except Exception as error:
        ending.of_a_failure(run, error)
        raise
    return ending.of_a_deployment(run, account)


def _recorded(recorded: Recorded) -> State[Any]:
    recorded.begun = True
    try:
        account = _executed(recorded.run)
    except BaseException as error:
        recorded.error = error
        if isinstance(error, Exception):
            ending.of_a_failure(recorded.run, error, ending.PERSON_WAITS_SECONDS)
        raise
    recorded.done = True
    return ending.of_a_command(recorded.run, account)


def _executed(run: Run) -> Accounting:
    clean_logs(*PREFECT)
    _outlive_whoever_reads_the_log()
    run.closing.append(partial(page.ended, run, page.begun(run)))
    shown = TaskRuns(run.observer.note)

    def engine(pipeline: Callable[[Submit], None]) -> None:
        def with_patience(submit: Submit) -> None:
            def patiently(name: str, number: int, stage: Callable[[], Any]) -> Handle:
                return submit(name, number, patient(name, stage, run.stop, run.observer.note))

            pipeline(patiently)

        try:
            on_threads(with_patience, shown)
        finally:
            shown.settle()

    try:
        return run.execute(engine)
    except Exception as error:  # Prefect keeps what it says
        REDACTOR.cleaned(error)
        raise


def record(run: Run) -> Accounting:
    """Execute a run that is planned already as a flow run, from this process. Raises what the run raises.

    What becomes of the record changes nothing: where it cannot be begun the run goes on without, and where it cannot be
    ended that is said.
    """
    recorded = Recorded(run)
    token = _handed_over.set(recorded)
    logging.raiseExceptions = False  # what cannot be logged in Prefect is no news for whoever sits at the terminal
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):  # we wait ourselves, and may be interrupted
            _as_flow_run(run.request)
    except BaseException as error:
        if recorded.error is not None:
            raise recorded.error from None
        if not recorded.done and not isinstance(error, Exception):
            raise
        run.observer.note(f"Prefect's record of this run is not complete ({type(error).__name__})")
    finally:
        _handed_over.reset(token)
    return run.accounting if recorded.begun else run.execute(on_threads)


def _as_flow_run(request: IngestRequest) -> None:
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


def _outlive_whoever_reads_the_log() -> None:
    """Where a worker is killed nobody reads the log any more; Prefect's console would end the run at its next line."""
    for console in (getattr(each, "console", None) for name in PREFECT for each in logging.getLogger(name).handlers):
        if console is not None:
            console.on_broken_pipe = partial(setattr, console, "quiet", True)


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


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
