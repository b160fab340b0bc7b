"""Connections to a source's database: read only where it can be said, bounded in time, a permit for each transaction.

A connection that was lost is tried again here and nowhere else, a few times; what it raises then, and everything
else that a driver complains of, is in `faults`.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from penstock.connectors.connector import Tools
from penstock.connectors.http.types import Outcome, Permit
from penstock.connectors.sources.sql import place, postgres
from penstock.connectors.sources.sql.faults import UNREADABLE, Fault, fault_of
from penstock.connectors.sources.sql.options import SqlOptions
from penstock.connectors.types import StopSource

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_EXTRAS = {"psycopg": "penstock[postgres]"}
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_WAITS = (1.0, 3.0, 10.0, 30.0)
_IDLE = 300  # seconds after which a connection is not trusted any more


class Database:
    """Opens nothing before the first `rows`. Thread-safe. `retries` counts transactions that were repeated."""

    def __init__(self, name: str, options: SqlOptions, tools: Tools) -> None:
        self.retries = 0
        self._name, self._options, self._tools = name, options, tools
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()

    def rows(self, statement: sa.Select[Any], about: str, *, one_row: bool = False) -> list[tuple[Any, ...]]:
        """All rows of one statement, in a transaction of its own; `about` says what they are, for messages.

        `one_row`: it asks for one row, so that a bad value in it says nothing about others. Raises `StopSource` and
        `RetryLater`.
        """
        for attempt in range(self._options.attempts):
            try:
                return self._asked(statement)
            except Fault as fault:
                if not fault.passing or attempt + 1 == self._options.attempts:
                    raise fault.error(self._name, about, attempt, one_row=one_row) from None
                self.retries += 1
                self._tools.sleep(_WAITS[min(attempt, len(_WAITS) - 1)])
        raise AssertionError("there is at least one attempt")

    def close(self) -> None:
        """Closes the pool; what is asked later opens it again. Never raises."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _asked(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        engine = self._opened()
        with self._permit() as permit:
            began = self._tools.clock()
            try:
                with engine.connect() as db, db.begin():
                    found = [tuple(row) for row in db.execute(statement)]
            except (exc.SQLAlchemyError, sqlite3.Error, OSError, *UNREADABLE) as error:
                fault = fault_of(error, place.file_of(self._options.url))
                if permit is not None:
                    permit.done(Outcome(fault.verdict, self._tools.clock() - began))
                raise fault from None
            if permit is not None:
                permit.done(Outcome("ok", self._tools.clock() - began))
            return found

    @contextmanager
    def _permit(self) -> Iterator[Permit | None]:
        if self._tools.budget is None:
            yield None
            return
        with self._tools.budget.request() as permit:
            yield permit

    def _opened(self) -> sa.Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self._name, self._options, self._password())
                weakref.finalize(self, self._engine.dispose)
            return self._engine

    def _password(self) -> str | None:
        return None if self._options.password is None else self._tools.secret(self._options.password)


def _engine(name: str, options: SqlOptions, password: str | None) -> sa.Engine:
    """Raises `StopSource` for a URL that names no database or needs a library that is not there."""
    file = place.file_of(options.url)
    if file is not None:
        return _file_engine(place.file_uri(file), options.connect_seconds)
    try:
        url = sa.make_url(options.url)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername), password=password)
        engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            pool_recycle=_IDLE,
            max_overflow=-1,
            hide_parameters=True,
            connect_args=_limits(url.get_driver_name(), options),
        )
    except ModuleNotFoundError as error:
        what = _EXTRAS.get(error.name or "", error.name)
        raise StopSource(f"source {name} needs {error.name}, which is not installed: pip install '{what}'") from None
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
        raise StopSource(f"source {name}: no such kind of database here; write postgresql:// or sqlite://") from None
    event.listen(engine, "begin", _begun(engine.dialect.name, options))
    if engine.dialect.driver == "psycopg":
        driver = engine.dialect.loaded_dbapi
        event.listen(engine, "connect", lambda connection, _: postgres.load_any_date(driver, connection))
    return engine


def _file_engine(uri: str, seconds: float) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        found = sqlite3.connect(uri, uri=True, timeout=seconds, check_same_thread=False)
        found.text_factory = lambda text: text.decode("utf-8", "replace")
        return found

    return sa.create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)


def _limits(driver: str, options: SqlOptions) -> dict[str, Any]:
    """What a driver calls the time that connecting, and waiting for an answer, may take."""
    connect, statement = max(1, round(options.connect_seconds)), max(1, round(options.statement_seconds))
    match driver:
        case "psycopg":
            return {"connect_timeout": connect, "prepare_threshold": None, **_KEEPALIVE}
        case "psycopg2":
            return {"connect_timeout": connect, **_KEEPALIVE}
        case "pymysql":
            return {"connect_timeout": connect, "read_timeout": statement + 5}
        case "pymssql":
            return {"login_timeout": connect, "timeout": statement}
        case "pyodbc":
            return {"timeout": connect}
        case "oracledb":
            return {"tcp_connect_timeout": connect}
    return {}


def _begun(dialect: str, options: SqlOptions) -> Any:
    """What is said first in each transaction: that it only reads, and how long it may take."""
    milliseconds = max(1, round(options.statement_seconds * 1000))
    said = {
        "postgresql": postgres.told(milliseconds),
        "mysql": [f"SET SESSION max_execution_time = {milliseconds}"],
        "mariadb": [f"SET SESSION max_statement_time = {milliseconds / 1000}"],
        "oracle": ["SET TRANSACTION READ ONLY"],
    }.get(dialect, [])

    def begin(db: sa.Connection) -> None:
        for statement in said:
            db.exec_driver_sql(statement)

    return begin
