"""The stages of a run, shown in Prefect as task runs while they run on threads of our own.

    stage ──▶ a thread of ours ──▶ its outcome ──▶ the run goes on
                                        └──▶ a task run that waits for the same outcome, and is what people see

Prefect is for seeing and steering, never in the way of work: a task run that cannot be told to a server that is away
holds up nothing, and ends nothing. Prefect sees shards, never documents, and of a long run not every shard.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Cancelled

from penstock.flows.runs.stop import Halted, Stop
from penstock.flows.sources.redactor import REDACTOR
from penstock.index.errors import NoSpace, Unavailable

ALL_UP_TO, SPARSER = 30, 10
"""So many of a stage are all shown; from then on every tenth, from ten times as many on every hundredth, and so on."""
AGAIN_SECONDS = (5.0, 15.0)
"""How long a commit waits for a store that was away, before it is tried again."""
_PATIENCE = 5.0
"""Seconds that task runs get to say how they ended, when all stages did."""

Outcome = Callable[[], "State[Any] | None"]


def is_shown(number: int) -> bool:
    """Whether the stage of shard `number` (from 1) is a task run: a run of any length makes a few hundred of them.

    A stage that failed is always shown.
    """
    step = 1
    while number > ALL_UP_TO * step:
        step *= SPARSER
    return number % step == 0


@task(name="prepare", task_run_name="prepare {number}", persist_result=False, cache_policy=NO_CACHE)
def prepare(number: int, outcome: Outcome) -> State[Any] | None:
    """Fetch, parse and cut one shard into the spool."""
    return outcome()


@task(name="embed", task_run_name="embed {number}", persist_result=False, cache_policy=NO_CACHE)
def embed(number: int, outcome: Outcome) -> State[Any] | None:
    """Embed one shard; holds the device's slot."""
    return outcome()


@task(name="commit", task_run_name="commit {number}", persist_result=False, cache_policy=NO_CACHE)
def commit(number: int, outcome: Outcome) -> State[Any] | None:
    """Commit one shard: all of it, or nothing."""
    return outcome()


TASKS = {"prepare": prepare, "embed": embed, "commit": commit}


class TaskRuns:
    """Shows stages as task runs of the flow run that it is made in. `note` is told once if that does not work."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._context = note, copy_context()
        self._handles: list[Any] = []
        self._lock = Lock()
        self._broken = False

    def __call__(self, name: str, number: int, outcome: Future[Any]) -> None:
        if is_shown(number):
            self._show(name, number, outcome)
        else:
            outcome.add_done_callback(partial(self._show_failure, name, number))

    def settle(self) -> None:
        """Return when the task runs said how they ended, or did not within some seconds. All stages have ended."""
        with self._lock:
            handles, self._handles = self._handles, []
        for handle in handles:
            with suppress(Exception):
                handle.wait(timeout=_PATIENCE)

    def _show_failure(self, name: str, number: int, outcome: Future[Any]) -> None:
        if not outcome.cancelled() and isinstance(outcome.exception(), Exception):
            self._context.copy().run(self._show, name, number, outcome)  # the thread that calls has no flow run

    def _show(self, name: str, number: int, outcome: Future[Any]) -> None:
        if self._broken:
            return
        try:
            # A task run with tags would first ask the server for their limits, and wait for one that is away.
            with TagsContext(current_tags=set()):
                handle = TASKS[name].submit(number, _cleaned(outcome))
        except Exception as error:
            self._broken = True
            self._note(f"Prefect does not show the stages of this run ({error}); documents are not affected")
        else:
            with self._lock:
                self._handles.append(handle)


def patient(name: str, stage: Callable[[], Any], stop: Stop, note: Callable[[str], None]) -> Callable[[], Any]:
    """A commit that is tried again where a store was away; every other stage as it is."""
    if name != "commit":
        return stage

    def again() -> Any:
        for seconds in AGAIN_SECONDS:
            try:
                return stage()
            except Unavailable as error:
                if not passes(error) or stop.wait(seconds):
                    raise
                note(f"{error}; the commit is tried again")
        return stage()

    return again


def passes(error: Exception) -> bool:
    """A store that did not answer may answer soon; a full disk will not empty itself."""
    return isinstance(error, Unavailable) and not isinstance(error, NoSpace)


def _cleaned(outcome: Future[Any]) -> Outcome:
    def result() -> State[Any] | None:
        try:
            outcome.result()
        except Halted:
            return Cancelled(message="the run was asked to stop")
        except Exception as error:
            REDACTOR.cleaned(error)
            raise
        return None

    return result
