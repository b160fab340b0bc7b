"""The DR stores as donors: where to read what no replica has whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from penstock.flows.config.settings import Settings
from penstock.flows.recovery import archives
from penstock.index.errors import IndexFault

if TYPE_CHECKING:
    from penstock.index.recovery.donor import Donor


def donors(
    settings: Settings, environ: Mapping[str, str], report: Callable[[str], None], lost: Collection[str] = ()
) -> list[Donor]:
    """The DR stores of `[snapshots]`, in the order of the file, without those that are `lost`. Nothing is sent.

    One that cannot even be opened is said and left out: an index must not depend on its copies.
    """
    found: list[Donor] = []
    for place in settings.snapshots.places:
        from penstock.index.recovery.donor import Donor

        try:
            store = archives.archive(place, environ, report).store
        except IndexFault as fault:
            report(f"[snapshots] store: {fault}")
            continue
        if not {store.name, place.url} & set(lost):
            found.append(Donor(store, report))
    return found
