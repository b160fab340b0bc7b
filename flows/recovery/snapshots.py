"""Snapshots as commands and flows have them: in all DR stores, or in those that somebody names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from penstock.flows import wiring
from penstock.flows.answers.exits import COMPLETE, UNAVAILABLE, UsageError, outcome
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import archives, shipping
from penstock.flows.runs.accounting import Shipment
from penstock.index.errors import Unavailable, WrongIndex

if TYPE_CHECKING:
    from penstock.index.recovery.archive import Archive, Key, Named
    from penstock.index.recovery.audit import Audit
    from penstock.index.recovery.contents import Contents, Shown
    from penstock.index.recovery.expire import Expired

Progress = Callable[[str, int, int], None]
Report = Callable[[str], None]
THREADS = 8
LONGEST_NAME = 100
"""Letters of a snapshot's name: in a DR store it is a file's name, with a few more behind it."""
_T = TypeVar("_T")


class Answers(msgspec.Struct, Generic[_T], frozen=True):
    """What each DR store answered, in order; why others did not, by place; and the worst of their exit codes."""

    stores: list[_T]
    problems: dict[str, str]
    code: int = COMPLETE


class Created(msgspec.Struct, frozen=True):
    """A snapshot in one DR store, and what had to be copied there for it."""

    store: str
    name: str
    version: int
    committed_at: float
    taken_at: float
    keep_until: float
    held: bool
    copied_versions: int
    copied_blobs: int
    copied_bytes: int


def create(
    settings: Settings,
    home: Home,
    name: str,
    note: Report,
    *,
    stopped: Callable[[], bool],
    keep_seconds: float | None = None,
    hold: bool = False,
) -> Answers[Created]:
    """Ship everything, then give the newest version this name in every DR store. "": the time of day is its name.

    Raises `UsageError` for a name that is none; `WrongIndex`, before anything is named, where another version has it.
    """
    from penstock.index.recovery import snapshots

    now = wiring.clock()
    name = checked(name or time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now)))
    figures, _ = shipping.catch_up(settings, home, note, stopped=stopped)
    if stopped():
        raise KeyboardInterrupt
    ready, problems = _reached(settings, figures, note)
    key = _newest(ready)
    for archive in ready.values():
        if there := archive.names()[0].get(name):
            snapshots.check_same(archive, there, key)
    copied = {archive.name: figures[url] for url, archive in ready.items()}
    until = 0.0 if keep_seconds is None else now + keep_seconds

    def one(archive: Archive) -> Created:
        named = snapshots.take(archive, archive.record(*key), name, now=now, keep_until=until, hold=hold)
        if named.keep_until != until and named.taken_at != now:
            note(f"{archive.name}: it had that name before, and is kept as was said then")
        return _created(named, archive, copied[archive.name])

    done = each(list(ready.values()), one)
    return msgspec.structs.replace(
        done, problems={**problems, **done.problems}, code=UNAVAILABLE if problems or done.problems else COMPLETE
    )


def checked(name: str) -> str:
    """The name, if it is one. Raises `UsageError`."""
    from penstock.index.stores.store import is_key

    if len(name) > LONGEST_NAME:
        raise UsageError(f"--name {name[:20]}…: a snapshot's name has at most {LONGEST_NAME} letters, not {len(name)}")
    if "/" in name or not is_key(name):
        raise UsageError(f"--name {name}: a snapshot's name is made of letters, digits, _ . and -")
    return name


class HeldIn(msgspec.Struct, frozen=True):
    """Whether a snapshot is held in one DR store."""

    store: str
    name: str
    version: int
    held: bool


def opened(settings: Settings, places: Sequence[StorePlace], note: Report) -> list[Archive]:
    """These DR stores; where none is given, those of the configuration. Raises `UsageError` where there are none."""
    found = list(places) or settings.snapshots.places
    if not found:
        raise UsageError("no DR store is configured ([snapshots] store); name one with --store URL")
    return [archives.archive(place, os.environ, note) for place in found]


def list_(stores: Sequence[Archive], progress: Progress) -> Answers[Contents]:
    """What has a name there, and from when to when there are versions."""
    from penstock.index.recovery.contents import contents

    return each(stores, lambda archive: contents(archive, progress))


def show(stores: Sequence[Archive], name: str, version: int | None) -> Answers[Shown]:
    """What is in a snapshot, or in a version. Raises `WrongIndex` where no store that answers has it."""
    from penstock.index.recovery import contents

    return _somewhere(each(stores, lambda archive: contents.show(archive, name, version)))


def verify(
    stores: Sequence[Archive],
    progress: Progress,
    *,
    name: str = "",
    version: int | None = None,
    every: bool = False,
    rate_bytes: int | None = None,
) -> Answers[Audit]:
    """Every byte of what is asked for, against its name. At most so many bytes a second, if that is said."""
    from penstock.index.blobs.scrub import Rate
    from penstock.index.recovery.audit import audit

    rate = Rate(rate_bytes, time.monotonic, wiring.sleep) if rate_bytes else None

    def one(archive: Archive) -> Audit:
        return audit(
            archive,
            name=name,
            version=version,
            every=every,
            rate=rate,
            threads=THREADS,
            report_progress=progress,
        )

    return _somewhere(each(stores, one)) if name or version is not None else each(stores, one)


def hold(stores: Sequence[Archive], name: str, held: bool) -> Answers[HeldIn]:
    """Hold a snapshot, or let go of it, wherever it is. Raises `WrongIndex` where no store that answers has it."""
    from penstock.index.recovery import snapshots

    def one(archive: Archive) -> HeldIn:
        named = snapshots.hold(archive, name, held, wiring.clock())
        return HeldIn(archive.name, named.name, named.version, held)

    return _somewhere(each(stores, one))


def expire(
    stores: Sequence[Archive],
    progress: Progress,
    *,
    keep_last: int,
    keep_days: float,
    dry_run: bool = False,
) -> Answers[Expired]:
    """Delete what policy lets go. Each DR store on its own: what one cannot do does not keep the others from it."""
    from penstock.index.recovery.expire import expire as let_go
    from penstock.index.recovery.policy import Policy

    policy = Policy(keep_last, keep_days * 86_400.0)

    def one(archive: Archive) -> Expired:
        return let_go(
            archive,
            policy,
            clock=wiring.clock,
            token=wiring.token,
            dry_run=dry_run,
            threads=THREADS,
            report_progress=progress,
        )

    return each(stores, one)


def each(stores: Sequence[Archive], work: Callable[[Archive], _T]) -> Answers[_T]:
    """`work` for each DR store; one that fails does not keep others from answering. A single one's fault is raised."""
    done: list[_T] = []
    problems: dict[str, str] = {}
    code = COMPLETE
    for archive in stores:
        try:
            done.append(work(archive))
        except Exception as error:
            if len(stores) == 1:
                raise
            exit_code, _, said = outcome(error)
            problems[archive.name], code = said.removeprefix(f"{archive.name}: "), max(code, exit_code)
    return Answers(done, problems, code)


