"""Where runs write: room, rights, the clock that stands on what they write, and who they report to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from penstock.flows.answers.doctor import Finding, Place
from penstock.flows.answers.render import size

LITTLE, HARDLY = 2 << 30, 200 << 20
"""Bytes free: with less than the first a larger run will not end, with less than the second none will."""
_DAY = 86_400.0
_BORN = 1_700_000_000.0
"""Seconds since the epoch, in 2023: no clock that is right says less."""


def places(wanted: Mapping[str, Path]) -> list[Place]:
    """What each of these folders, there or not, has to offer."""
    return [_place(what, path) for what, path in wanted.items()]


def findings(found: list[Place]) -> Iterator[Finding]:
    """Rights, and room once for each disk."""
    told: set[int] = set()
    for place in found:
        if not place.writable:
            what = f"{place.what} {place.path} cannot be written"
            yield Finding("problem", what, f"give yourself the right to write {place.path}")
        elif place.free < LITTLE and place.disk not in told:
            told.add(place.disk)
            what, fix = f"only {size(place.free)} are free for {place.what}", f"make room where {place.path} lies"
            yield Finding("problem" if place.free < HARDLY else "warning", what, fix)


def slots(directory: Callable[[], Path]) -> Iterator[Finding]:
    """Whether this user can take a slot: the lock files may be somebody else's."""
    try:
        folder = directory()
        locks = sorted(folder.glob("*.lock"))
        entered = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        yield Finding("problem", f"the directory of the slots cannot be used: {error}", "set PENSTOCK_SLOTS")
        return
    if not entered:
        yield Finding("problem", f"the directory of the slots {folder} cannot be written", f"chmod 1777 {folder}")
    for lock in locks:
        if not os.access(lock, os.R_OK | os.W_OK):
            yield Finding("problem", f"the slot {lock.stem} belongs to another user", f"chmod 666 {lock}")


def clock(now: float, written: Mapping[str, Path]) -> Iterator[Finding]:
    """Whether the clock is behind what was written here, or behind any sensible time."""
    if now < _BORN:
        yield Finding("warning", "the clock of this machine is years behind", "set the clock")
        return
    for what, path in written.items():
        try:
            ahead = path.stat().st_mtime - now
        except OSError:
            continue
        if ahead > _DAY:
            what = f"the clock is {ahead / _DAY:.0f} days behind the time when {what} was written"
            yield Finding("warning", what, "set the clock")
            return


def prefect(configured: bool, answers: Callable[[Callable[[str], None]], bool]) -> Iterator[Finding]:
    """Whether a run would be recorded, by a server that speaks as the client here does."""
    said: list[str] = []
    if not configured:
        return
    there = answers(said.append)
    if not there and not said:
        said.append("the Prefect API does not answer")
    for what in said:
        away = "does not answer" in what
        fix = "start the Prefect server" if away else "have one version of Prefect on both sides: docs/upgrade.md"
        yield Finding("warning", what, fix)


def _place(what: str, path: Path) -> Place:
    nearest = next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
    free = shutil.disk_usage(nearest).free
    writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return Place(what, str(path), path.is_dir(), free, writable, nearest.stat().st_dev)
