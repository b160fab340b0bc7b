"""Power loss under the real code: its system calls run for real, are written down, and are replayed on a `Platter`.

    with CrashFs(root) as fs:          # only what happens below root is looked at
        store.put_if_absent(key, data)
        fs.note("acked", key)          # marks on the same time line
    for moment in fs.moments():        # the state before, between and after all calls
        moment.materialise(somewhere, dice, fate)

Whatever wrote the bytes (Python, a library), they are seen: every watched file is looked at before each call. Folders
and calls that this module does not know are refused, so a new way to change a disk cannot go unnoticed.
"""

from __future__ import annotations

import builtins
import io
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from penstock.index.stores import rename
from tests.fakes.platter import File, Folder, Platter

FATES = ("least", "names", "most", "any", "any", "any")


class Killed(BaseException):
    """What a killed process does next: nothing. Raised by every call until somebody else takes over."""


@dataclass
class Moment:
    """One instant of the time line. `call` is what was about to happen; `notes` what had been noted before."""

    platter: Platter
    call: str
    notes: tuple[Any, ...]
    beside: bytes | None
    """The file beside the tree that is trusted (see `CrashFs`), as it was."""

    def materialise(self, target: Path, dice: random.Random, fate: str) -> None:
        self.platter.materialise(target, dice, fate)


