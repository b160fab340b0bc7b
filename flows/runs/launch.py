"""How an ingest is started from the command line: as a Prefect flow run if a Prefect API answers, else on threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from penstock.flows import prefect_api
from penstock.flows.answers.progress import Observer
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.pipeline import Submit
from penstock.flows.runs.run import Run
from penstock.flows.runs.stop import Stop, interrupting

_MOST = 64
"""Stages at the same time, more than any number of devices needs; threads start as they are needed."""


def ingest(request: IngestRequest, observer: Observer) -> Accounting:
    """Run one ingest; a run that has something to do is recorded by Prefect, if an API is configured and answers.

    Raises what a run that could not finish raises: `UsageError`, `SettingsError`, `StopSource`,
    `WrongIndex`, `Unavailable`, …; what was acknowledged before stays, and the spool is kept.
    """
    stop = Stop()
    with interrupting(stop):
        run = Run(request, observer, stop)
        finished = run.plan()
        if finished is not None:
            return finished
        if not prefect_api.answers(observer.note):
            return run.execute(on_threads)
        # Imported only here: prefect takes a second, and nobody needs it where no server listens.
        from penstock.flows.ingest import record

        return record(run)


Shown = Callable[[str, int, "Future[Any]"], None]
"""Is told of each stage that was started: its name, its number, and what will come of it. Never raises, never waits."""


def on_threads(pipeline: Callable[[Submit], None], shown: Shown = lambda name, number, outcome: None) -> None:
    """The engine: each stage on a thread of its own, in the context of whoever started it."""
    with ThreadPoolExecutor(max_workers=_MOST, thread_name_prefix="stage") as pool:

        def submit(name: str, number: int, stage: Callable[[], Any]) -> Future[Any]:
            outcome = pool.submit(copy_context().run, stage)
            shown(name, number, outcome)
            return outcome

        pipeline(submit)
