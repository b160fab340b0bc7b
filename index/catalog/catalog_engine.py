"""Connections and transactions of the catalog on SQLite and PostgreSQL, and what their complaints mean.

SQLite: rollback journal, `synchronous=EXTRA`, `BEGIN IMMEDIATE`, so a write that returned is on the disk; a file
that is not there is never made by opening it. PostgreSQL: READ COMMITTED for writes (which lock the row of `meta`
first), one snapshot for reads, `synchronous_commit = on`, and nothing waits without an end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from penstock.index.catalog.mounts import shared_file_system
from penstock.index.errors import Corrupt, IndexFault, NoSpace, Unavailable, WrongIndex

BUSY_SECONDS = 30
"""How long a statement may wait for another writer, or run."""
CONNECT_SECONDS = 5
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_STRUCTURE = 0x70656E73746F636B
"""The advisory lock of whoever makes or changes the tables: "penstock"."""


class Engine:
    """Transactions on the database at `url`. Raises `WrongIndex` for a URL that names none; opens nothing yet."""

    def __init__(self, url: str, mounts: Path) -> None:
        parsed = _parsed(url)
        # Without the query: a password may stand there as well.
        shown = parsed.set(query={}, drivername=parsed.get_backend_name())
        self.name = shown.render_as_string(hide_password=True)
        self.path = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self._mounts, self._looked = mounts, False
        if self.path is None:
            self._engine = self._creating = _postgres(parsed, self.name)
        else:
            self._engine, self._creating = _sqlite(self.path, "rw"), _sqlite(self.path, "rwc")

    @contextmanager
    def transaction(self, *, write: bool = False, make: bool = False) -> Iterator[sa.Connection]:
        """One transaction; with `make`, a file that is absent is made, and on a server tables may be changed.

        Raises what the driver's complaints mean. After `Unavailable` a write's outcome is unknown.
        """
        self.refuse_shared()
        with self._naming(), (self._creating if make else self._engine).connect() as opened:
            options: dict[str, Any] = {"penstock_write": write or make}
            if self.path is None and not write and not make:
                options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with opened.execution_options(**options) as db, db.begin():
                if make and self.path is None:
                    db.execute(sa.select(sa.func.pg_advisory_xact_lock(_STRUCTURE)))
                yield db

    def session(self) -> ServerSession:
        """A connection of its own, outside any transaction. Raises `Unavailable`."""
        with self._naming():
            try:
                return ServerSession(self, self._engine.raw_connection())
            except self._engine.dialect.loaded_dbapi.Error as error:  # a bare connection's faults come unwrapped
                raise self.named(error) from error

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise self.named(error.orig) from error
        except sqlite3.Error as error:  # from the connect hook, where SQLAlchemy does not wrap
            raise self.named(error) from error
        except (exc.SQLAlchemyError, UnicodeError) as error:
            raise self.named(error) from error
        except OSError as error:
            raise Unavailable(f"catalog {self.name}: {error}; run again when it can be written") from error

    def named(self, error: BaseException | None) -> IndexFault:
        """The driver's complaint as the error that says what to do next."""
        said = (str(error) or type(error).__name__).splitlines()[0]
        state = getattr(error, "sqlstate", None)
        if state in ("42P01", "42703") or any(words in said for words in _DAMAGE):
            return Corrupt(f"catalog {self.name} is damaged ({said}); reading goes on, the next run makes it again")
        if state == "53100" or "disk is full" in said or "disk full" in said:
            return NoSpace(f"catalog {self.name}: the disk is full; nothing is damaged: make room and run again")
        if state in ("55P03", "57014") or "locked" in said:
            return Unavailable(f"catalog {self.name} was busy for {BUSY_SECONDS} s; another writer holds it: run again")
        if self.path is not None and not self.path.exists():
            return Unavailable(f"catalog {self.name} is missing; the next run makes it again from the replicas")
        remedy = next((what for words, what in _REMEDIES if words in said), "run again when it can")
        return Unavailable(f"catalog {self.name} cannot be used ({said}): {remedy}")

    def refuse_shared(self) -> None:
        """Raise `WrongIndex` if the file is, or would be, on a network file system. Looks once."""
        if self.path is None or self._looked:
            return
        kind = shared_file_system(self.path, self._mounts)
        if kind is not None:
            raise WrongIndex(
                f"catalog {self.name} lies on a network file system ({kind}), where SQLite's locks do not hold: "
                "put it on a local disk, or use postgresql://"
            )
        self._looked = True


