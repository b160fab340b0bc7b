"""A place that keeps blobs, markers and logs: the contract, and the local directory that keeps it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from penstock.index.errors import Corrupt, NoSpace, Unavailable
from penstock.index.stores.rename import rename_noreplace

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_COPY = 1 << 20
_TMP = "tmp"


class Store(Protocol):
    """Named bytes, written once.

    Keys are relative paths of letters, digits, `_`, `.` and `-`; anything else is a `ValueError`. Keys
    below `tmp/` belong to the store: they are never put, and listed only when asked for by that prefix.

    Atomic: `put_if_absent` makes the whole value appear under its key or nothing, whatever dies. Of any
    number of racing calls for one key exactly one returns True. A value never changes once it is there.

    Durable: when `put_if_absent` returns, True or False, the value under the key survives a power loss.

    Idempotent: every method may be repeated. After `Unavailable` from `put_if_absent` the outcome is
    unknown: repeat it, or read back.

    Errors: `Corrupt` (what lies under the key is no value at all), `NoSpace` (nothing was written), `Unavailable`
    (the store is gone, read-only or failing).
    `FileNotFoundError` is only ever said of a key, by a store that is there.
    """

    name: str

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Keep `data` (bytes, or a local file to copy) under `key`; False, and no change, if it exists."""
        ...

    def get(self, key: str) -> bytes:
        """Return the whole value; `FileNotFoundError` when there is none."""
        ...

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return bytes [start, end) of the value, fewer where it is shorter; `FileNotFoundError` when there is none."""
        ...

    def size(self, key: str) -> int | None:
        """Return the value's size in bytes, None when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys below `prefix` (a folder with its slash, or empty for all), sorted."""
        ...

    def delete(self, key: str) -> None:
        """Forget the key; nothing happens when it is not there."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Return a local file that holds the value, None when there is none or the store is not local."""
        ...

    def probe(self) -> None:
        """Raise `Unavailable` unless the store can be reached and written to right now."""
        ...


def checked(key: str) -> str:
    """Return `key` if it is one; the message of the `ValueError` quotes it otherwise."""
    if not is_key(key):
        raise ValueError(f"not a key of a store: {key!r}")
    return key


def is_key(name: str) -> bool:
    """Whether `name` could be a key: other names in a store's place are somebody else's."""
    return _KEY.fullmatch(name) is not None


