"""A folder as a source."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

import msgspec

from penstock.connectors.connector import Connector, SourceOptions, Tools
from penstock.connectors.sources.folder import entries, is_folder, why
from penstock.connectors.sources.globs import Globs
from penstock.connectors.sources.quoting import shown, unquoted
from penstock.connectors.sources.settled import item_of, settle
from penstock.connectors.types import Fetched, Gap, Item, RetryLater, StopSource

Links = Literal["inside", "never"]
_OURS_OR_NOT_DOCUMENTS = {".penstock", ".git"}
_ANY = Globs()


class FilesSource:
    """Every regular file below `root`, except in folders named `.penstock` and `.git`.

    A uri is `NAME/relative/path`. Symbolic links to folders are not followed; those to files are, if the
    target is a regular file inside `root`. Sockets, pipes and devices are not listed. What cannot be looked
    at is a `Gap`, so that nothing is ever deleted for want of a permission or a mount. Memory is bounded by the
    entries of one folder and by the folders beside those on the way down to it.
    """

    def __init__(
        self,
        name: str,
        root: Path | str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        exclude: Collection[Path | str] = (),
        globs: Globs = _ANY,
        links: Links = "inside",
        hidden: bool = True,
    ) -> None:
        """`clock` gives seconds since 1970; nothing is touched before `list` or `fetch`.

        `exclude` are files and folders that are no documents although they lie below the root: an index that
        is kept inside its own source must not be read into itself. `links="never"` lists no symbolic link at
        all, `hidden=False` nothing whose name, or whose folder's name, begins with a dot.
        """
        self.name = name
        self._root = Path(os.path.realpath(root))
        self._excluded = {
            str(path.relative_to(self._root))
            for path in (Path(os.path.realpath(path)) for path in exclude)
            if path != self._root and path.is_relative_to(self._root)
        }
        self._globs, self._links, self._hidden = globs, links, hidden
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
            raise RetryLater(f"{why(error)}: {item.uri}", reason="unreadable") from error
        if not path.is_relative_to(self._root):
            leads = f"not read, because it leads out of {shown(str(self._root))}: {item.uri}"
            raise RetryLater(leads, reason="refused")
        if self._links == "never" and path != listed:
            raise RetryLater(f"not read, because a symbolic link leads to it: {item.uri}", reason="refused")
        settle(path, self._clock, self._sleep)
        return Fetched(path=path, name=listed.name, resolved=True)

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._root.stat()
        except OSError as error:
            raise StopSource(f"{why(error)}: {shown(str(self._root))} (source {self.name})") from error
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
        above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        if _OURS_OR_NOT_DOCUMENTS.intersection(parts) or any(map(self._passed_over, above)):
            return None
        if not all(map(self._enters, above[:-1])):
            return None
        return "/".join(parts)

    def _walk(self, start: str) -> Iterator[Item | Gap]:
        """Depth first, with a stack of our own: a tree may be deeper than Python's."""
        if start and not stat.S_ISDIR((self._root / start).lstat().st_mode):
            yield from self._file(start)
            return
        if start and not self._enters(start):
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
        try:
            found, steady = entries(self._root / folder)
        except OSError as error:
            if not folder:
                raise StopSource(f"{why(error)}: {shown(str(self._root))} (source {self.name})") from error
            yield Gap(self._uri(folder) + "/", f"{why(error)}: {shown(folder)}")
            return
        if not steady:
            yield Gap(self._uri(folder) + "/", f"it changed each time it was read: {shown(folder) or 'the folder'}")
        alike: set[str] = set()
        while found:
            entry = found.popleft()  # it keeps what was learnt of its file, and is let go
            path = f"{folder}/{entry.name}" if folder else entry.name
            if self._passed_over(path):
                continue
            if "\\x" in (text := shown(path)):  # only such names can look like others
                if text in alike:
                    yield Gap(self._uri(path), "another name in this folder looks the same as text: rename one")
                    continue
                alike.add(text)
            if not is_folder(entry):
                yield from self._file(path, entry)
            elif entry.name not in _OURS_OR_NOT_DOCUMENTS and self._enters(path):
                below.append(path)

    def _passed_over(self, path: str) -> bool:
        """Whether neither this path nor anything below it is ever listed, whatever the patterns say."""
        return path in self._excluded or (not self._hidden and path.rpartition("/")[2].startswith("."))

    def _enters(self, folder: str) -> bool:
        return self._globs.enters(shown(folder))

    def _file(self, path: str, entry: os.DirEntry[str] | None = None) -> Iterator[Item | Gap]:
        """One item, a gap if it cannot be looked at, nothing if it is not a file of this source."""
        if not self._globs.wants_file(shown(path)):
            return
        try:
            found = entry.stat(follow_symlinks=False) if entry is not None else (self._root / path).lstat()
            if stat.S_ISLNK(found.st_mode):
                target = Path(os.path.realpath(self._root / path))
                if self._links == "never" or not target.is_relative_to(self._root) or not target.exists():
                    return
                found = target.stat()
        except OSError as error:
            yield Gap(self._uri(path), f"{why(error)}: {shown(path)}")
            return
        if stat.S_ISREG(found.st_mode):
            yield item_of(self._uri(path), path, found)

    def _uri(self, path: str) -> str:
        return f"{self.name}/{shown(path)}"


class FilesOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sources.NAME]` of type `files`. `path` is absolute once anchored; patterns are those of `globs`."""

    path: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    links: Links = "inside"
    hidden: bool = True

    def binding(self) -> str:
        return str(Path(self.path).resolve())

    def anchored(self, folder: Path) -> FilesOptions:
        Globs(self.include, self.exclude)  # raises what is wrong with a pattern
        return msgspec.structs.replace(self, path=str(folder / Path(self.path).expanduser()))


class _Files:
    name = "files"
    version = "files/1"
    options: type[SourceOptions] = FilesOptions

    def open(self, name: str, options: FilesOptions, tools: Tools) -> FilesSource:
        return FilesSource(
            name,
            options.path,
            clock=tools.clock,
            sleep=tools.sleep,
            exclude=tools.exclude,
            globs=Globs(options.include, options.exclude),
            links=options.links,
            hidden=options.hidden,
        )


CONNECTOR: Connector = _Files()
