"""Whether another index goes on in the stead of this one, and what an index that was restored says of that itself.

    fenced.json        in the home: the fence that was met, so that it holds also where no DR store answers any more

It is that of one lineage: a home that another index was restored into since is free. And whether a home that is empty
was lost: then nothing begins anew in it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import archives
from penstock.index.errors import Corrupt, Fenced, IndexFault, WrongIndex

if TYPE_CHECKING:
    from penstock.index.recovery.archive import Archive
    from penstock.index.recovery.fencing import Fence

SECONDS = 5.0
"""So long, and no longer, a writer waits for a DR store to say it."""
MET = "fenced.json"


class Met(msgspec.Struct, frozen=True):
    """Index `successor` was restored from `version` of `lineage` and goes on in its stead: so said DR store `place`."""

    format: int
    lineage: str
    successor: str
    version: int
    place: str


def check(settings: Settings, home: Path, lineage: str, environ: Mapping[str, str], seconds: float = SECONDS) -> None:
    """Raise `Fenced` where this home has met a fence of `lineage`, or a DR store of the configuration has one, which is
    remembered.

    A DR store that is away, slow or empty keeps nobody from writing: `status` says that it is.
    """
    check_met(home, lineage)
    for outcome in _asked(settings.snapshots.places, environ, seconds, lambda a: a.check_not_fenced(lineage)).values():
        if isinstance(outcome, Fenced):
            remember(home, outcome)
            raise outcome


def check_nothing_lost(settings: Settings, home: Path, environ: Mapping[str, str], seconds: float = SECONDS) -> None:
    """Raise `WrongIndex` where a home that holds nothing is about to be given an index, and a DR store has one.

    The home was lost, it seems, and beginning anew would pay for all of it again.

    A DR store that is away keeps nobody from beginning.
    """
    for place, newest in _asked(settings.snapshots.places, environ, seconds, _newest).items():
        if isinstance(newest, int) and newest:
            raise WrongIndex(
                f"{home} holds no index, and {place} has one, up to version {newest}: if the home was lost, "
                f"`penstock restore --from {shlex.quote(place)}` brings it back; to begin a new one, give "
                "[snapshots] store an empty place"
            )


def _newest(archive: Archive) -> int:
    """The newest version that lies there whole, 0 if none does."""
    return next((version for version, _ in reversed(archive.versions())), 0)


def check_met(home: Path, lineage: str | None) -> None:
    """Raise `Fenced` where this home has met a fence of `lineage`. No DR store is asked."""
    from penstock.index.blobs import framed
    from penstock.index.recovery.fencing import Fence, ShutOut

    path = home / MET
    try:
        found = framed.decode(path.read_bytes(), Met, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, IndexFault) as fault:
        raise Fenced(
            f"{path} cannot be read, and says that an index that was restored goes on in the stead of one that was in "
            "this home: nothing is written. If it is not this one, delete that file"
        ) from fault
    if found.lineage == lineage:
        raise ShutOut(Fence(found.format, found.lineage, found.successor, found.version, 0.0), found.place)


def remember(home: Path, fault: Exception) -> None:
    """Keep in the home that a DR store shuts it out; whole or not at all. One that nobody can read is not kept."""
    from penstock.index.blobs import framed
    from penstock.index.recovery.fencing import ShutOut

    if not isinstance(fault, ShutOut):
        return
    said = Met(framed.FORMAT, fault.fence.lineage, fault.fence.successor, fault.fence.version, fault.where)
    temp = home / f"{MET}.{os.getpid()}"
    with contextlib.suppress(OSError):  # it is refused all the same, as long as the DR store answers
        try:
            with temp.open("wb") as out:
                out.write(framed.encode(said))
                out.flush()
                os.fsync(out.fileno())
            temp.replace(home / MET)
        finally:
            temp.unlink(missing_ok=True)


def forget_unreadable(home: Path) -> None:
    """Another index is restored into this home: what cannot be read is not about that one."""
    with contextlib.suppress(OSError):
        try:
            check_met(home, None)
        except Fenced:
            (home / MET).unlink()


def own(home: Path, lineage: str) -> Fence | None:
    """What this index says in each DR store: that it goes on instead of the one that it was restored from. None where
    it was not restored, or as a fork."""
    from penstock.index.blobs import framed
    from penstock.index.recovery import progress
    from penstock.index.recovery.fencing import Fence

    with contextlib.suppress(IndexFault):
        done = progress.finished(home)
        if done is not None and not done.fork and done.lineage == lineage:
            return Fence(framed.FORMAT, done.was, lineage, done.version, done.ended)
    return None


def renew(
    home: Path, lineage: str, environ: Mapping[str, str], note: Callable[[str], None], seconds: float = SECONDS
) -> None:
    """Put the fence of this index again where it was restored from, if it is missing there. One that is away is let be:
    it may be gone for good."""
    from penstock.index.recovery import progress

    fence = own(home, lineage)
    if fence is None:
        return
    with contextlib.suppress(IndexFault):
        done = progress.finished(home)
        places = [StorePlace(each.url, each.variables) for each in done.origins] if done is not None else []
        for where, outcome in _asked(places, environ, seconds, partial(_renewed, fence)).items():
            if isinstance(outcome, Corrupt):
                note(f"{where}: {outcome}")
            elif outcome is True:
                note(f"{where}: the fence of the index that this one was restored from was missing, and is there again")


def _renewed(fence: Fence, archive: Archive) -> bool:
    """Whether it was missing. Raises `Corrupt` where something else is in its place."""
    from penstock.index.blobs import framed
    from penstock.index.recovery import fencing

    if archive.told() != fence.lineage:  # an empty place is a disk that is not mounted, or another's by now
        return False
    if fencing.put(archive.store, fence):
        return True
    key = fencing.FENCES + fence.successor
    try:
        framed.decode(archive.store.get(key), fencing.Fence, key)
    except Corrupt as fault:
        raise Corrupt(
            f"{key} is damaged, and shuts out every index but this one: see that the old one is stopped, delete that "
            "file, then `penstock ship` puts it again"
        ) from fault
    return False


def _asked(
    places: list[StorePlace], environ: Mapping[str, str], seconds: float, ask: Callable[[Archive], object]
) -> dict[str, object]:
    """What each of these says, or raised; what does not answer in time is left out."""
    from penstock.index.blobs.deadline import gather

    work: dict[str, Callable[[], object]] = {}
    for place in places:
        with contextlib.suppress(IndexFault):
            work[place.url] = partial(ask, archives.archive(place, environ, _unsaid))
    return dict(gather(work, lambda _: False, grace=0.0, limit=seconds, clock=time.monotonic))


def _unsaid(_: str) -> None:
    return