class LocalStore:
    """A directory. Values are copied to `tmp/`, fsync'd, then hard-linked to their name; folders are fsync'd.

    Where the file system has no hard links, `renameat2(RENAME_NOREPLACE)` does the same; where it has
    neither, putting raises `Unavailable` and says so. The directory itself is only ever made by `create`:
    one that vanished is an unmounted disk until somebody says otherwise. `token` gives unique names.
    """

    def __init__(self, root: Path, *, token: Callable[[], str]) -> None:
        self.root = Path(root)
        self.name = str(root)
        self._token = token
        self._kept: set[Path] = set()
        """Folders whose own entry in their parent is known to be on disk."""

    @classmethod
    def create(cls, root: Path, *, token: Callable[[], str]) -> LocalStore:
        """Make the directory (and its parents) if it is not there, durably, and return the store."""
        root = Path(root)
        store = cls(root, token=token)
        with store._faults("make"):
            missing = [p for p in (root.absolute(), *root.absolute().parents) if not p.exists()]
            root.mkdir(parents=True, exist_ok=True)
            for path in missing:
                _fsync_folder(path.parent)
        return store

    @property
    def domain(self) -> str:
        """What it fails together with. Raises `OSError` when the directory is not there."""
        return f"disk (device {self.root.stat().st_dev})"

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        final = self._file(key)
        if key.split("/", 1)[0] == _TMP:
            raise ValueError(f"keys below {_TMP}/ belong to the store: {key!r}")
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(data.open("rb")) if isinstance(data, Path) else data
            stack.enter_context(self._faults("write to", needs_root=True))
            self._make_folder(final.parent)
            made = False
            if not final.exists():
                temp = self._write_temp(source)
                try:
                    made = _publish(temp, final)
                finally:
                    temp.unlink(missing_ok=True)
            # Also when it was there already: who made it may have died before this.
            _fsync_folder(final.parent)
            return made

    @contextlib.contextmanager
    def incoming(self, key: str) -> Iterator[Callable[[bytes], None]]:
        """Put a value in pieces, with the function that this yields. It appears when the block ends, as `put_if_absent`
        has it; where the block raises, nothing does."""
        final = self._file(key)
        with contextlib.ExitStack() as stack:
            with self._faults("write to", needs_root=True):
                self._make_folder(final.parent)
                self._make_folder(self.root / _TMP)
                temp = self.root / _TMP / checked(self._token())
                out = stack.enter_context(temp.open("xb", buffering=0))
                stack.callback(temp.unlink, missing_ok=True)

            def write(piece: bytes) -> None:
                with self._faults("write to"):
                    _write_all(out.fileno(), piece)

            yield write
            with self._faults("write to"):
                os.fsync(out)
                _publish(temp, final)
                _fsync_folder(final.parent)

    def get(self, key: str) -> bytes:
        with self._faults("read"), _reading(self._file(key)) as file:
            return file.read()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        if start < 0:
            raise ValueError(f"a range starts at 0 or later, not at {start}")
        with self._faults("read"), _reading(self._file(key)) as file:
            file.seek(start)
            return file.read(max(0, end - start))

    def size(self, key: str) -> int | None:
        with self._faults("read"):
            try:
                return self._file(key).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return None

    def list(self, prefix: str) -> Iterator[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a prefix ends with a slash: {prefix!r}")
        folder = self._file(prefix[:-1]) if prefix else self.root
        with self._faults("list", needs_root=True):
            found = sorted(_files_below(folder, prefix))
        hidden = "" if prefix else f"{_TMP}/"
        return (key for key in found if not (hidden and key.startswith(hidden)))

    def delete(self, key: str) -> None:
        with self._faults("delete in", needs_root=True):
            try:
                self._file(key).unlink(missing_ok=True)
            except NotADirectoryError:
                return
            except IsADirectoryError:
                # Nothing of ours is a folder under the name of a value: out of the way, and nothing in it is lost.
                self._make_folder(self.root / _TMP)
                self._file(key).rename(self.root / _TMP / f"{checked(self._token())}.set-aside")

    def local_path(self, key: str) -> Path | None:
        path = self._file(key)
        with self._faults("read"):
            return path if path.is_file() else None

    def probe(self) -> None:
        with self._faults("write to", needs_root=True):
            self._write_temp(b"probe").unlink()

    def _file(self, key: str) -> Path:
        return self.root / checked(key)

    def _write_temp(self, source: bytes | BinaryIO) -> Path:
        self._make_folder(self.root / _TMP)
        temp = self.root / _TMP / checked(self._token())
        try:
            with temp.open("xb", buffering=0) as out:
                if isinstance(source, bytes):
                    _write_all(out.fileno(), source)
                else:
                    while piece := source.read(_COPY):
                        _write_all(out.fileno(), piece)
                os.fsync(out.fileno())
        except FileExistsError:
            raise
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        return temp

    def _make_folder(self, folder: Path) -> None:
        """Make the folders between the root and `folder` and see that their entries are on disk."""
        missing = [p for p in (folder, *folder.parents) if p.is_relative_to(self.root) and p != self.root]
        for path in reversed(missing):
            if path in self._kept and path.is_dir():
                continue
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            _fsync_folder(path.parent)
            self._kept.add(path)

    def _require_root(self) -> None:
        if not self.root.is_dir():
            if self.root.exists():
                raise Unavailable(f"{self.root}: is a file, in the place of a store's directory; move it away")
            raise Unavailable(f"{self.root}: the store's directory is not there (is the disk mounted?)")

    @contextlib.contextmanager
    def _faults(self, doing: str, *, needs_root: bool = False) -> Iterator[None]:
        """Say an `OSError` in the store's words. A missing key stays `FileNotFoundError`."""
        if needs_root:
            self._require_root()
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as fault:
            if doing in ("make", "write to"):
                raise Unavailable(f"{self.root}: cannot {doing} the store: {fault.strerror}") from fault
            self._require_root()
            raise FileNotFoundError(fault.errno, fault.strerror, fault.filename) from fault
        except OSError as fault:
            if fault.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{self.root}: the disk is full; make room and run again") from fault
            why = fault.strerror or str(fault)
            raise Unavailable(f"{self.root}: cannot {doing} the store: {why}") from fault


def _reading(path: Path) -> BinaryIO:
    """Open a file; `Corrupt` for what is none: a pipe in its place must not be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Corrupt(f"{path}: is not a file; run penstock repair")
    return os.fdopen(descriptor, "rb")


def _publish(temp: Path, final: Path) -> bool:
    """Give the finished file its name unless the name is taken; True if this call did it."""
    try:
        os.link(temp, final)
    except FileExistsError:
        # A network file system may have lost the reply to a link that was made.
        return temp.samefile(final)
    except OSError as fault:
        if fault.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        return rename_noreplace(temp, final)
    return True


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _files_below(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(folder / entry.name, f"{prefix}{entry.name}/")
        elif is_key(entry.name):  # names that are no keys are somebody else's
            yield prefix + entry.name
