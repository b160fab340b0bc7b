"""Rows of a real PostgreSQL server: its types, its collations, its limits, and what it says when something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from penstock.connectors.sources.sql import CONNECTOR
from penstock.connectors.types import Gap, Item, Mark, RetryLater, StopSource
from tests.fakes.tools import Kit
from tests.fakes.wire import Wire
from tests.index.postgres import PASSWORD, Postgres
from tests.suites.source_bench import chain


class Desk:
    """A database of its own, and sources made of it."""

    def __init__(self, folder: Path, server: Postgres) -> None:
        self.server = server
        self.url = server.fresh()
        self.database = self.url.rpartition("/")[2]
        self.kit = Kit(folder / "scratch", {"PW": PASSWORD, "WRONG": "another-word"})
        self.db = psycopg.connect(self.url, autocommit=True)

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.db.execute(statement)  # type: ignore[arg-type]

    def open(self, kind: dict[str, Any] | None = None, place: str = "", **options: Any) -> Any:
        place = place or f"penstock:${{PW}}@127.0.0.1:{self.server.port}/{self.database}"
        basis = {"name": "doc", "key": "id", "body": "{body}"}
        whole = {**basis, **({} if "query" in (kind or {}) else {"table": "t"}), **(kind or {})}
        read = msgspec.convert({"url": f"postgresql://{place}", "kinds": [whole], **options}, CONNECTOR.options)
        return CONNECTOR.open("crm", read.anchored(Path("/")), self.kit.tools)

    def texts(self, source: Any) -> dict[str, str]:
        found = {}
        for item in source.list():
            if isinstance(item, Item):
                got = source.fetch(item)
                assert got.version.rstrip("~") == item.version
                found[item.uri.removeprefix("crm/doc/")] = got.path.read_text()
                got.path.unlink()
        return found


@pytest.fixture
def desk(tmp_path: Path, postgres: Postgres) -> Iterator[Desk]:
    desk = Desk(tmp_path, postgres)
    yield desk
    desk.db.close()


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("bigint", "9223372036854775807", "-1"),
        ("numeric", "1.50", "2e40"),
        ("uuid", "'00000000-0000-0000-0000-00000000000a'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
        ("timestamptz", "'2024-01-01 00:00:00.123456+03'", "'2024-01-01 00:00:00.123457+03'"),
        ("timestamp", "'2024-01-01 00:00:00.123456'", "'0001-01-01'"),
        ("date", "'2024-01-01'", "'9999-12-31'"),
        ("bytea", r"'\xff00'", r"'\x'"),
        ("boolean", "true", "false"),
        ("char(8)", "'a'", "'b '"),
        ("text", "'%s ; :x ''q'''", "''"),
        ("inet", "'10.0.0.1'", "'10.0.0.2'"),
    ],
)
def test_keys_of_every_type_page_and_come_back(desk: Desk, kind: str, first: str, second: str) -> None:
    """As parameters of the type that the database gave, also where two keys are a microsecond apart."""
    desk.sql(f"CREATE TABLE t (id {kind} PRIMARY KEY, body text)")
    desk.sql(f"INSERT INTO t VALUES ({first}, 'one'), ({second}, 'two')")
    if kind == "inet":  # a type that JSON cannot hold and that nobody taught us
        with pytest.raises(StopSource, match="cast it in the query"):
            desk.texts(desk.open(page_size=1))
        query = "SELECT host(id) AS id, body FROM t"
        assert sorted(desk.texts(desk.open({"query": query}, page_size=1)).values()) == ["one", "two"]
    else:
        assert sorted(desk.texts(desk.open(page_size=1)).values()) == ["one", "two"]


def test_values_of_every_type_are_texts_whatever_the_session_says(desk: Desk) -> None:
    """A server whose zone and date style are changed gives the same versions."""
    desk.sql(
        "CREATE TABLE t (id int, body text, a timestamptz, b date, c numeric, d jsonb, e text[], f bytea, g interval)",
        "INSERT INTO t VALUES (1, 'x', '2024-07-01 12:00+02', '2024-07-01', 1.50, '{\"b\": 1, \"a\": [true, null]}',"
        " ARRAY['y', NULL], '\\xff', '90 seconds')",
    )
    kind = {"body": "{a}|{b}|{c}|{d}|{e}|{f}|{g}"}
    (before,) = [each for each in desk.open(kind).list() if isinstance(each, Item)]
    assert desk.texts(desk.open(kind)) == {
        "1": '2024-07-01 10:00:00+00:00|2024-07-01|1.50|{"a": [true, null], "b": 1}|["y", null]|ff|90 s'
    }
    for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German'", "IntervalStyle = 'iso_8601'"):
        desk.sql(f"ALTER DATABASE {desk.database} SET {setting}")
        assert [each for each in desk.open(kind).list() if isinstance(each, Item)] == [before], setting


def test_a_value_that_cannot_be_had_holds_up_its_row_alone(desk: Desk) -> None:
    """A division by zero in one row: it is for later, others are fetched; a listing that needs it is stopped."""
    desk.sql("CREATE TABLE t (id int, n int, at timestamptz)", "INSERT INTO t VALUES (1, 0, now()), (2, 5, now())")
    kind = {"query": "SELECT id, 10 / n AS body, at FROM t"}
    source = desk.open({**kind, "updated": "at"})
    bad, good = (each for each in source.list() if isinstance(each, Item))
    with pytest.raises(RetryLater, match=r"crm/doc/1: division by zero$") as error:
        source.fetch(bad)
    assert error.value.reason == "garbled"
    assert source.fetch(good).path.read_text() == "2"
    with pytest.raises(StopSource, match="division by zero; correct the query"):
        list(desk.open(kind).list())


def test_dates_that_python_has_no_room_for_are_texts(desk: Desk) -> None:
    """As keys, as moments of change and in a text; the rows beside them are read as ever, the feed lists all."""
    desk.sql(
        "CREATE TABLE t (id date, body timestamp, at timestamptz)",
        "INSERT INTO t VALUES ('infinity', '-infinity', 'infinity'), ('2024-01-01', '20000-01-01', '2024-01-01')",
    )
    source = desk.open({"updated": "at"}, page_size=1)
    assert desk.texts(source) == {"2024-01-01": "20000-01-01 00:00:00", "infinity": "-infinity"}
    mark = next(each for each in source.list() if isinstance(each, Mark))
    assert sum(isinstance(each, Item) for each in source.changes(mark.cursor)) == 2


def test_keys_are_compared_by_the_collation_of_their_column(desk: Desk) -> None:
    """In an order that is none of Python's, and where case and accents do not count at all."""
    names = ["a", "A", "b", "B", "_", "é", "e", "E", "Z", "z", "aa", "a b", "ab", "ß", "ss", "10", "9"]
    rows = ", ".join(f"('{name}', '{name}')" for name in names)
    desk.sql("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
    for collation in ('"C"', '"und-x-icu"', "blind"):
        desk.sql("DROP TABLE IF EXISTS t", f"CREATE TABLE t (id text COLLATE {collation}, body text)")
        desk.sql(f"INSERT INTO t VALUES {rows}")
        for size in (4, 7, 100):
            source = desk.open(page_size=size)
            assert desk.texts(source) == {name: name for name in names}, (collation, size)
            assert not any(isinstance(each, Gap) for each in source.list())


def test_a_query_reads_and_never_writes(desk: Desk) -> None:
    """A function with an effect is refused by the server, in a transaction that only reads."""
    desk.sql("CREATE TABLE t (id int, body text)", "CREATE SEQUENCE s")
    with pytest.raises(StopSource, match="read-only transaction"):
        list(desk.open({"query": "SELECT nextval('s') AS id, 'x' AS body"}).list())


def test_a_statement_that_takes_too_long_is_stopped_once(desk: Desk) -> None:
    """By the server, which need not be asked again at once."""
    query = "SELECT 1 AS id, 'x' AS body FROM pg_sleep(20)"
    with pytest.raises(RetryLater, match="too long") as error:
        list(desk.open({"query": query}, statement_seconds=0.2).list())
    assert error.value.reason == "timed_out" and desk.kit.time.slept == []
    assert [outcome.verdict for outcome in desk.kit.budget.outcomes].count("failed") == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("penstock:${WRONG}@127.0.0.1:PORT/DATABASE", "password authentication failed"),
        ("penstock@127.0.0.1:PORT/DATABASE", "no password supplied"),
        ("nobody:${PW}@127.0.0.1:PORT/DATABASE", "nobody"),
        ("penstock:${PW}@127.0.0.1:PORT/nowhere", "does not exist"),
        ("penstock:${UNSET}@127.0.0.1:PORT/DATABASE", "UNSET"),
    ],
)
def test_a_door_that_stays_shut_stops_the_source(desk: Desk, place: str, said: str) -> None:
    """At the first attempt, in one line that says what to look at, and without the password anywhere."""
    place = place.replace("PORT", str(desk.server.port)).replace("DATABASE", desk.database)
    with pytest.raises(StopSource, match=said) as error:
        list(desk.open(place=place).list())
    assert desk.kit.time.slept == [] and "\n" not in str(error.value)
    for each in chain(error.value):
        assert PASSWORD not in str(each) + repr(each) and "another-word" not in str(each) + repr(each)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE t", 'relation "t" does not exist'),
        ("ALTER TABLE t RENAME body TO text", "column .*body.* does not exist"),
        ("REVOKE ALL ON t FROM PUBLIC, reader", "permission denied for table t"),
    ],
)
def test_what_cannot_be_read_stops_the_source(desk: Desk, statement: str, said: str) -> None:
    """A table or a column that is not there, or that this user may not read."""
    desk.sql(
        "DROP ROLE IF EXISTS reader",
        f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'",
        "CREATE TABLE t (id int, body text)",
        "GRANT SELECT ON t TO reader",
        "INSERT INTO t VALUES (1, 'x')",
    )
    source = desk.open(place=f"reader:${{PW}}@127.0.0.1:{desk.server.port}/{desk.database}")
    (item,) = source.list()
    desk.sql(statement)
    for act in (lambda: list(source.list()), lambda: source.fetch(item)):
        with pytest.raises(StopSource, match=said) as error:
            act()
        assert "\n" not in str(error.value)
    desk.sql("DROP OWNED BY reader", "DROP ROLE reader")


