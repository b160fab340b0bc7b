"""A folder as a source."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePath, PurePosixPath

import msgspec

from penstock.connectors.connector import Connector, SourceOptions, Tools
from penstock.connectors.sources.quoting import quoted, shown, unquoted
from penstock.connectors.sources.settled import settle, version_of
from penstock.connectors.types import Fetched, Gap, Item, RetryLater, StopSource

_OURS_OR_NOT_DOCUMENTS = {".penstock", ".git"}


class FilesSource:
    """Every regular file below `root`, except in folders named `.penstock` and `.git`.

    A uri is `NAME/relative/path`. Symbolic links to folders are not followed; those to files are, if the
    target is a regular file inside `root`. Sockets, pipes and devices are not listed. What cannot be looked
    at is a `Gap`, so that nothing is ever deleted for want of a permission or a mount.
    """

    def __init__(
        self,
        name: str,
        root: Path | str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        exclude: Collection[Path | str] = (),
    ) -> None:
        """`clock` gives seconds since 1970; nothing is touched before `list` or `fetch`.

        `exclude` are files and folders that are no documents although they lie below the root: an index that
        is kept inside its own source must not be read into itself.
        """
        self.name = name
        self._root = Path(os.path.realpath(root))
        self._excluded = {
            str(path.relative_to(self._root))
            for path in (Path(os.path.realpath(path)) for path in exclude)
            if path != self._root and path.is_relative_to(self._root)
        }
        self._clock = clock
        self._sleep = sleep

    def list(self, under: str | PurePath = "") -> Iterator[Item | Gap]:
        """Items in a fixed order, folder by folder, sorted by name.

        With `under`, a path relative to the root, only that file or what lies in that folder: nothing can
        be inferred about the rest. Raises `StopSource` when the root, or `under`, cannot be listed.
        """
        before = self._identity()
        start = self._start(str(under))
        if start is None:
            return
        yield from self._walk(start)
        if self._identity() != before:
            raise StopSource(f"{shown(str(self._root))} was replaced while it was being listed: run it again")

    def fetch(self, item: Item) -> Fetched:
        """The file itself, where it lies. Raises `RetryLater`, `StopSource`, `FileNotFoundError`."""
        listed = self._root / unquoted(item.locator)
        try:
            path = Path(os.path.realpath(listed, strict=True))
        except FileNotFoundError:
            self._identity()  # a root that is gone says nothing about its files
            raise
        except OSError as error:
            raise RetryLater(f"{_why(error)}: {item.uri}") from error
        if not path.is_relative_to(self._root):
            raise RetryLater(f"not read, because it leads out of {shown(str(self._root))}: {item.uri}")
        settle(path, self._clock, self._sleep)
        return Fetched(path=path, name=listed.name)

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._root.stat()
        except OSError as error:
            raise StopSource(f"{_why(error)}: {shown(str(self._root))} (source {self.name})") from error
        if not stat.S_ISDIR(found.st_mode):
            raise StopSource(f"not a folder: {shown(str(self._root))} (source {self.name})")
        return found.st_dev, found.st_ino

    def _start(self, under: str) -> str | None:
        """`under` without a trailing slash or dots; None if it lies where nothing is ever listed."""
        parts = PurePosixPath(under).parts
        if under.startswith("/") or ".." in parts:
            raise StopSource(f"not a path inside {shown(str(self._root))}: {shown(under)}")
        at = self._root
        for part in parts[:-1]:
            at = at / part
            if at.is_symlink():
                raise StopSource(f"{shown(str(at))} is a symbolic link to a folder, and those are not followed")
        if parts and not os.path.lexists(self._root.joinpath(*parts)):
            raise StopSource(f"no such file or folder: {shown(str(self._root.joinpath(*parts)))}")
        above = {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
        if _OURS_OR_NOT_DOCUMENTS.intersection(parts) or above & self._excluded:
            return None
        return "/".join(parts)

    def _walk(self, start: str) -> Iterator[Item | Gap]:
        """Depth first, with a stack of our own: a tree may be deeper than Python's."""
        if start and not stat.S_ISDIR((self._root / start).lstat().st_mode):
            yield from self._file(start)
            return
        stack = [iter([start])]
        while stack:
            folder = next(stack[-1], None)
            if folder is None:
                stack.pop()
                continue
            below: deque[str] = deque()
            yield from self._folder(folder, below)
            stack.append(iter(below))

    def _folder(self, folder: str, below: deque[str]) -> Iterator[Item | Gap]:
        """The files of one folder; its folders are added to `below`."""
        seen: set[str] = set()
        try:
            with os.scandir(self._root / folder) as found:
                entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if not folder:
                raise StopSource(f"{_why(error)}: {shown(str(self._root))} (source {self.name})") from error
            yield Gap(self._uri(folder) + "/", f"{_why(error)}: {shown(folder)}")
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path in self._excluded:
                continue
            if shown(path) in seen:
                yield Gap(self._uri(path), "another name in this folder looks the same as text: rename one")
            elif _is_folder(entry):
                if entry.name not in _OURS_OR_NOT_DOCUMENTS:
                    below.append(path)
            else:
                yield from self._file(path)
            seen.add(shown(path))

    def _file(self, path: str) -> Iterator[Item | Gap]:
        """One item, a gap if it cannot be looked at, nothing if it is not a file of this source."""
        full = self._root / path
        try:
            found = full.lstat()
            if stat.S_ISLNK(found.st_mode):
                target = Path(os.path.realpath(full))
                if not target.is_relative_to(self._root) or not target.exists():
                    return
                found = target.stat()
        except OSError as error:
            yield Gap(self._uri(path), f"{_why(error)}: {shown(path)}")
            return
        if stat.S_ISREG(found.st_mode):
            yield Item(uri=self._uri(path), locator=quoted(path), version=version_of(found), size=found.st_size)

    def _uri(self, path: str) -> str:
        return f"{self.name}/{shown(path)}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # looking at it as a file says why it cannot be looked at


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class FilesOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sources.NAME]` of type `files`. `path` is absolute once anchored."""

    path: str

    def binding(self) -> str:
        return str(Path(self.path).resolve())

    def anchored(self, folder: Path) -> FilesOptions:
        return msgspec.structs.replace(self, path=str(folder / Path(self.path).expanduser()))


class _Files:
    name = "files"
    version = "files/1"
    options = FilesOptions

    def open(self, name: str, options: FilesOptions, tools: Tools) -> FilesSource:
        return FilesSource(name, options.path, clock=tools.clock, sleep=tools.sleep, exclude=tools.exclude)


CONNECTOR: Connector = _Files()