def _somewhere(found: Answers[_T]) -> Answers[_T]:
    """What only some of the DR stores have was asked of all of them."""
    if not found.stores and found.problems:
        said = "; ".join(f"{name}: {why}" for name, why in found.problems.items())
        raise (Unavailable if found.code == UNAVAILABLE else WrongIndex)(said)
    return found


def _reached(
    settings: Settings, figures: Mapping[str, Shipment], note: Report
) -> tuple[dict[str, Archive], dict[str, str]]:
    """The DR stores that have all that was there when shipping began; and why the others have not, by place."""
    ready, problems = dict[str, "Archive"](), dict[str, str]()
    for place in settings.snapshots.places:
        one = figures[place.url]
        if one.problem or not one.version:
            problems[place.url] = one.problem or "nothing was shipped there"
        else:
            ready[place.url] = archives.archive(place, os.environ, note)
    if not ready:
        raise Unavailable("; ".join(f"{name}: {why}" for name, why in problems.items()))
    return ready, problems


def _newest(ready: Mapping[str, Archive]) -> Key:
    """(version, epoch) of the newest version that all of them have: what was committed meanwhile is not in it."""
    shared = set.intersection(*(set(archive.versions()) for archive in ready.values()))
    if not shared:
        raise Unavailable("the DR stores have no version in common; run `penstock ship`")
    return max(shared, key=lambda key: (key[1], key[0]))


def _created(named: Named, archive: Archive, one: Shipment) -> Created:
    return Created(
        archive.name,
        named.name,
        named.version,
        named.committed_at,
        named.taken_at,
        named.keep_until,
        named.name in archive.held(),
        one.shipped_versions,
        one.shipped_blobs,
        one.shipped_bytes,
    )
