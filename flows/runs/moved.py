"""Documents that moved: gone under one uri, new under another, the same text. Their vectors are in the index.

The cache may have forgotten them, or be empty on a new machine; so the vectors of what is about to go are put into it
before anything is embedded. Cost grows with what is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from penstock.embed.cache import Cache, key_of
from penstock.flows.plans.planning import Planned

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader

_AT_ONCE = 200
"""Documents whose vectors are held in memory at once."""


def keep(
    planned: Planned,
    cache: Cache,
    identity: Mapping[str, str],
    reader: Callable[[], AbstractContextManager[Reader]],
) -> None:
    """Put the vectors of documents that are gone, and of those that are to be made again, into `cache`."""
    uris = sorted(_candidates(planned))
    if not uris:
        return
    key = key_of(identity)
    with reader() as open_reader:
        for start in range(0, len(uris), _AT_ONCE):
            found = open_reader.passages(uris[start : start + _AT_ONCE])
            cache.put({key(each.row.text): each.vector for each in found})


def _candidates(planned: Planned) -> Iterable[str]:
    """What is gone, if anything is new; and what changed: most passages of an edited document are as they were."""
    new = any(plan.adopted or any(todo.prior is None for todo in plan.todo) for plan in planned.plans)
    for plan in planned.plans:
        if new:
            yield from (state.uri for state in plan.gone if state.chunks)
        yield from (todo.item.uri for todo in plan.todo if todo.prior is not None and todo.prior.chunks)
