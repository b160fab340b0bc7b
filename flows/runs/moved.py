"""Vectors that the index has already: of documents that moved, and of the passages of an edited one that stayed.

The cache may have forgotten them, be switched off, or be empty on a new machine. So whatever a shard lacks is looked
for in the index before the device is asked: under the same uri, and among the documents that are about to go, if
anything is new. A shard that the cache has whole reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from penstock.flows.plans.planning import Planned
    from penstock.index.reading.passages import Passage
    from penstock.index.reading.reader import Reader

Donors = Callable[[Collection[bytes], Collection[str]], Mapping[bytes, NDArray[np.float32]]]
"""The vectors, float32 (dim,), that can be had for these keys of texts, which are wanted for these uris."""
_AT_ONCE = 200
"""Documents whose vectors are held in memory at once."""


class Moved:
    """`Donors` out of the index as it was when the run was planned. `reader` is opened when it is first needed."""

    def __init__(
        self, planned: Planned, key: Callable[[str], bytes], reader: Callable[[], AbstractContextManager[Reader]]
    ) -> None:
        self._key, self._reader = key, reader
        new = any(plan.adopted or any(todo.prior is None for todo in plan.todo) for plan in planned.plans)
        self._gone = sorted(state.uri for plan in planned.plans for state in plan.gone if new and state.chunks)
        self._known = {
            todo.item.uri
            for plan in planned.plans
            for todo in plan.todo
            if todo.prior is not None and todo.prior.chunks
        }
        self._where: dict[bytes, str] | None = None

    def __call__(self, keys: Collection[bytes], uris: Collection[str]) -> Mapping[bytes, NDArray[np.float32]]:
        """As `Donors`. Cost grows with `uris`, and once with what is gone."""
        same = sorted(self._known.intersection(uris))
        if not same and not self._gone:
            return {}
        wanted = set(keys)
        with self._reader() as reader:
            if self._where is None:
                self._where = {self._key(each.row.text): each.row.uri for each in _passages(reader, self._gone)}
            former = sorted({self._where[key] for key in wanted if key in self._where})
            found: dict[bytes, NDArray[np.float32]] = {}
            for passage in _passages(reader, [*same, *former]):
                key = self._key(passage.row.text)
                if key in wanted:
                    found[key] = passage.vector
        return found


def nobody(keys: Collection[bytes], uris: Collection[str]) -> Mapping[bytes, NDArray[np.float32]]:
    """`Donors` where there are none."""
    return {}


def _passages(reader: Reader, uris: list[str]) -> Iterator[Passage]:
    for start in range(0, len(uris), _AT_ONCE):
        yield from reader.passages(uris[start : start + _AT_ONCE])
