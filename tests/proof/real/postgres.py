"""PostgreSQL: rows of two kinds, updates and deletions, late transactions, connections that are ended in the middle."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.index import postgres
from tests.proof.real import debian
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, few, first, outage, silent
from tests.proof.real.desk import NAME, Desk
from tests.proof.real.line import Line
from tests.proof.real.prose import prose

TICKETS, ARTICLES, MORE = 1800, 300, 400
SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, name text);
CREATE TABLE tickets (id bigint PRIMARY KEY, subject text, body text, owner int REFERENCES people,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(), deleted_at timestamptz);
CREATE TABLE articles (shelf text, slug text, text text, PRIMARY KEY (shelf, slug));
INSERT INTO people SELECT n, 'Person ' || n FROM generate_series(1, 9) n;
"""
CONFIG = '''[sources.{name}]
type = "sql"
url = "postgresql://reader@127.0.0.1:{port}/{database}"
password = "${{PG_PASSWORD}}"
overlap = 3
attempts = 2
connect_seconds = 3
page_size = 200
budget = {{ concurrency = 4, patience = 3 }}
network = {{ allow = ["127.0.0.1/32"], connect_seconds = 3 }}

[[sources.{name}.kinds]]
name = "ticket"
query = """
  SELECT t.id, t.subject, t.body, t.updated_at, t.deleted_at, p.name AS owner
  FROM tickets t JOIN people p ON p.id = t.owner
"""
key = "id"
updated = "updated_at"
deleted = "deleted_at"
title = "{{subject}}"
body = "<h1>{{subject:text}}</h1>{{body}}"
format = "html"
metadata = ["owner"]

[[sources.{name}.kinds]]
name = "article"
table = "articles"
key = ["shelf", "slug"]
title = "{{slug}}"
body = "{{text}}"
'''


class Database:
    """Tables in a database of the server's, read by a user that may only read."""

    def __init__(self, server: postgres.Postgres) -> None:
        self._server, self._url = server, server.fresh()
        self.line = Line(server.port)
        self.password = "pg-s3cret/of+the reader"
        self.sql(SCHEMA)
        quoted = self.password.replace("'", "''")
        self.sql(f"CREATE ROLE reader LOGIN PASSWORD '{quoted}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        self._dice = random.Random(5)
        self.count = 0
        self.insert(TICKETS)
        values = ", ".join(f"('{'abc'[n % 3]}', 'ö/slug {n}', '{self._text(50)} {n}')" for n in range(ARTICLES))
        self.sql(f"INSERT INTO articles VALUES {values}")

    @property
    def database(self) -> str:
        return urlsplit(self._url).path[1:]

    def config(self) -> str:
        return CONFIG.format(name=NAME, port=self.line.port, database=self.database)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop("immediate")

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        return self._server.sql(statement, self._url)

    def insert(self, count: int) -> int:
        rows = range(self.count, self.count + count)
        values = ", ".join(f"({n}, 'No. {n} & co', '<p>{self._text(60)}</p><p>{n}</p>', {n % 9 + 1})" for n in rows)
        self.sql(f"INSERT INTO tickets (id, subject, body, owner) VALUES {values}")
        self.count += count
        return count

    def uris(self) -> set[str]:
        tickets = {f"{NAME}/ticket/{row[0]}" for row in self.sql("SELECT id FROM tickets WHERE deleted_at IS NULL")}
        return tickets | {
            f"{NAME}/article/{'/'.join(map(quoted, row))}" for row in self.sql("SELECT shelf, slug FROM articles")
        }

    @property
    def owner(self) -> str:
        """Where those who write connect to."""
        return self._url

    def end_connections(self) -> int:
        asked = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'reader'"
        return int(str(self.sql(asked)[0][0]))

    def _text(self, words: int) -> str:
        return prose(self._dice, words)


@contextmanager
def running() -> Iterator[Database]:
    """Raises `NotRun` where PostgreSQL is not installed and cannot be."""
    if postgres.programs() is None:
        debian.need("postgresql")
    with postgres.running() as server:
        database = Database(server)
        try:
            yield database
        finally:
            database.line.down()


def prove(folder: Path) -> Checks:
    """All checks. Raises `NotRun`."""
    with running() as server:
        said = str(server.sql("SHOW server_version")[0][0])
        checks = Checks("postgresql", said.split()[0])
        desk = Desk(folder / "desk", server.config(), {"PG_PASSWORD": server.password})
        time.sleep(3.5)  # beyond the overlap: what is new is then what has changed since
        first(checks, desk, server)
        writes(checks, desk, server)
        late(checks, desk, server)
        ended(checks, desk, server)
        outage(checks, desk, server, lambda: server.insert(MORE), 700)
        wrong = Desk(folder / "wrong", desk.config, {"PG_PASSWORD": "another-passw0rd/+"})
        ran = wrong.ingest()
        checks.that("a wrong password stops the source with exit 2", ran.code == 2, ran.brief())
        silent(checks, desk)
    return checks


def writes(checks: Checks, desk: Desk, server: Database) -> None:
    server.sql(
        "UPDATE tickets SET body = body || '<p>It was the seal.</p>', updated_at = clock_timestamp() WHERE id % 50 = 3"
    )
    server.sql(
        "UPDATE tickets SET deleted_at = clock_timestamp(), updated_at = clock_timestamp() WHERE id BETWEEN 200 AND 219"
    )
    server.sql("UPDATE articles SET text = text || ' amended' WHERE slug LIKE '%7'")
    new = server.insert(20)
    touched = TICKETS // 50 + new + ARTICLES // 10
    changed(checks, desk, server, "updates, new rows and rows marked as deleted, by the feed", touched)
    server.sql("DELETE FROM tickets WHERE id BETWEEN 300 AND 339")
    server.sql("DELETE FROM articles WHERE slug LIKE '%13'")
    changed(checks, desk, server, "rows that were deleted, by the full listing", 0, "--full")


def late(checks: Checks, desk: Desk, server: Database) -> None:
    """A transaction that began before the last look and commits after it: the overlap is there for it."""
    import psycopg

    with psycopg.connect(server.owner) as writer:
        writer.execute(
            "UPDATE tickets SET subject = 'Late', updated_at = clock_timestamp() WHERE id BETWEEN 400 AND 404"
        )
        server.sql("UPDATE tickets SET subject = 'Early', updated_at = clock_timestamp() WHERE id = 410")
        ran = desk.ingest()
        writer.commit()
    checks.that("rows of a transaction that is not over are not seen", ran.code == 0 and ran.fetched == 1, ran.brief())
    changed(checks, desk, server, "the same rows after its commit, by the overlap", 5)


def ended(checks: Checks, desk: Desk, server: Database) -> None:
    """An administrator ends our connections, again and again, while we read."""
    over, counts = threading.Event(), [0]
    new = server.insert(300)

    def end() -> None:
        while not over.wait(0.25):
            counts[0] += server.end_connections()

    worker = threading.Thread(target=end, daemon=True)
    worker.start()
    plain, desk.config = (
        desk.config,
        desk.config.replace("attempts = 2", "attempts = 6").replace("patience = 3", "patience = 60"),
    )
    ran = desk.ingest()
    over.set()
    worker.join()
    desk.config = plain
    have = desk.indexed()
    checks.that(
        "connections that are ended in the middle cost nothing",
        ran.code == 0 and have == server.uris() and counts[0] > 2,
        f"{counts[0]} ended, {new} rows to do; {ran.brief()}{few(have ^ server.uris())}",
    )


def quoted(part: object) -> str:
    """As part of a uri: readable, but for what would be no name."""
    return str(part).replace("/", "%2F")
