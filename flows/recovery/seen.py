"""What each DR store had when it was last shipped to: kept in the home, for when one does not answer.

    shipped/{digest of the place}.json
    shipped/{digest of the place}.trouble.json    why it could not be shipped there the last time; gone when it could

It is for people, and against one accident: a folder that was shipped to and is gone is an unmounted disk until somebody
says otherwise, and is not made anew on the disk below.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TypeVar

import msgspec

from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.index.decoding import decode

FOLDER = "shipped"
_TROUBLE = ".trouble.json"


class Seen(msgspec.Struct, frozen=True):
    """At `at` (seconds since the epoch) the DR store at `place` had everything of `lineage` up to `version`."""

    place: str
    lineage: str
    version: int
    at: float


class Trouble(msgspec.Struct, frozen=True):
    """At `at` (seconds since the epoch) nothing of `lineage` could be shipped to `place`: why, and what helps."""

    place: str
    lineage: str
    problem: str
    step: str
    at: float


_T = TypeVar("_T", Seen, Trouble)


def digest(place: str) -> str:
    """Names a place in file names and locks."""
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def last(home: Home, place: str, lineage: str) -> Seen | None:
    """What is remembered of a place; None if nothing is, or it was another index's."""
    return _read(home, f"{digest(place)}.json", Seen, place, lineage)


def trouble(home: Home, place: str, lineage: str) -> Trouble | None:
    """Why this index could not be shipped to a place the last time; None if it could, or nobody tried."""
    return _read(home, f"{digest(place)}{_TROUBLE}", Trouble, place, lineage)


def remember(home: Home, said: Seen) -> None:
    """Whole or not at all. That it cannot be written is no reason not to ship."""
    _write(home, f"{digest(said.place)}.json", said)


def complain(home: Home, said: Trouble) -> None:
    """For whoever looks later. As `remember`."""
    _write(home, f"{digest(said.place)}{_TROUBLE}", said)


def settle(home: Home, place: str) -> None:
    """It could be shipped to: there is no trouble any more."""
    with suppress(OSError):
        (home.path / FOLDER / f"{digest(place)}{_TROUBLE}").unlink(missing_ok=True)


def _read(home: Home, name: str, kind: type[_T], place: str, lineage: str) -> _T | None:
    try:
        found = decode((home.path / FOLDER / name).read_bytes(), kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if (found.place, found.lineage) == (place, lineage) else None


def _write(home: Home, name: str, said: Seen | Trouble) -> None:
    folder = home.path / FOLDER
    temp = folder / f"{name.partition('.')[0]}.{wiring.token()}"
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        try:
            temp.write_bytes(msgspec.json.encode(said) + b"\n")
            temp.replace(folder / name)
        finally:
            temp.unlink(missing_ok=True)
