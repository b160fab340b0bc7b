"""A home that is being restored: what it says to everybody but the restore itself. It can be searched, not written."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.answers.health import Health
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.index.errors import IndexFault, Unavailable
from penstock.index.recovery import progress as steps
from penstock.index.recovery.progress import Progress

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store


def command(half: Progress, home: Path | None) -> str:
    """What finishes it, in this home; where it cannot be, the restore of what is whole instead."""
    words = ["penstock", "restore"]
    for origin in half.origins:
        words += ["--from", origin.url]
    prefix = next((origin.variables for origin in half.origins if origin.variables), None)
    words += ["--from", "ANOTHER"] if half.instead == 0 else []
    words += ["--variables", prefix] if prefix else []
    words += ["--version", str(half.instead or half.version)] if half.exact else []
    words += ["--fork"] if half.fork else []
    words += ["--home", str(home)] if home is not None else []
    return shlex.join(words)


def said(half: Progress, home: Path) -> str:
    """That it is so, and what finishes it; without a full stop."""
    return (
        f"this home is being restored (version {half.version} of {_named(half)}), and can be searched and not "
        f"written until that is finished{_hindered(half)}: {command(half, home)}"
    )


def _hindered(half: Progress) -> str:
    """What stood in its way the last time, and what to do about it; "" if nothing did."""
    if half.instead == 0:
        return "; no version there is whole, so that another DR store is needed in addition"
    if half.instead is not None:
        return f"; version {half.version} is damaged there, and {half.instead} is the newest whole one"
    if half.refused and not half.fork:
        return f"; {half.refused} could not be written: with credentials that may, or with --fork in addition"
    return ""


def refuse(home: Path) -> None:
    """Raise `Unavailable` where the home is being restored: it cannot be written, verified or repaired yet."""
    half = steps.unfinished(home)
    if half is not None:
        raise Unavailable(said(half, home))


def judged(found: Health, home: Path, stores: Mapping[str, Store]) -> Health:
    """What `status` says of it: that it is being restored, what finishes that, and how much has arrived."""
    half = steps.unfinished(home)
    if half is None:
        return found
    return Health(
        misconfigured=f"this home is being restored from version {half.version} of {_named(half)}; it can be searched"
        + _hindered(half),
        fix=command(half, None),
        warnings=[*half.passed_over, *(_arrived(name, store) for name, store in sorted(stores.items()))],
    )


def _arrived(name: str, store: Store) -> str:
    try:
        return f"replica {name} is being filled: {sum(1 for _ in store.list('blobs/'))} blobs so far"
    except (IndexFault, OSError) as fault:
        return f"replica {name} is being filled: {fault}"


def reader(
    half: Progress, settings: Settings, home: Home, replicas: list[Store], report: Callable[[str], None]
) -> Reader:
    """A reader of the version that is being restored, wherever its parts lie by now."""
    from penstock.flows.recovery.archives import archive
    from penstock.index.recovery.overlay import overlays
    from penstock.index.recovery.remedy import elsewhere
    from penstock.index.stores.store import LocalStore

    shipped = [archive(StorePlace(each.url, each.variables), os.environ, report).store for each in half.origins]
    laid = LocalStore(home.path / steps.LAID, token=_never)
    names = [store.name for store in shipped]
    return opened(
        overlays(laid, replicas, shipped), half.lineage, settings, home, lambda line: report(elsewhere(line, *names))
    )


def opened(
    stores: Sequence[Store], lineage: str, settings: Settings, home: Home, report: Callable[[str], None]
) -> Reader:
    """A reader over these stores."""
    from penstock.index.reading.reader import Reader

    return Reader.open(
        *stores,
        lineage=lineage,
        report=report,
        cache=home.cache / "blocks",
        cache_bytes=settings.reader.cache_mb << 20,
        memory_bytes=settings.reader.memory_mb << 20,
    )


def _named(half: Progress) -> str:
    return ", ".join(origin.url for origin in half.origins)


def _never() -> str:
    raise AssertionError("a reader writes nothing")
