"""The DR stores of the configuration, opened: each with credentials of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from penstock.flows import wiring
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace

if TYPE_CHECKING:
    from penstock.index.recovery.archive import Archive


def archives(settings: Settings, environ: Mapping[str, str], report: Callable[[str], None]) -> list[Archive]:
    """The DR stores of `[snapshots] store`, in the order of the file. Nothing is made and nothing is sent."""
    return [archive(place, environ, report) for place in settings.snapshots.places]


def archive(place: StorePlace, environ: Mapping[str, str], report: Callable[[str], None]) -> Archive:
    """The DR store at `place`. With `variables`, its credentials are the environment's that begin so, and no others."""
    from penstock.index.recovery.archive import Archive
    from penstock.index.stores.stores import open_store

    return Archive(open_store(place.url, token=wiring.token, environ=credentials(place, environ)), report)


def made(place: StorePlace, environ: Mapping[str, str], report: Callable[[str], None]) -> Archive:
    """As `archive`; a folder is made if it is not there, in a folder that is: the disk must be mounted."""
    from pathlib import Path

    from penstock.index.errors import Unavailable
    from penstock.index.recovery.archive import Archive
    from penstock.index.stores.store import LocalStore

    found = archive(place, environ, report)
    if isinstance(found.store, LocalStore) and not found.store.root.is_dir():
        parent = Path(found.store.root).parent
        if not parent.is_dir():
            raise Unavailable(f"{found.name}: {parent} is not there (is the disk mounted?); make it, then run again")
        return Archive(LocalStore.create(found.store.root, token=wiring.token), report)
    return found


def credentials(place: StorePlace, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that the store's client may see."""
    prefix = place.variables
    if not prefix:
        return environ
    return {name.removeprefix(prefix): value for name, value in environ.items() if name.startswith(prefix)}
