"""From the places that a person names to the replicas there: homes, replica directories, URLs, stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from penstock.index.blobs.deadline import gather
from penstock.index.blobs.watched import LONGEST, Watched
from penstock.index.commits import markers
from penstock.index.decoding import decode
from penstock.index.errors import Unavailable
from penstock.index.reading.places import GRACE, Report
from penstock.index.stores.store import LocalStore, Store

Place = str | Path | Store
_HOME = "home.json"


class _Home(msgspec.Struct, frozen=True):
    """What a home says of where its replicas are, if it says anything: id → path within it, or absolute, or URL."""

    replicas: dict[str, str] | None = None


class Finder:
    """Finds the stores at `places`, again at each look: a replica may appear at any time. Nothing is created.

    `watch` gives a store its deadlines; each place has one store for good, so that what is known of it stays known.
    """

    def __init__(
        self,
        places: Sequence[Place],
        watch: Callable[[Store], Watched],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._places, self._watch, self._clock = tuple(places), watch, clock
        self._known: dict[object, Watched] = {}
        self._busy: set[Path] = set()
        """Places that are being looked at; one that hangs is not looked at again until that look ends."""

    @property
    def named(self) -> str:
        """The places as they were named, for a message."""
        return ", ".join(str(getattr(place, "name", place)) for place in self._places) or "no place given"

    @property
    def names(self) -> list[str]:
        """The names of all stores that were ever found."""
        return [store.name for store in self._known.values()]

    def stores(self, report: Report) -> list[Watched]:
        """The stores that there are now. Raises `WrongIndex` for a URL that names no store."""
        places = [_as_path(place) for place in self._places]
        paths = {place for place in places if isinstance(place, Path)} - self._busy
        looks = {path: partial(self._look, path) for path in paths}
        found = gather(looks, bool, grace=GRACE, limit=LONGEST, clock=self._clock)
        stores: list[Watched] = []
        others = "; reading another replica" if len(places) > 1 else ""
        for place in places:
            if not isinstance(place, Path):
                stores.append(self._at(place))
                continue
            inside = found.get(place, Unavailable(f"{place}: did not answer in time"))
            if isinstance(inside, Exception):
                report(f"{inside}{others}")
            elif inside:
                stores += [self._at(each) for each in inside]
            elif others:
                report(f"{place}: is not there{others}")
        return list(dict.fromkeys(stores))

    def _look(self, place: Path) -> list[str | Path]:
        self._busy.add(place)
        try:
            return _folders(place)
        finally:
            self._busy.discard(place)

    def _at(self, place: Place) -> Watched:
        known = self._known.get(_identity(place))
        if known is None:
            known = self._known[_identity(place)] = self._watch(_opened(place))
        return known


def _never() -> str:
    raise AssertionError("a reader writes nothing")


def _opened(place: Place) -> Store:
    if isinstance(place, Path):
        return LocalStore(place, token=_never)
    if isinstance(place, str):
        from penstock.index.stores.stores import open_store  # only where there is a URL

        return open_store(place, token=_never)
    return place


def _identity(place: Place) -> object:
    return place if isinstance(place, (str, Path)) else id(place)


def _as_path(place: Place) -> Place:
    """A directory as a path, however it was written: text, or a `file://` URL."""
    if isinstance(place, str) and (place.startswith("file://") or "://" not in place):
        opened = _opened(place)
        return opened.root if isinstance(opened, LocalStore) else place
    return place


def _folders(place: Path) -> list[str | Path]:
    """The replicas at a directory: itself, or those of the home that it is; nothing if it is not there."""
    if (place / markers.REPLICA).is_file():
        return [place]
    said = _said(place / _HOME)
    if said:
        return [each if "://" in each else place / each for _, each in sorted(said.items())]
    try:
        inside = list(os.scandir(place / "replicas"))
    except OSError:
        return [place] if place.is_dir() else []
    # A link may lead to a disk that hangs: whether it is a directory, the look at it will tell.
    names = sorted(each.name for each in inside if each.is_symlink() or each.is_dir(follow_symlinks=False))
    return [place / "replicas" / name for name in names if not name.endswith(".rebuilding")]


def _said(mark: Path) -> dict[str, str] | None:
    try:
        return decode(mark.read_bytes(), _Home).replicas
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
