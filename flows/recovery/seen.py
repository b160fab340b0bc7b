"""What each DR store had when it was last shipped to: kept in the home, for when one does not answer.

    shipped/{digest of the place}.json

It is for people, and against one accident: a folder that was shipped to and is gone is an unmounted disk until somebody
says otherwise, and is not made anew on the disk below.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec

from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.index.decoding import decode

FOLDER = "shipped"


class Seen(msgspec.Struct, frozen=True):
    """At `at` (seconds since the epoch) the DR store at `place` had everything of `lineage` up to `version`."""

    place: str
    lineage: str
    version: int
    at: float


def digest(place: str) -> str:
    """Names a place in file names and locks."""
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def last(home: Home, place: str, lineage: str) -> Seen | None:
    """What is remembered of a place; None if nothing is, or it was another index's."""
    try:
        found = decode((home.path / FOLDER / f"{digest(place)}.json").read_bytes(), Seen)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if (found.place, found.lineage) == (place, lineage) else None


def remember(home: Home, said: Seen) -> None:
    """Whole or not at all. That it cannot be written is no reason not to ship."""
    folder = home.path / FOLDER
    temp = folder / f"{digest(said.place)}.{wiring.token()}"
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        try:
            temp.write_bytes(msgspec.json.encode(said) + b"\n")
            temp.replace(folder / f"{digest(said.place)}.json")
        finally:
            temp.unlink(missing_ok=True)
