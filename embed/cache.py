"""Vectors that were paid for, by the text that they are of: equal texts are embedded once.

A cache is for cost, never for truth: whatever is wrong with it is a miss, and it can be deleted at any time. It is an
SQLite file (WAL, so that several runs may use it at once) with a checksum for each vector, because a wrong vector
would be served without anybody noticing. Where another run holds it for too long, one look or one batch is given up,
and not the cache.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, used INTEGER, sum BLOB, vector BLOB);
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""
_BATCH = 500
_KEEP = 0.9
"""After an eviction, so much of the limit is used."""
_DAY = 86_400
_MOST_PASSED_OVER = 3
"""After so many waits in vain, a run goes on without the cache: it would wait each time."""


class Cache(Protocol):
    """Vectors by key. Never raises; safe for several threads and processes."""

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]: ...

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None: ...

    def close(self) -> None: ...


class NoCache:
    """Keeps nothing."""

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]:
        return {}

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        pass

    def close(self) -> None:
        pass


class VectorCache:
    """A cache in the file at `path`, of about `limit_bytes`. What was not used for longest goes first."""

    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        *,
        clock: Callable[[], float],
        note: Callable[[str], None],
        patience: float = 10.0,
    ) -> None:
        """`patience`: seconds to wait for another run that writes."""
        self._patience = patience
        self._path, self._limit, self._clock, self._note = path, limit_bytes, clock, note
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False
        self._passed_over = 0
        """How often in a row somebody else wrote for longer than we wait."""

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]:
        """The vectors, float32 (dim,), of those keys that are here and sound."""
        with self._lock:
            return self._guarded(lambda db: self._found(db, keys, dim), {})

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep these vectors."""
        with self._lock:
            self._guarded(lambda db: self._kept(db, vectors), None)

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        with self._lock:
            self._let_go()

    def _found(self, db: sqlite3.Connection, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]:
        today, found, stale = int(self._clock() // _DAY), dict[bytes, NDArray[np.float32]](), list[bytes]()
        for batch in _batches(list(dict.fromkeys(keys))):
            marks = ",".join("?" * len(batch))
            rows = db.execute(f"SELECT key, used, sum, vector FROM vectors WHERE key IN ({marks})", batch)  # noqa: S608
            for key, used, checksum, data in rows:
                if len(data) == 4 * dim and _sum(key, data) == checksum:
                    found[key] = np.frombuffer(data, dtype="<f4")
                    if used != today:
                        stale.append(key)
        if stale:  # once a day and key: a hit must not cost a write
            db.executemany("UPDATE vectors SET used = ? WHERE key = ?", [(today, key) for key in stale])
            db.commit()
        return found

    def _kept(self, db: sqlite3.Connection, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        today = int(self._clock() // _DAY)
        rows = ((key, np.asarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items())
        filled = [(key, today, _sum(key, data), data) for key, data in rows]
        db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", filled)
        db.commit()
        self._evict(db)

    def _evict(self, db: sqlite3.Connection) -> None:
        """Delete the least recently used until the file's content fits; its free pages are used again.

        Measured while nobody else writes, or two runs that see the same excess would both take it away.
        """
        (size,) = db.execute("PRAGMA page_size").fetchone()

        def used() -> int:
            (pages,), (free,) = (db.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
            return int((pages - free) * size)

        while used() > self._limit:
            db.execute("BEGIN IMMEDIATE")
            if (now := used()) <= self._limit:
                db.rollback()
                break
            (count,) = db.execute("SELECT count(*) FROM vectors").fetchone()
            many = max(1, int(count * (1 - _KEEP * self._limit / now)))
            oldest = "SELECT key FROM vectors ORDER BY used LIMIT ?"
            gone = db.execute(f"DELETE FROM vectors WHERE key IN ({oldest})", (many,)).rowcount  # noqa: S608
            db.commit()
            if not gone:
                break

    def _guarded(self, act: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """What `act` gives, or `otherwise`: a cache that cannot be used is none."""
        if self._broken:
            return otherwise
        try:
            result = act(self._opened())
            self._passed_over = 0
            return result
        except sqlite3.DatabaseError as error:
            busy = getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            self._passed_over = self._passed_over + 1 if busy else _MOST_PASSED_OVER
            if self._passed_over < _MOST_PASSED_OVER:
                self._let_go()  # what was begun is undone, so that nobody waits for us
            else:
                self._give_up(error)
        except OSError as error:
            self._broken = True
            self._note(f"the cache of vectors is not used: {error}")
        return otherwise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self._path.exists():
                self._made()
            self._connection = self._connected(self._path)
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)  # one that was cut to nothing is filled again
        return self._connection

    def _made(self) -> None:
        """Make the file whole under a name of its own: SQLite lets nobody wait while another turns a file to WAL."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._path.parent) as private:
            db = self._connected(new := Path(private) / self._path.name)
            db.execute("PRAGMA page_size=16384")  # with 4096, a third of each page stays empty
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA)
            db.close()
            with suppress(FileExistsError):  # another run was quicker
                os.link(new, self._path)

    def _connected(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=self._patience, check_same_thread=False)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        """A damaged file is removed, so that the next run has a new one; of any other fault only this run knows."""
        self._broken = True
        self._let_go()
        if isinstance(error, sqlite3.OperationalError):
            self._note(f"the cache of vectors is not used: {error}")
            return
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._note(f"the cache of vectors was damaged and is removed: {error}; texts are embedded again")


def key_of(identity: Mapping[str, str]) -> Callable[[str], bytes]:
    """Makes keys: 128 bits of a text, under everything that decides what its vector is."""
    said = "\n".join(f"{name}={identity[name]}" for name in sorted(identity))
    secret = hashlib.blake2b(said.encode(), digest_size=32).digest()
    return lambda text: hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=secret, digest_size=16).digest()


def _sum(key: bytes, data: bytes) -> bytes:
    return xxhash.xxh3_64_digest(key + data)


def _batches(keys: list[bytes]) -> Iterable[list[bytes]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
