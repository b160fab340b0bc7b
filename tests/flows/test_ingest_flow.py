"""The Prefect flow, where it is more than the run that it wraps."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.index.errors import Conflict, Corrupt, NoSpace, Unavailable


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
def test_only_a_store_that_was_away_is_tried_again(error: Exception, again: bool) -> None:
    """Retrying is for what passes by itself."""
    from prefect.states import Failed

    from penstock.flows.ingest import commit

    condition: Any = commit.retry_condition_fn
    assert condition(commit, None, Failed(data=error)) is again


def test_only_commits_are_retried_and_no_result_is_kept() -> None:
    """Resumption is ours: the flow and the other stages are never run again by Prefect."""
    from penstock.flows.ingest import commit, embed, ingest, prepare

    assert [task.retries for task in (prepare, embed, commit)] == [0, 0, 2]
    assert ingest.retries == 0
    assert not any(task.persist_result for task in (prepare, embed, commit))


def test_the_flow_takes_what_the_command_line_takes() -> None:
    """Backfills from the command line and deployments have the same parameters."""
    import inspect

    from penstock.flows.ingest import ingest
    from penstock.flows.runs.accounting import IngestRequest

    parameters = set(inspect.signature(ingest.fn).parameters)
    assert parameters == (set(IngestRequest.__struct_fields__) - {"targets"}) | {"sources"}
