"""The run's account, checked against the index itself: what landed is there, what was deleted is not."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.flows.runs.accounting import Unbalanced
from penstock.index.commits.state import StateView
from penstock.index.types import DocState


def prove(landed: Mapping[str, DocState], index: StateView) -> None:
    """Raise `Unbalanced` unless the index says of every document what this run committed.

    Cost grows with what the run did, not with the index.
    """
    found = index.find(sorted(landed))
    wrong = [uri for uri, state in landed.items() if not _agrees(state, found.get(uri))]
    if wrong:
        raise Unbalanced(
            f"the index does not say of {len(wrong)} documents what this run committed, {wrong[0]} among them; "
            "another run may have changed them meanwhile: `penstock verify` tells, and the same command mends it"
        )


def _agrees(mine: DocState, theirs: DocState | None) -> bool:
    if mine.status == "deleted":
        return theirs is None
    return theirs is not None and (theirs.status, theirs.content, theirs.chunks) == (
        mine.status,
        mine.content,
        mine.chunks,
    )
