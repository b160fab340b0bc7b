"""Places of this machine that can be read and take nothing: a disk that was mounted read-only, rights that are lacking.

Asked of the system, without writing anything. A process that may do everything is still told of a read-only disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.index.stores.store import Store

STEP = "make it writable again (the mount, its rights), then penstock status"


def refused(path: Path) -> str:
    """Why nothing can be written to a file, or a folder and those in it; "" if it can, or is not there."""
    try:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return f"{path}: the file system is read-only"
        folders = [entry.path for entry in os.scandir(path) if entry.is_dir()] if path.is_dir() else []
    except OSError:
        return ""  # whoever reads it says what is wrong
    return next(filter(None, map(_closed, (path, *map(Path, folders)))), "")


def _closed(path: Path) -> str:
    there = os.path.lexists(path)
    return f"{path}: this user may not write there" if there and not os.access(path, os.W_OK) else ""


def shut(stores: Mapping[str, Store]) -> dict[str, str]:
    """Of the replicas that are folders of this machine, id → why nothing can be written there."""
    roots = {name: getattr(store, "root", None) for name, store in stores.items()}
    found = {name: refused(root) for name, root in roots.items() if isinstance(root, Path)}
    return {name: why for name, why in found.items() if why}


def stops(shut: Mapping[str, str], replicas: int, write_quorum: int, catalog: Path | None) -> str:
    """Why no commit can be made although everything may be read, "" if one can. `catalog`: where it is a file."""
    if shut and replicas - len(shut) < write_quorum:
        return next(iter(shut.values()))
    return refused(catalog) or _closed(catalog.parent) if catalog is not None else ""
