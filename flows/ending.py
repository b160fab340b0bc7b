"""How a flow run that ingested ends: in the state that is true, told to a Prefect that may be away for a while.

Prefect's own engine would try to report for a minute, and then call a run `Failed` whose documents are all indexed. So
nothing is reported before Prefect answers; where it does not come back, the process ends with the exit code of the
command line, and only the record of the run lacks its end.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from penstock.flows import prefect_api, wiring
from penstock.flows.answers import summary
from penstock.flows.answers.exits import outcome
from penstock.flows.runs.accounting import Accounting
from penstock.flows.runs.run import Run
from penstock.flows.runs.stop import on_signals
from penstock.flows.sources.redactor import REDACTOR

SERVER_AWAY_SECONDS, PERSON_WAITS_SECONDS = 600.0, 60.0
"""How long the end of a run waits for a Prefect that is away: nobody waits for a deployed run."""


def of_a_deployment(run: Run, account: Accounting) -> State[Any]:
    """The state to end in. Does not return where Prefect stays away: the process has ended."""
    with on_signals(run.stop, partial(_waits_no_longer, run)):
        if not is_told(run, SERVER_AWAY_SECONDS):
            leave(account.exit_code(), summary.sentence(account))
        return told(run, account)


def of_a_failure(run: Run, error: Exception, seconds: float = SERVER_AWAY_SECONDS) -> None:
    """Wait until Prefect can be told of `error`, and tell what else there is.

    Of a deployed run it does not return where Prefect stays away.
    """
    with on_signals(run.stop, partial(_waits_no_longer, run)):
        if is_told(run, seconds):
            _tell_the_rest(run)
        else:
            code, _, said = outcome(error)
            leave(code, REDACTOR.clean(said))


def of_a_command(run: Run, account: Accounting) -> State[Any]:
    """As `of_a_deployment`, where a person waits at a terminal: not for long, and it always returns."""
    with on_signals(run.stop, partial(_waits_no_longer, run)):
        if is_told(run, PERSON_WAITS_SECONDS):
            return told(run, account)
    return state(account, stopped=run.stop(), cancelling=False)


def _waits_no_longer(run: Run, _: str) -> None:
    run.observer.note("not waiting for Prefect any longer")


def is_told(run: Run, seconds: float) -> bool:
    """Whether Prefect answers within `seconds`. After a stop was asked for it is not waited for: who asked may kill."""
    if prefect_api.there() or not prefect_api.configured():
        return True
    if run.stop():
        return False
    run.observer.note(
        f"the work is done; waiting up to {seconds / 60:.0f} min for Prefect, to tell it how the run ended"
    )
    return prefect_api.until_there(run.stop.wait, seconds, wiring.clock)


def _tell_the_rest(run: Run) -> None:
    for tell in run.closing:
        tell()


def told(run: Run, account: Accounting) -> State[Any]:
    """The state, after the account was kept as an artifact."""
    _tell_the_rest(run)
    page = REDACTOR.clean(summary.markdown(account, run.story, wiring.clock()))
    try:
        create_markdown_artifact(markdown=page, key="penstock-ingest", description="What became of every document")
    except Exception as error:
        run.observer.note(f"the account could not be kept as an artifact ({type(error).__name__})")
    return state(account, stopped=run.stop(), cancelling=run.stop() and is_cancelling())


def state(account: Accounting, *, stopped: bool, cancelling: bool) -> State[Any]:
    """What is true of a run that ended in order.

    A run that was stopped with work to do is not plainly `Completed`, and nothing crashed: the next one goes on.
    """
    data, message = msgspec.to_builtins(account), summary.sentence(account)
    if cancelling:
        return Cancelled(message=message, data=data)
    if account.exit_code():
        return Completed(name="Stopped" if stopped else "Incomplete", message=message, data=data)
    return Completed(message=message, data=data)


def is_cancelling() -> bool:
    """Whether it was Prefect who asked for the stop: somebody cancelled the run there."""
    try:
        found = get_client(sync_client=True).read_flow_run(UUID(flow_run.id)).state
    except Exception:
        return False
    return found is not None and (found.is_cancelling() or found.is_cancelled())


def leave(code: int, said: str) -> None:
    """End the process if it is that of a deployed run; else return."""
    if os.environ.get("PREFECT__FLOW_RUN_ID") != flow_run.id:
        return
    with suppress(Exception):
        print(f"penstock: Prefect is away, its record of this run has no end; the run itself: {said}", file=sys.stderr)
        sys.stderr.flush()
    os._exit(code)