_REMEDIES = (
    ("authentication failed", "see that PGPASSWORD, or the password file, holds what the server knows"),
    ("no password supplied", "set PGPASSWORD, or write a password file"),
    ("does not exist", "make that database or role, or correct [index] catalog"),
    ("refused", "see that the server runs there, and run again"),
    ("timeout", "the server does not answer: see what it is doing, and run again"),
    ("resolve", "correct the host in [index] catalog"),
)
_DAMAGE = (
    "not a database",
    "malformed",
    "no such table",
    "no such column",
    "decode to UTF-8",
    "codec can't decode",
    "unsupported file",
)


class ServerSession:
    """A connection to a server on which each statement stands alone (`locks.Session`)."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        self._engine, self._driver = engine, connection.driver_connection
        # Ours alone from here on: no pool resets it when it is closed.
        connection.detach()
        self._driver.autocommit = True

    def scalar(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The first value of the answer. Raises `Unavailable`."""
        try:
            return self._driver.execute(statement, values).fetchone()[0]
        except self._engine._engine.dialect.loaded_dbapi.Error as error:
            raise self._engine.named(error) from error

    def close(self) -> None:
        """Let go. May be repeated; never raises."""
        self._driver.close()


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # The URL itself is not repeated: it may hold a password.
        raise WrongIndex("the catalog's URL cannot be read: write postgresql://user@host/database, or a path") from None
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        if "@" in f"{parsed.host}{parsed.database}":  # a password that holds one: its end would be shown
            raise WrongIndex("the catalog's URL has an @ too many: write %40 for one that belongs to a part of it")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise WrongIndex(f"a catalog cannot be in {parsed.drivername}: it is a path, sqlite:///PATH or postgresql://…")
    if not parsed.database or parsed.database == ":memory:":
        raise WrongIndex("the catalog's URL names no file: write sqlite:///PATH")
    return parsed


def _sqlite(path: Path, mode: str) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        # The place is asked for anew each time: a mode that is not "rwc" never makes the file.
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: BEGIN is ours (see _begin_sqlite).
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=EXTRA")


def _begin_sqlite(db: sa.Connection) -> None:
    # A write takes its lock at once: a deferred one could fail in the middle with no right to wait.
    write = db.get_execution_options().get("penstock_write", False)
    db.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _postgres(url: sa.URL, name: str) -> sa.Engine:
    # What the URL says wins. A connection lives for one transaction: preparing statements would not pay.
    arguments = {"connect_timeout": CONNECT_SECONDS, **_KEEPALIVE, **url.query, "prepare_threshold": None}
    try:
        engine = sa.create_engine(
            url.set(query={}), poolclass=NullPool, connect_args=arguments, isolation_level="READ COMMITTED"
        )
    except ModuleNotFoundError as error:
        raise WrongIndex(
            f"catalog {name} needs {error.name}, which is not installed: pip install 'penstock[postgres]'"
        ) from None
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _begin_postgres(db: sa.Connection) -> None:
    limit = f"{int(BUSY_SECONDS * 1000)}ms"
    db.execute(
        sa.select(
            sa.func.set_config("statement_timeout", limit, True),
            sa.func.set_config("lock_timeout", limit, True),
            sa.func.set_config("synchronous_commit", "on", True),
        )
    )
