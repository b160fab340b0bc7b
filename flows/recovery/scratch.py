"""The scratch place of a drill: a folder that is ours alone, with room enough, gone when the drill has ended.

By default it lies in the home, where no source ever looks for documents. A folder that a killed drill left behind is
removed by the next one; nothing is ever removed that does not carry our mark.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from penstock.flows.answers.exits import UsageError
from penstock.flows.answers.render import size
from penstock.flows.recovery import drill_log
from penstock.index.errors import NoSpace

MARK = "penstock-drill"
"""The file that says that a folder is a drill's and may be removed."""
SPARE = 16 << 20
Free = Callable[[Path], int]
"""Bytes that may still be written to the disk of a folder."""


def free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def place(home: Path, folder: Path | None) -> Path:
    """Where this home's drills are held: in `folder`, which must be there, else in the home. Raises `UsageError`."""
    if folder is None:
        return home / drill_log.FOLDER / "scratch"
    if not folder.is_dir():
        raise UsageError(f"--scratch {folder}: is not a folder; make it, or name another one")
    return folder.absolute() / f"{MARK}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"


@contextmanager
def made(path: Path, needed: int, keep: bool, now: float, room: Free) -> Iterator[tuple[Path, Path | None]]:
    """A fresh folder at `path`, removed at the end; with `keep`, it gets a name of its own instead.

    Yields the folder, and the name that it will be kept under. The caller sees to it that nobody else works there.
    Raises `NoSpace` where there are not `needed` bytes, `UsageError` where something else lies there, `OSError`.
    """
    clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if (there := room(path.parent)) < needed:
        raise NoSpace(
            f"{path.parent}: a drill needs {size(needed)} there, and {size(there)} are free; "
            "make room, or give another disk with --scratch"
        )
    kept = _name(path, now) if keep else None
    path.mkdir()
    (path / MARK).touch()
    try:
        yield path, kept
    finally:
        if kept is not None:
            path.rename(kept)
        else:
            clear(path)


def clear(path: Path) -> None:
    """Remove what a drill left there. Raises `UsageError` for anything else."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir() or (any(path.iterdir()) and not (path / MARK).is_file()):
        raise UsageError(f"{path}: is not what a drill left behind; move it away, or give another --scratch")
    for each in path.iterdir():  # the mark goes last: what a kill leaves here is still ours
        if each.name == MARK:
            continue
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    (path / MARK).unlink(missing_ok=True)
    path.rmdir()


def _name(path: Path, now: float) -> Path:
    said = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    names = (path.with_name(f"{MARK}-kept-{said}{more}") for more in ("", *(f"-{n}" for n in range(2, 100))))
    return next(name for name in names if not os.path.lexists(name))
