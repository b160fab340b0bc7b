"""The Prefect flow, where it is more than the run that it wraps."""

from __future__ import annotations

import inspect
from concurrent.futures import Future
from typing import Any

import pytest

from penstock.embed.types import EncoderUnavailable
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.prepare import ShardLimits
from penstock.flows.runs.stop import Halted, Stop
from penstock.index.errors import Conflict, Corrupt, NoSpace, Unavailable

DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unavailable("x"), True),
        (NoSpace("x"), False),
        (Conflict("x"), False),
        (Corrupt("x"), False),
        (KeyError(), False),
    ],
)
def test_only_a_store_that_was_away_is_tried_again(
    error: Exception, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrying is for what passes by itself, and only a commit is retried."""
    from penstock.flows import showing

    monkeypatch.setattr(showing, "AGAIN_SECONDS", (0.0, 0.0))
    for name, most in (("prepare", 1), ("embed", 1), ("commit", 3)):
        tries: list[None] = []

        def stage(tries: list[None] = tries) -> None:
            tries.append(None)
            raise error

        with pytest.raises(type(error)):
            showing.patient(name, stage, Stop(), lambda line: None)()
        assert len(tries) == (most if again else 1)


def test_a_commit_is_not_tried_again_after_a_stop() -> None:
    """Whoever asked for the stop does not wait for a store that is away."""
    from penstock.flows import showing

    stop, tries = Stop(), []

    def stage() -> None:
        tries.append(None)
        raise Unavailable("the store is away")

    stop.request()
    with pytest.raises(Unavailable):
        showing.patient("commit", stage, stop, lambda line: None)()
    assert len(tries) == 1


def test_prefect_runs_nothing_again_and_keeps_no_result() -> None:
    """Resumption is ours: neither the flow nor what it shows of its stages is ever run again by Prefect."""
    from penstock.flows.ingest import ingest
    from penstock.flows.showing import TASKS

    assert set(TASKS) == {"prepare", "embed", "commit"}
    assert [task.retries for task in TASKS.values()] == [0, 0, 0]
    assert ingest.retries == 0
    assert not any(task.persist_result for task in TASKS.values())


def test_the_flow_takes_what_the_command_line_takes() -> None:
    """Backfills from the command line and deployments have the same parameters."""
    from penstock.flows.ingest import ingest

    parameters = set(inspect.signature(ingest.fn).parameters)
    assert parameters == (set(IngestRequest.__struct_fields__) - {"targets"}) | {"sources"}


@pytest.mark.parametrize("tokens_per_second", [0.0, 50.0, 3_000.0, 20_000.0, 200_000.0, 5_000_000.0])
def test_a_run_of_a_day_makes_a_few_hundred_task_runs_at_any_speed(tokens_per_second: float) -> None:
    """Three for a shard, of a run that embeds for a day or waits a day for its source: the server lives through it."""
    from penstock.flows.showing import TASKS, is_shown

    limits, spent, shards = ShardLimits(), 0.0, 0
    while spent < DAY:
        tokens = limits.token_budget(shards, tokens_per_second)
        embedding = tokens / tokens_per_second if tokens_per_second else limits.wait_seconds
        spent += min(embedding, limits.wait_seconds) if shards > 5 else embedding
        shards += 1
    assert len(TASKS) * sum(is_shown(number) for number in range(1, shards + 1)) <= 400


def test_every_shard_of_a_small_run_is_shown() -> None:
    """What a person starts by hand is seen whole; a long run is seen to move on whatever shard it is at."""
    from penstock.flows.showing import is_shown

    assert all(is_shown(number) for number in range(1, 31))
    assert [number for number in range(31, 81) if is_shown(number)] == [40, 50, 60, 70, 80]
    assert sum(is_shown(number) for number in range(1, 1_000_001)) < 200


def test_a_stage_that_fails_is_shown_whatever_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for a failure among shards that are left out of the picture."""
    from penstock.flows import showing

    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(showing.TaskRuns, "_show", lambda self, name, number, outcome: seen.append((name, number)))
    shown = showing.TaskRuns(lambda line: None)
    good, bad, halted = Future[Any](), Future[Any](), Future[Any]()
    for number, outcome in ((31, good), (33, bad), (34, halted)):
        shown("embed", number, outcome)
    good.set_result(None)
    bad.set_exception(EncoderUnavailable("gone"))
    halted.set_exception(Halted())
    assert seen == [("embed", 33)]


def test_showing_that_fails_is_said_once_and_ends_nothing() -> None:
    """Outside a flow run nothing can be shown: the stages go on, and one line says what is missing."""
    from penstock.flows import showing

    said: list[str] = []
    shown = showing.TaskRuns(said.append)
    monkey = {"prepare": _Refusing()}
    showing_tasks, showing.TASKS = showing.TASKS, monkey  # type: ignore[assignment]
    try:
        for number in (1, 2):
            shown("prepare", number, Future())
        shown.settle()
    finally:
        showing.TASKS = showing_tasks
    assert len(said) == 1 and "no runner" in said[0]


class _Refusing:
    def submit(self, *arguments: object) -> object:
        raise RuntimeError("no runner")


@pytest.mark.parametrize(
    ("deferred", "stopped", "cancelling", "name", "kind"),
    [
        (0, False, False, "Completed", "COMPLETED"),
        (3, False, False, "Incomplete", "COMPLETED"),
        (3, True, False, "Stopped", "COMPLETED"),
        (0, True, False, "Completed", "COMPLETED"),
        (3, True, True, "Cancelled", "CANCELLED"),
    ],
)
def test_the_state_says_what_became_of_the_work(
    deferred: int, stopped: bool, cancelling: bool, name: str, kind: str
) -> None:
    """Work that is left is never plainly Completed; a stop that came when all was done has stopped nothing."""
    from penstock.flows import ending

    account = Accounting(listed=5, indexed=5 - deferred, deferred=deferred, version=2)
    state = ending.state(account, stopped=stopped, cancelling=cancelling)
    assert (state.name, state.type.value) == (name, kind)
    assert f"{deferred} deferred" in (state.message or "")
