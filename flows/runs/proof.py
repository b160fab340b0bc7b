"""The run's account, checked against the index itself: what landed is there, what was deleted is not.

Another run may have been faster than the check, and have changed a document once more: an urgent one goes ahead beside
the run that holds its source. Its name is on what it brought in. That is no fault; what the index said before this run
began is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.flows.runs.accounting import Unbalanced
from penstock.index.commits.state import StateView
from penstock.index.types import DocState

_AT_ONCE = 4096
"""Documents whose states are read at a time, a kilobyte or so each."""


def prove(landed: Mapping[str, DocState], index: StateView, before: Callable[[], StateView]) -> None:
    """Raise `Unbalanced` unless the index says of every document what this run committed, or another run after it.

    `before`: the index as it was when this run was planned; asked for only where something is wrong. Cost grows with
    what the run did, not with the index; so many states are read of the index at a time.
    """
    uris, wrong = sorted(landed), list[str]()
    for first in range(0, len(uris), _AT_ONCE):
        some = uris[first : first + _AT_ONCE]
        found = index.find(some)
        suspects = [uri for uri in some if not _agrees(landed[uri], found.get(uri))]
        was = before().find(suspects) if suspects else {}
        wrong += [uri for uri in suspects if not _replaced(landed[uri], found.get(uri), was.get(uri))]
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


def _replaced(mine: DocState, theirs: DocState | None, before: DocState | None) -> bool:
    """Whether another run brought in what is there: neither ours, nor what there was."""
    return theirs is not None and theirs != before and theirs.run not in ("", mine.run)
