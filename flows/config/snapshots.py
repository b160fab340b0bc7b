"""`[snapshots]`: where copies of every version go, and how long they are kept there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from penstock.flows.config import place
from penstock.flows.config.keys import SettingsError
from penstock.flows.config.periods import LONGEST

_VARIABLES = r"^[A-Z][A-Z0-9_]*_$"


class StorePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One DR store: a folder on another disk, or a bucket.

    `variables` DR_: its credentials are DR_AWS_ACCESS_KEY_ID and so on, and it never sees those of the index.
    """

    url: str
    variables: Annotated[str, Meta(pattern=_VARIABLES)] | None = None


class SnapshotSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`store`: one place, several, or tables with `url` and `variables`. `variables` is for those that name none.

    `during_runs`: whether each commit of a run is shipped at once; else only `penstock ship` does. `wait_seconds`: how
    long a run waits at its end for the last of it. `keep_last` snapshots that have no time of their own, and each
    version for `keep_days` (point in time), are what `snapshot expire` leaves. `probes`: a file with a question a line,
    for `penstock drill`.
    """

    store: str | list[str | StorePlace] | None = None
    variables: Annotated[str, Meta(pattern=_VARIABLES)] | None = None
    during_runs: bool = True
    wait_seconds: Annotated[float, Meta(ge=0, le=LONGEST)] = 60.0
    keep_last: Annotated[int, Meta(ge=1)] = 7
    keep_days: Annotated[float, Meta(ge=0, le=LONGEST / 86_400)] = 30.0
    probes: str | None = None

    @property
    def places(self) -> list[StorePlace]:
        """The DR stores, in the order of the file."""
        said = [] if self.store is None else [self.store] if isinstance(self.store, str) else self.store
        return [StorePlace(each, self.variables) if isinstance(each, str) else each for each in said]


def anchored(found: SnapshotSettings, folder: Path, where: str) -> SnapshotSettings:
    """With every path absolute, taken from `folder`. Raises `SettingsError`."""
    places: list[Any] = []
    for number, each in enumerate(found.places):
        try:
            url = place.store(each.url, folder)
        except place.BadPlace as wrong:
            raise SettingsError(f"{where}: snapshots.store[{number}]: {wrong}") from None
        places.append(StorePlace(url, each.variables or found.variables))
    if len({each.url for each in places}) < len(places):
        raise SettingsError(f"{where}: snapshots.store names one place twice; give each DR store its own")
    probes = None if found.probes is None else str(folder / Path(found.probes).expanduser())
    return msgspec.structs.replace(found, store=places or None, probes=probes)


def check_apart(found: SnapshotSettings, replicas: list[str], where: str) -> None:
    """Raise `SettingsError` where a DR store is a replica, or lies in one."""
    for each in found.places:
        if shared := next((replica for replica in replicas if place.overlap(each.url, replica)), None):
            raise SettingsError(
                f"{where}: snapshots.store: {each.url} and replica {shared} are one place, or one lies in the other; "
                "a DR store is a place of its own, best on another disk or in another region"
            )
