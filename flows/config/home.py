"""The home: one folder that holds an index, and that may be moved or copied as a folder.

    replicas/0 replicas/1   full copies of the index        catalog.db   decides which version is next
    spool/                  work in hand, safe to keep      cache/       safe to delete
    home.json               says that this is a home; where the replicas are, if a command moved them
    drill/                  what drills ask and what came of them, safe to delete
    freshness.json          how fresh each source is      watch.json    which problems somebody was told of
    prefect/                the server of `penstock up`, with its history of runs, safe to delete while none is up

Only `create` makes one; everything else calls `require`.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock.index.decoding import decode

MARK = "home.json"
NAME = ".penstock"
FORMAT = 2
"""2: `replicas` and `write_quorum` are there. A mark without them is written as 1, which every penstock reads."""


class NoHome(Exception):
    """There is no usable home where one was looked for. The message is one line and says where one is."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """`home.json`. `replicas`: id → a path within the home, or a URL or absolute path that somebody named.

    Nothing else in it is absolute: a home may be copied to another machine.
    """

    format: int = 1
    replicas: dict[str, str] | None = None
    write_quorum: int | None = None


class Home(msgspec.Struct, frozen=True):
    """The folders of one home."""

    path: Path

    @property
    def replicas(self) -> Path:
        return self.path / "replicas"

    @property
    def catalog(self) -> Path:
        return self.path / "catalog.db"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def cache(self) -> Path:
        return self.path / "cache"


def find(explicit: Path | None, configured: Path | None) -> Path:
    """Where the home should be: by the command line, else by the configuration, else `./.penstock`."""
    return (explicit or configured or Path(NAME)).expanduser().absolute()


def refuse_file(path: Path) -> None:
    """Raise `NoHome` where a file is in the home's place."""
    if path.exists() and not path.is_dir():
        raise NoHome(f"{path} is a file; --home takes a folder")


def create(path: Path) -> Home:
    """Make the home, or open it if it is there already. Raises `NoHome` if it cannot be made."""
    refuse_file(path)
    home = Home(path)
    try:
        for folder in (home.spool, home.cache):
            folder.mkdir(parents=True, exist_ok=True)
        if not (path / MARK).exists():
            write_mark(path, Mark())
        elif _read(path) is None:
            (path / MARK).replace(path / f"{MARK}.damaged")
            write_mark(path, Mark())
    except (FileExistsError, NotADirectoryError):
        raise NoHome(f"{path} cannot be made: a part of that path is a file; choose another --home") from None
    except PermissionError:
        raise NoHome(f"{path} cannot be made: no right to write there; choose another --home") from None
    return require(path)


def write_mark(path: Path, said: Mark) -> None:
    """Put `home.json`, durably. Whole or not at all: a kill here must not leave a home that is refused for ever."""
    temp = path / f"{MARK}.{os.getpid()}.{threading.get_ident()}"
    with temp.open("wb") as out:
        out.write(msgspec.json.encode({"format": said.format, **msgspec.to_builtins(said)}) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    temp.replace(path / MARK)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def mark(path: Path) -> Mark:
    """What `home.json` says, the defaults where there is none. Raises `NoHome` if it cannot be read.

    One that is damaged says no more than one that is missing: where replicas were ever moved, the index itself knows
    that the defaults are not its replicas, and refuses to be written until they are named.
    """
    found = _read(path) or Mark()
    if found.format > FORMAT:
        raise NoHome(f"{path} was made by a newer penstock (format {found.format}); upgrade penstock")
    return found


def _read(path: Path) -> Mark | None:
    """The mark; None where it is damaged."""
    try:
        return decode((path / MARK).read_bytes(), Mark)
    except (FileNotFoundError, NotADirectoryError):
        return Mark()
    except PermissionError:
        raise NoHome(f"{path / MARK} cannot be read: no right to; check its owner") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def require(path: Path, shipped_to: Sequence[str] = ()) -> Home:
    """The home at `path`. Raises `NoHome`, naming the nearest one, if there is none; or, where it was `shipped_to` DR
    stores, what brings it back: to begin anew would pay for every vector again."""
    refuse_file(path)
    if not _is_home(path):
        near = nearest(path)
        hint = (
            f"the nearest one is {near}: use --home {shlex.quote(str(near))}"
            if near
            else "`penstock ingest PATH` makes one"
        )
        if shipped_to and not near:
            source = " ".join(f"--from {shlex.quote(url)}" for url in shipped_to)
            hint = (
                f"if it is lost: penstock restore {source} (docs/runbooks/site-lost.md); if there never was one: "
                "`penstock ingest PATH`"
            )
        raise NoHome(f"there is no penstock home at {path}; {hint}")
    mark(path)
    return Home(path)


def nearest(path: Path) -> Path | None:
    """The home closest to `path`: in it, beside it, above, and only then one level down from there."""
    start = path if path.is_dir() else path.parent
    beside = [folder / NAME for folder in (path, path.parent)]
    above = [folder / NAME for folder in start.parents]
    candidates = [*beside, *above]
    found = next((place for place in candidates if place != path and _is_home(place)), None)
    return found or next((place for place in sorted(_below(start), key=str) if place != path), None)


def _below(folder: Path) -> list[Path]:
    """Homes in `folder`, or in a folder of it, links not followed: a link may lead to somebody else's.

    What cannot be read is passed over: this is only a hint.
    """
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except OSError:
        return []
    places = [place for entry in entries for place in (entry, entry / NAME)]
    return [place for place in places if not place.is_symlink() and _is_home(place)]


def refuse_occupied(path: Path) -> None:
    """Raise `NoHome` for a folder with things of somebody's in it, and nothing by which a home is known: not even by
    what is left of a damaged one, or of a restore that was cut short."""
    try:
        there = sorted(each.name for each in path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as fault:
        raise NoHome(f"{path} cannot be looked into: {fault.strerror}") from None
    strange = [name for name in there if name not in _WORK and not name.endswith(".lock")]
    if strange and not any(name.startswith(_SIGNS) for name in there):
        raise NoHome(f"{path} is no penstock home, and not empty ({strange[0]}): choose another --home, or give --over")


_SIGNS = (MARK, "catalog.db", "replicas", "restoring", "restored.json", "before-restore-")
_WORK = frozenset({"spool", "cache", "lending", "drill", "prefect", "freshness.json", "watch.json", "lost+found"})


def _is_home(path: Path) -> bool:
    """A home that lost its mark still counts while a replica is there: never make a second one over it."""
    try:
        return (path / MARK).is_file() or ((path / "replicas").is_dir() and (path / "catalog.db").is_file())
    except OSError:
        return False