def test_a_lost_connection_is_made_again_and_counted(desk: Desk) -> None:
    """Between two pages nobody notices; where nobody answers it ends after a few attempts, and the budget knows."""
    desk.sql("CREATE TABLE t (id int, body text)", "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 20) n")
    wire = Wire(desk.server.port)
    source = desk.open(place=f"penstock:${{PW}}@127.0.0.1:{wire.port}/{desk.database}", page_size=5, attempts=3)
    listing = source.list()
    found = [next(listing).uri for _ in range(5)]
    wire.cut()
    found += [each.uri for each in listing]
    assert len(set(found)) == 20
    wire.down()
    desk.kit.budget.outcomes.clear()
    with pytest.raises(RetryLater, match="connection") as error:
        list(source.list())
    assert (error.value.reason, error.value.retries) == ("unreachable", 2)
    assert [outcome.verdict for outcome in desk.kit.budget.outcomes] == ["failed"] * 3
    assert desk.kit.time.slept == [1.0, 3.0]
    wire.up()
    assert sum(1 for _ in source.list()) == 20


def test_connections_are_few_and_let_go(desk: Desk) -> None:
    """Listings that were left in the middle hold none; closing leaves none at the server."""
    desk.sql("CREATE TABLE t (id int, body text)", "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 50) n")
    source = desk.open(page_size=5)
    listings = [source.list() for _ in range(20)]
    for listing in listings:
        next(listing)
    query = (
        "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity "
        f"WHERE datname = '{desk.database}'"
    )
    own = 1
    ((count, busy),) = desk.db.execute(query).fetchall()  # type: ignore[arg-type]
    assert count == own + 1 and busy == own
    source.close()
    done = threading.Event()
    for _ in range(100):
        if desk.db.execute(query).fetchall()[0][0] == own:  # type: ignore[arg-type]
            break
        done.wait(0.05)  # the server's process takes a moment to end
    else:
        raise AssertionError("connections are left")


def test_a_change_that_is_committed_late_is_in_the_next_feed(desk: Desk) -> None:
    """Its moment is that of the transaction's begin, before the mark: the overlap reaches back to it."""
    desk.sql("CREATE TABLE t (id int, body text, at timestamptz DEFAULT now())", "INSERT INTO t VALUES (1, 'x')")
    source = desk.open({"updated": "at"})
    with psycopg.connect(desk.url) as slow:
        slow.execute("INSERT INTO t VALUES (2, 'late')")
        desk.sql("INSERT INTO t VALUES (3, 'x')")
        entries = list(source.list())
        mark = next(each for each in entries if isinstance(each, Mark))
        assert "crm/doc/2" not in {getattr(each, "uri", "") for each in entries}
        slow.commit()
    assert "crm/doc/2" in {getattr(each, "uri", "") for each in source.changes(mark.cursor)}
