"""Making room for a restore: what stands in the way is moved aside, never deleted, and a working index is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from penstock.flows import wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.config import place
from penstock.flows.config.home import Home
from penstock.flows.config.layout import Layout
from penstock.flows.config.settings import Settings
from penstock.index.errors import IndexFault, Unavailable
from penstock.index.recovery import progress as steps
from penstock.index.recovery.restore import only_blobs, sweep
from penstock.index.stores.store import LocalStore

Report = Callable[[str], None]
ASIDE = "before-restore-"


def clear(settings: Settings, home: Home, layout: Layout, over: bool, report: Report) -> None:
    """Make the places of the replicas and of the catalog empty.

    Raises `UsageError` where an index that can be read is there and `over` was not said, and for whatever cannot be
    moved aside; `Unavailable` where somebody works on it.
    """
    refuse_what_cannot_move(layout, None)
    inhabited = [*_catalog_files(layout), *(path for path in layout.folders.values() if _holds_something(path))]
    if inhabited:
        if not over and (version := _readable(settings, home)):
            raise UsageError(
                f"{home.path} holds an index that can be read (version {version}); nothing was changed: restore into "
                "another --home, or give --over, which moves it aside (`penstock repair` heals damage)"
            )
        refuse_alive(home)
    elif not _left(home):
        return
    _move(home, layout, _unused(home.path, layout, _stamp()), report)


def refuse_what_cannot_move(layout: Layout, lineage: str | None) -> None:
    """Raise `UsageError` for a bucket that is not empty, or a database that is the catalog of another index than
    `lineage`."""
    for name, where in layout.replicas.items():
        if lineage is None and place.is_url(where) and (key := next(iter(wiring.store(where).list("")), None)):
            raise UsageError(
                f"replica {name}: {where} is not empty ({key}), and nothing can be moved aside in a bucket; configure "
                "an empty prefix in [index] replicas"
            )
    if layout.catalog_file is None:
        from penstock.index.catalog.catalog import Catalog

        catalog = Catalog(layout.catalog)
        meta = catalog.meta()
        if meta is not None and meta.lineage != lineage:
            raise UsageError(
                f"{catalog.name} is the catalog of an index already; name an empty database in [index] catalog"
            )


def refuse_alive(home: Home) -> None:
    """Raise `Unavailable` while a writer of this machine works here."""
    from penstock.index.catalog.locks import FileLocks

    folder = home.spool / "locks"
    locks = FileLocks(folder)
    for path in folder.glob("writer.*.lock"):
        held = locks.take(path.name.removesuffix(".lock"), wait=False)
        if held is None:
            raise Unavailable(f"a run works on {home.path}; stop it, then restore")
        held.release()


def clear_markers(layout: Layout, report: Report) -> None:
    """Make room for another restore than the one that was begun here. What has arrived stays, because it was verified;
    a replica, or a catalog, that says already whose it is goes aside. Raises `UsageError` for a bucket that does."""
    for name, where in layout.replicas.items():
        store = wiring.made_store(where)
        if only_blobs(store):
            sweep(store)
        elif isinstance(store, LocalStore):
            _beside(store.root, report)
        else:
            raise UsageError(f"replica {name}: {where} holds what was restored before; configure an empty prefix")
    for path in _catalog_files(layout):
        _beside(path, report)


def _beside(path: Path, report: Report) -> None:
    stamp = _stamp()
    target = path.with_name(f"{path.name}.{stamp}")
    _aside(path, target, stamp)
    report(f"{path} was moved aside to {target}")


def _stamp() -> str:
    return ASIDE + datetime.fromtimestamp(wiring.clock(), UTC).strftime("%Y-%m-%dT%H-%M-%SZ")


def _readable(settings: Settings, home: Home) -> int:
    """The version that can be read here, 0 if none can, or nothing was ever committed."""
    with contextlib.suppress(IndexFault, OSError), wiring.open_reader(settings, home, lambda _: None) as reader:
        return reader.version
    return 0


def _move(home: Home, layout: Layout, stamp: str, report: Report) -> None:
    inner = home.path / stamp
    moved: list[Path] = []
    for path, target in _moves(home, layout, stamp):
        target.parent.mkdir(parents=True, exist_ok=True)
        _aside(path, target, stamp)
        moved.append(target)
    if moved:
        beside = [str(target) for target in moved if not target.is_relative_to(inner)]
        report(f"what was there was moved aside to {', '.join([str(inner), *beside])}; delete it once it is of no use")


def _moves(home: Home, layout: Layout, stamp: str) -> Iterator[tuple[Path, Path]]:
    """(what is there, where it goes): the catalog first, so that no writer finds one without replicas."""
    replicas = [path for path in layout.folders.values() if _holds_something(path)]
    half_made = [path.with_name(f"{path.name}.rebuilding") for path in layout.folders.values()]
    for path in (*_catalog_files(layout), *replicas, *filter(os.path.lexists, half_made), *_left(home)):
        if path.is_relative_to(home.path):
            yield path, home.path / stamp / path.relative_to(home.path)
        else:
            yield path, path.with_name(f"{path.name}.{stamp}")


def _left(home: Home) -> list[Path]:
    """What of an index that was here is neither catalog nor replica: prepared work, and from where it came."""
    work = [home.spool] if home.spool.is_dir() and any(each.name != "locks" for each in home.spool.iterdir()) else []
    return [*work, *(path for path in (home.path / steps.FINISHED,) if path.exists())]


def _aside(path: Path, target: Path, stamp: str) -> None:
    try:
        if not (path.is_symlink() or path.is_mount()):
            path.rename(target)
            return
        # Another disk must stay mounted, or linked, where it is: its content is moved, within it.
        within = path / f".{stamp}"
        within.mkdir()
        for each in path.iterdir():
            if not each.name.startswith(f".{ASIDE}") and each.name != "lost+found":
                each.rename(within / each.name)
    except OSError as fault:
        raise UsageError(f"{path} cannot be moved aside to {target}: {fault.strerror}; move it yourself") from fault


def _catalog_files(layout: Layout) -> list[Path]:
    file = layout.catalog_file
    if file is None or not file.parent.is_dir():
        return []
    return sorted(path for path in file.parent.glob(f"{file.name}*") if ASIDE not in path.name)


def _holds_something(path: Path) -> bool:
    """Whether anything is in a replica's place; a folder that is empty is a disk that was mounted for it."""
    try:
        return any(not each.name.startswith(f".{ASIDE}") and each.name != "lost+found" for each in path.iterdir())
    except FileNotFoundError:
        return path.is_symlink()
    except NotADirectoryError:
        return True


def _unused(home: Path, layout: Layout, stamp: str) -> str:
    """The stamp, or with a number where something of that name is there."""
    replicas, number, found = list(layout.folders.values()), 1, stamp
    while any(map(os.path.lexists, (home / found, *(path.with_name(f"{path.name}.{found}") for path in replicas)))):
        number += 1
        found = f"{stamp}-{number}"
    return found
