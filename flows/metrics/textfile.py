"""A file that node_exporter's textfile collector reads: there as a whole, or as it was before, never torn.

One file for each home and kind of run, since two files with the same series would be an error to node_exporter. Of two
runs of one kind at the same time the first has the file: a lock that goes with its holder says so. A file stays after
its run, as its last word, until the next run of that kind; those of homes that are gone are swept away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

FORGOTTEN = 30 * 86_400.0
"""Seconds after which a file is swept away that nobody wrote to: its source is run no more."""
_FIRST = "# penstock "


class Textfile:
    """The file of `home` and `kind` in `folder`, which is made if it is missing. Raises `OSError`. Not thread-safe."""

    def __init__(self, folder: Path, home: Path, kind: str) -> None:
        self._folder, self._home = folder, str(home)
        name = hashlib.sha256(f"{home}\n{kind}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self.path = folder / f"penstock-{kind.partition(':')[0]}-{name}.prom"
        self._lock: int | None = None

    def write(self, text: bytes) -> bool:
        """Put `text` in the place of what was there; False, and nothing is written, while another run has the file."""
        if self._lock is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NotADirectoryError(f"{self._folder}: is no folder") from None
            self._lock = _locked(self._beside("lock"))
            if self._lock is None:
                return False
        fresh = self._beside("new")
        try:
            fresh.write_bytes(_head(self._home) + text)
            fresh.replace(self.path)
        except OSError:
            with suppress(OSError):
                fresh.unlink()
            raise
        return True

    def close(self) -> None:
        """Let go of the file, which stays. May be repeated."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _beside(self, what: str) -> Path:
        """Hidden, and without the ending that the collector looks for."""
        return self.path.with_name(f".{self.path.stem}.{what}")


def sweep(folder: Path, now: float) -> list[Path]:
    """Remove what runs left whose home is gone, and what is `FORGOTTEN`; return these files. Raises nothing.

    Only files that begin as ours do are touched, and none that somebody has.
    """
    swept, there = [], list[Path]()
    with suppress(OSError):
        there = sorted(folder.glob("penstock-*.prom"))
    for path in there:
        with suppress(OSError, ValueError):
            with path.open("rb") as file:
                first = file.readline(65_536)
            if not first.startswith(_FIRST.encode()):
                continue
            home = Path(json.loads(first[len(_FIRST) :])["home"])
            if now - path.stat().st_mtime < FORGOTTEN and home.is_dir():
                continue
            lock = _locked(path.with_name(f".{path.stem}.lock"))
            if lock is None:
                continue
            try:
                path.unlink()
                path.with_name(f".{path.stem}.lock").unlink()
            finally:
                os.close(lock)
            swept.append(path)
    return swept


def _head(home: str) -> bytes:
    return f"{_FIRST}{json.dumps({'home': home})}\n".encode()


def _locked(path: Path) -> int | None:
    """The lock of a file, None while somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:  # else it was swept away meanwhile
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
