"""The contract of sources, for databases: SQLite files, and a real PostgreSQL server behind a wire that breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from penstock.connectors.http.types import Permit
from penstock.connectors.sources.sql import CONNECTOR
from penstock.connectors.sources.sql.values import named
from penstock.connectors.types import RetryLater
from tests.fakes.tools import CountingBudget, Kit
from tests.fakes.wire import Wire
from tests.index.postgres import PASSWORD, Postgres
from tests.suites.changes_suite import ChangesSuite
from tests.suites.source_bench import Bench
from tests.suites.source_suite import SourceSuite

BEGINNING = datetime(2020, 1, 1, 0, 0, 0, 250_000)
KIND = {
    "name": "doc",
    "query": "SELECT name, body, note, readers, updated FROM documents -- all of them",
    "key": "name",
    "updated": "updated",
    "body": "{body}",
    "title": "{name}",
    "metadata": ["note"],
    "labels": "readers",
}


class HookedBudget(CountingBudget):
    """Something may happen just before a request."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[], None] = lambda: None

    def request(self) -> AbstractContextManager[Permit]:  # type: ignore[override]
        self.hook()
        return super().request()


class SqlBench(Bench):
    """A table in a database. Subclasses give `execute`, `lost` and `mend`."""

    connector = CONNECTOR
    faults = {"doubled": (RetryLater, "garbled")}
    placeholder = "?"

    def __init__(self, kit: Kit, url: str, kind: dict[str, Any] = KIND) -> None:
        self.kit = kit
        self.kit.budget = self.budget = HookedBudget()
        self.options = {"url": url, "page_size": 7, "kinds": [kind]}
        self._stamps = 0
        self._asked = 0
        self._until_cut = -1
        self.budget.hook = self._countdown
        sa.event.listen(sa.Engine, "before_cursor_execute", self._count)

    def close(self) -> None:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._count)

    def execute(self, statement: str, *rows: tuple[Any, ...]) -> None:
        raise NotImplementedError

    def lost(self, *, for_ever: bool) -> None:
        raise NotImplementedError

    def stamp(self) -> datetime:
        """Further on than the overlap."""
        self._stamps += 1
        return BEGINNING + timedelta(seconds=1000 * self._stamps)

    def uri(self, name: str) -> str:
        return f"{self.NAME}/doc/{named([name])}"

    def put(self, name: str, text: str) -> None:
        self.delete(name)
        self.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (name, text, "", "", self.stamp()))

    def delete(self, name: str) -> None:
        self.execute("DELETE FROM documents WHERE name = ?", (name,))

    def rename(self, old: str, new: str) -> None:
        self.execute("UPDATE documents SET name = ?, updated = ? WHERE name = ?", (new, self.stamp(), old))

    def describe(self, name: str, value: str) -> None:
        self.execute("UPDATE documents SET note = ?, updated = ? WHERE name = ?", (value, self.stamp(), name))

    def label(self, name: str, reader: str) -> None:
        self.execute("UPDATE documents SET readers = ?, updated = ? WHERE name = ?", (reader, self.stamp(), name))

    def fill(self, count: int) -> list[str]:
        names = [f"item-{number:05d}" for number in range(count)]
        rows = [(name, f"text of {name}", "", "", self.stamp()) for name in names]
        if rows:
            self.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", *rows)
        if count > 1000:
            self.options = {**self.options, "page_size": 250}
        return names

    def requests(self) -> int:
        return self._asked

    def cut_listing(self, *, for_ever: bool) -> None:
        self._until_cut, self._for_ever = 4, for_ever

    def hide(self, name: str) -> None:
        self.lose()

    def lose(self) -> None:
        self.execute("DROP TABLE documents")

    def spoil(self, name: str, fault: str) -> None:
        self.execute("INSERT INTO documents SELECT * FROM documents WHERE name = ?", (name,))

    def disconnect(self) -> None:
        self.lost(for_ever=True)

    def _countdown(self) -> None:
        self._until_cut -= 1
        if self._until_cut == 0:
            self.lost(for_ever=self._for_ever)

    def _count(self, _db: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._asked += "documents" in statement


class SqliteBench(SqlBench):
    """Losing the connection is losing the file."""

    def __init__(self, folder: Path, kind: dict[str, Any] = KIND) -> None:
        self.file = folder / "it.db"
        super().__init__(Kit(folder / "scratch", max_bytes=self.max_bytes), f"sqlite:///{self.file}", kind)
        self.execute("CREATE TABLE documents (name TEXT, body TEXT, note TEXT, readers TEXT, updated TEXT)")

    def execute(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with sqlite3.connect(self.file) as db:
            shown = [tuple(str(each) if isinstance(each, datetime) else each for each in row) for row in rows]
            db.executemany(statement, shown) if rows else db.execute(statement)
        db.close()

    def lost(self, *, for_ever: bool) -> None:
        self.file.rename(self.file.with_name("unmounted"))

    def mend(self) -> None:
        self._until_cut = -1
        if not self.file.exists():
            self.file.with_name("unmounted").rename(self.file)


class PostgresBench(SqlBench):
    secret = PASSWORD

    def __init__(self, folder: Path, server: Postgres, wire: Wire) -> None:
        self.server, self.wire = server, wire
        self.direct = server.fresh()
        self.user = "reader_" + self.direct.rpartition("/")[2]
        kit = Kit(folder / "scratch", {"DB_PASSWORD": PASSWORD}, max_bytes=self.max_bytes)
        place = f"127.0.0.1:{wire.port}/{self.direct.rpartition('/')[2]}"
        super().__init__(kit, f"postgresql://{self.user}:${{DB_PASSWORD}}@{place}")
        self.db = psycopg.connect(self.direct, autocommit=True)
        self.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{PASSWORD}'")
        self.execute("CREATE TABLE documents (name text, body text, note text, readers text, updated timestamptz)")
        self.execute("CREATE INDEX ON documents (name)")
        self.execute(f"GRANT SELECT ON documents TO {self.user}")

    def close(self) -> None:
        super().close()
        self.wire.up()
        self.wire.cut()
        self.db.close()

    def execute(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with self.db.cursor() as cursor:
            if rows:
                cursor.executemany(statement.replace("?", "%s"), rows)
            else:
                cursor.execute(statement)  # type: ignore[arg-type]

    def lost(self, *, for_ever: bool) -> None:
        (self.wire.down if for_ever else self.wire.cut)()

    def mend(self) -> None:
        self._until_cut = -1
        self.wire.up()

    def refuse(self) -> None:
        self.execute(f"ALTER ROLE {self.user} PASSWORD 'another'")
        self.wire.cut()


WITHOUT_A_SERVER = {
    "test_refused_credentials_stop_the_source": "a file has none",
    "test_the_secret_is_never_seen": "there is none",
}
WITH_A_FEED = {"test_a_cursor_that_is_too_old_is_expired": "rows keep their `updated`: no cursor is too old"}


class TestSqlite(ChangesSuite):
    CANNOT = {**WITHOUT_A_SERVER, **WITH_A_FEED}

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[SqliteBench]:
        bench = SqliteBench(tmp_path)
        yield bench
        bench.close()


class TestSqliteByDigest(SourceSuite):
    """Rows that do not say when they changed."""

    CANNOT = WITHOUT_A_SERVER

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[SqliteBench]:
        bench = SqliteBench(tmp_path, {key: value for key, value in KIND.items() if key != "updated"})
        yield bench
        bench.close()


class TestPostgres(ChangesSuite):
    CANNOT = WITH_A_FEED

    @pytest.fixture(scope="class")
    def wire(self, postgres: Postgres) -> Wire:
        return Wire(postgres.port)

    @pytest.fixture
    def bench(self, tmp_path: Path, postgres: Postgres, wire: Wire) -> Iterator[PostgresBench]:
        bench = PostgresBench(tmp_path, postgres, wire)
        yield bench
        bench.close()