@dataclass
class CrashFs:
    """Watches the tree at `root` (which is there, and on disk as it is) while it is entered.

    `beside` is a file outside the tree that is trusted to be durable whenever no call is going on: the catalog,
    whose SQLite writes by itself.
    """

    root: Path
    beside: Path | None = None
    _events: list[tuple[str, tuple[str, ...], Any]] = field(default_factory=list)
    _watched: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.RLock)
    _seen: bytes | None = None
    _left: int | None = None

    def __enter__(self) -> CrashFs:
        self.root = self.root.absolute()
        self._start = _as_it_is(self.root)
        renaming = self._two_paths(rename.rename_noreplace, "rename")
        real = rename.rename_noreplace
        with ExitStack() as stack:
            for name, patch in self._patches():
                stack.enter_context(mock.patch(name, patch))
            for module in [m for n, m in list(sys.modules.items()) if n.startswith("penstock.")]:
                if getattr(module, "rename_noreplace", None) is real:
                    stack.enter_context(mock.patch.object(module, "rename_noreplace", renaming))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._catch_up()

    def note(self, *what: Any) -> None:
        """Put a mark on the time line."""
        with self._lock:
            self._record("note", (), what)

    def kill_in(self, calls: int) -> None:
        """Let the process die (SIGKILL, the power stays) before it makes one call more than `calls`."""
        self._left = calls

    def revive(self) -> None:
        """Another process goes on from here."""
        self._left = None

    def moments(self) -> Iterator[Moment]:
        """Every instant, in order. A moment must be used before the next is asked for."""
        platter, notes = _platter(self._start), []
        beside = None
        for verb, paths, extra in self._events:
            if verb == "beside":
                beside = extra
                continue
            yield Moment(platter, f"{verb} {' '.join(paths)}", tuple(notes), beside)
            if verb == "note":
                notes.append(extra)
            else:
                getattr(platter, verb)(*paths, *extra)
        yield Moment(platter, "the end", tuple(notes), beside)

    # ---- what is written down

    def _record(self, verb: str, paths: tuple[str, ...], extra: Any = ()) -> None:
        self._catch_up()
        self._events.append((verb, paths, extra))

    def _catch_up(self) -> None:
        """Note what changed in the watched files, and beside, since the last call."""
        for path, before in list(self._watched.items()):
            try:
                found = os.stat(self.root / path)
            except FileNotFoundError:
                continue
            if before != (found.st_mtime_ns, found.st_size):
                self._watched[path] = found.st_mtime_ns, found.st_size
                self._events.append(("write", (path,), ((self.root / path).read_bytes(),)))
        if self.beside is not None and self.beside.exists():
            data = self.beside.read_bytes()
            if data != self._seen:
                self._seen = data
                self._events.append(("beside", (), data))

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path below the root, None if it is elsewhere."""
        if isinstance(path, int):
            text = os.readlink(f"/proc/self/fd/{path}")
        else:
            text = os.fsdecode(path)
            base = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else None
            text = os.path.join(base, text) if base else os.path.abspath(text)
        if text == str(self.root):
            return ""
        return text[len(str(self.root)) + 1 :] if text.startswith(f"{self.root}/") else None

    # ---- the calls

    def _alive(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise Killed
            self._left -= 1

    def _patches(self) -> list[tuple[str, Callable[..., Any]]]:
        one = {"unlink": "remove", "remove": "remove", "rmdir": "remove", "mkdir": "mkdir"}
        two = {"link": "link", "rename": "rename", "replace": "rename"}
        refused = ("symlink", "truncate", "ftruncate", "mknod", "mkfifo")
        return [
            *((f"os.{name}", self._one_path(getattr(os, name), verb)) for name, verb in one.items()),
            *((f"os.{name}", self._two_paths(getattr(os, name), verb)) for name, verb in two.items()),
            *((f"os.{name}", self._refusing(getattr(os, name))) for name in refused),
            *((f"os.{name}", self._syncing(getattr(os, name))) for name in ("fsync", "fdatasync")),
            ("os.open", self._opening(os.open, lambda flags, *_: bool(flags & (os.O_WRONLY | os.O_RDWR)))),
            ("io.open", self._opening(io.open, lambda mode="r", *_: bool(set(mode) & set("wxa+")))),
            ("builtins.open", self._opening(builtins.open, lambda mode="r", *_: bool(set(mode) & set("wxa+")))),
        ]

    def _one_path(self, real: Callable[..., Any], verb: str) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, dir_fd: int | None = None, **named: Any) -> Any:
            with self._lock:
                inside = self._inside(path, dir_fd)
                if inside is not None:
                    self._alive()
                    self._catch_up()
                result = real(path, *arguments, dir_fd=dir_fd, **named)
                if inside is not None:
                    self._record(verb, (inside,))
                    self._watched.pop(inside, None)
                return result

        return call

    def _two_paths(self, real: Callable[..., Any], verb: str) -> Callable[..., Any]:
        def call(source: Any, target: Any, *arguments: Any, **named: Any) -> Any:
            with self._lock:
                paths = self._inside(source), self._inside(target)
                if (paths[0] is None) != (paths[1] is None):
                    raise AssertionError(f"{verb} across the border of the tree: {source} {target}; teach CrashFs")
                if paths[0] is None or paths[1] is None:
                    return real(source, target, *arguments, **named)
                self._alive()
                self._catch_up()
                result = real(source, target, *arguments, **named)
                if result is not False:
                    self._record(verb, (paths[0], paths[1]))
                    if verb == "rename":
                        self._watched = {_moved(path, *paths): at for path, at in self._watched.items()}
                return result

        return call

    def _refusing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if self._inside(arguments[0] if real.__name__ == "symlink" else path) is not None:
                raise AssertionError(f"{real.__name__}: CrashFs does not know this call; teach it")
            return real(path, *arguments, **named)

        return call

    def _syncing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int) -> None:
            with self._lock:
                inside = self._inside(fd if isinstance(fd, int) else fd.fileno())
                if inside is None:
                    real(fd)
                elif not inside.endswith(" (deleted)"):
                    self._alive()
                    self._record("fsync", (inside,))

        return call

    def _opening(self, real: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            mode = (named["mode"],) if "mode" in named and isinstance(named["mode"], str) else arguments
            if isinstance(path, int) or not writes(*mode):
                return real(path, *arguments, **named)
            with self._lock:
                inside = self._inside(path, named.get("dir_fd"))
                if inside is None:
                    return real(path, *arguments, **named)
                self._alive()
                self._catch_up()
                there = os.path.lexists(self.root / inside)
                result = real(path, *arguments, **named)
                if not there:
                    self._record("create", (inside,))
                self._watched.setdefault(inside, None)
                return result

        return call


def _moved(path: str, source: str, target: str) -> str:
    return target + path[len(source) :] if path == source or path.startswith(f"{source}/") else path


def _as_it_is(folder: Path) -> dict[str, Any]:
    return {
        entry.name: _as_it_is(Path(entry.path)) if entry.is_dir() else Path(entry.path).read_bytes()
        for entry in os.scandir(folder)
    }


def _platter(tree: dict[str, Any]) -> Platter:
    platter = Platter()
    platter.root = _folder(tree)
    return platter


def _folder(tree: dict[str, Any]) -> Folder:
    made: dict[str, File | Folder] = {
        name: _folder(what) if isinstance(what, dict) else File(what, what, True) for name, what in tree.items()
    }
    return Folder(dict(made), dict(made))
