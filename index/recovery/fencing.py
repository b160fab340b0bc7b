"""Fences: notes in a DR store that an index was restored, and that the one that it was made from must stop.

    fences/{successor}              `Fence`; the key alone says who may go on, whatever is in it

Put by who restored, into the DR stores that it was restored from and into those that it ships to; read by all who
want to write. A fence that cannot be read may be anybody's, so it shuts out all but the index that its key names.
"""

from __future__ import annotations

import shlex

import msgspec

from penstock.index.blobs import framed
from penstock.index.errors import Corrupt, Fenced, Unavailable, WrongIndex
from penstock.index.stores.store import Store

FENCES = "fences/"


class Fence(msgspec.Struct, frozen=True):
    """Index `successor` was restored from `version` of `lineage` and is written instead of it: `lineage` must stop."""

    format: int
    lineage: str
    successor: str
    version: int
    at: float


class ShutOut(Fenced):
    """`fence` names this index."""

    def __init__(self, fence: Fence, where: str) -> None:
        super().__init__(
            f"version {fence.version} of this index was restored, and the restored one goes on in its stead (so says "
            f"{where}): nothing may be written here any more. Search it or export it; for a copy to write, "
            f"`penstock restore --from {shlex.quote(where)} --fork --home NEW`"
        )
        self.fence, self.where = fence, where


def put(store: Store, fence: Fence) -> bool:
    """Shut `fence.lineage` out. False where a fence of that successor is there already, whatever is in it."""
    return store.put_if_absent(FENCES + fence.successor, framed.encode(fence))


def stands(store: Store, successor: str) -> bool:
    """Whether a fence of that successor is there, whatever is in it; False where the store does not say."""
    try:
        return store.size(FENCES + successor) is not None
    except (Unavailable, OSError):
        return False


def check(store: Store, lineage: str) -> None:
    """Raise `ShutOut` where a fence names `lineage`, `Fenced` where one cannot be read that is not `lineage`'s own."""
    unreadable: Fenced | None = None
    for key in list(store.list(FENCES)):
        if key == FENCES + lineage:
            continue
        try:
            said = framed.decode(_got(store, key), Fence, f"{store.name}/{key}")
        except FileNotFoundError:
            continue
        except (Corrupt, WrongIndex, _Unreadable):
            unreadable = Fenced(
                f"{store.name}/{key} cannot be read, and says that an index that was restored goes on instead of "
                "another, perhaps of this one: nothing is written here. If this index is the one that was restored "
                "from, leave it stopped; else delete that file, then run `penstock ship` with the restored index, "
                "which puts it again"
            )
            continue
        if said.lineage == lineage:
            raise ShutOut(said, store.name)
    if unreadable is not None:
        raise unreadable


class _Unreadable(Exception):
    """The store answers, and does not give this one file."""


def _got(store: Store, key: str) -> bytes:
    try:
        return store.get(key)
    except Unavailable:
        store.size(key)  # is it the store, or only this file?
    try:
        return store.get(key)
    except Unavailable as fault:
        raise _Unreadable from fault
