"""Rows as documents, on SQLite files: keys of all kinds, pages, feeds, templates, and what is wrong with a query."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from penstock.connectors.sources.sql import CONNECTOR
from penstock.connectors.types import CursorExpired, Gap, Gone, Item, Mark, RejectItem, RetryLater, StopSource
from tests.fakes.tools import Kit


class Desk:
    """A database, and sources made of it. A kind is `doc` on `table` with key `id` unless it says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "it.db"
        self.kit = Kit(folder / "scratch")
        self.db = sqlite3.connect(self.file, isolation_level=None)

    def table(self, columns: str, *rows: tuple[Any, ...], name: str = "t") -> None:
        self.db.execute(f"CREATE TABLE {name} ({columns})")
        for row in rows:
            self.db.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)

    def open(self, *kinds: dict[str, Any], **options: Any) -> Any:
        basis = {"name": "doc", "key": "id", "body": "{body}"}
        whole = [{**basis, **({} if "query" in kind else {"table": "t"}), **kind} for kind in kinds or ({},)]
        read = msgspec.convert({"url": f"sqlite:///{self.file}", "kinds": whole, **options}, CONNECTOR.options)
        return CONNECTOR.open("crm", read.anchored(Path("/")), self.kit.tools)

    def texts(self, source: Any) -> dict[str, str]:
        """What is listed, fetched: text by the end of the uri."""
        found = {}
        for each in source.list():
            if isinstance(each, Item):
                got = source.fetch(each)
                found[each.uri.removeprefix("crm/doc/")] = got.path.read_text()
                got.path.unlink()
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.db.close()


def uris(entries: Any) -> list[str]:
    return [each.uri.removeprefix("crm/doc/") for each in entries if isinstance(each, Item)]


def gaps(entries: Any) -> list[tuple[str, str]]:
    return [(each.uri_prefix, each.reason) for each in entries if isinstance(each, Gap)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_pages_of_any_size_hold_every_row_once(desk: Desk, size: int) -> None:
    """Composite keys too, whose parts are equal for some rows and differ for others."""
    keys = [(a, b) for a in (1, 2, 3) for b in ("x", "y/z", "", "é")]
    desk.table("a, b, body", *((a, b, f"{a}-{b}") for a, b in keys))
    source = desk.open({"key": ["a", "b"]}, page_size=size)
    found = desk.texts(source)
    assert found == {f"{a}/{b.replace('/', '%2F') or '%'}": f"{a}-{b}" for a, b in keys}


@pytest.mark.parametrize("size", [2, 3, 4, 5, 100])
def test_keys_that_the_database_holds_for_equal_do_not_fall_between_pages(desk: Desk, size: int) -> None:
    """Case, as in many collations: A and a are two rows, compared as one."""
    names = ["A", "a", "B", "b", "C", "c", "D", "d", "é", "É"]
    desk.table("id TEXT COLLATE NOCASE, body", *((name, name) for name in names))
    source = desk.open(page_size=size)
    assert sorted(uris(source.list())) == sorted(names)
    assert desk.texts(source) == {name: name for name in names}
    assert gaps(source.list()) == []


def test_more_equal_keys_than_a_page_holds_are_a_gap(desk: Desk) -> None:
    """It ends, lists the rest, and says that nothing may be inferred."""
    desk.table("id TEXT COLLATE NOCASE, body", *((name, "x") for name in ("aa", "aA", "Aa", "AA", "b")))
    entries = list(desk.open(page_size=2).list())
    assert "b" in uris(entries)
    assert len(uris(entries)) == 5 or ("crm/doc/", "more than 2 rows have keys") in [
        (prefix, reason[:26]) for prefix, reason in gaps(entries)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_a_key_that_two_rows_have_is_a_gap(desk: Desk, size: int) -> None:
    """Neither of them is the document; all others are listed."""
    desk.table("id, body", *((key, "x") for key in (1, 2, 2, 3, 4, 4, 4, 5)))
    entries = list(desk.open(page_size=size).list())
    assert uris(entries) == ["1", "3", "5"]
    found = dict(gaps(entries))
    assert {"crm/doc/2", "crm/doc/4"} <= set(found)
    assert "make id unique" in found["crm/doc/2"]


def test_a_row_without_a_key_is_a_gap_for_its_kind(desk: Desk) -> None:
    """NULL in any part of the key; the rows with keys are listed."""
    desk.table("a, b, body", (1, 1, "x"), (None, 2, "x"), (2, None, "x"), (3, 3, "x"))
    entries = list(desk.open({"key": ["a", "b"]}, page_size=1).list())
    assert uris(entries) == ["1/1", "3/3"]
    ((prefix, reason),) = gaps(entries)
    assert prefix == "crm/doc/" and "NULL in a, b" in reason


def test_a_number_and_a_text_that_look_alike_are_a_gap(desk: Desk) -> None:
    """Their uris would be one."""
    desk.table("id, body", (1, "x"), ("1", "y"), (2, "z"))
    entries = list(desk.open().list())
    assert uris(entries) == ["2"] and gaps(entries)[0][0] == "crm/doc/1"


def test_keys_are_data_and_never_a_statement(desk: Desk) -> None:
    """Quotes, comments, colons and percent signs, in keys and in the query itself."""
    names = ["'; DROP TABLE t; --", '"', "%s", ":id", "a\\'b", "${X}", "{id}"]
    desk.table("id, body", *((name, name) for name in names))
    query = "SELECT id, body, ':no' AS literal, '%' AS percent FROM t WHERE 'a:b' <> '%x';  "
    source = desk.open({"query": query, "body": "{body}{literal}{percent}"}, page_size=2)
    assert sorted(desk.texts(source).values()) == sorted(f"{name}:no%" for name in names)


def test_columns_with_names_that_are_words_of_sql_are_read(desk: Desk) -> None:
    """They are quoted, and keep their case."""
    desk.table('"order", "Group By", "select"', (1, "x", "y"))
    source = desk.open({"key": "order", "body": "{Group By} {select}", "metadata": ["Group By"]})
    assert desk.texts(source) == {"1": "x y"}


def test_a_row_becomes_a_document(desk: Desk) -> None:
    """Its text, title, address, metadata and labels; an empty value is no metadata."""
    desk.table("id, body, subject, status, owner, team", (7, "<p>hi</p>", "A <b>", "open", None, "a, b"))
    source = desk.open({"body": "<h1>{subject:text}</h1>{body}", "format": "html", "title": "{subject}",
                        "url": "https://crm/t/{id}", "metadata": ["status", "owner"],
                        "labels": ["team", "status"]})  # fmt: skip
    (item,) = source.list()
    got = source.fetch(item)
    assert got.path.read_text() == "<h1>A &lt;b&gt;</h1><p>hi</p>"
    assert (got.name, got.title, got.url) == ("doc-7.html", "A <b>", "https://crm/t/7")
    assert (got.metadata, got.labels) == ({"status": "open"}, ("a", "b", "open"))
    assert got.temporary and got.path.parent == desk.kit.scratch


def test_the_token_is_the_version_else_the_time_else_the_row(desk: Desk) -> None:
    """And where that is NULL, the next of these: such rows are read whole, one page at a time."""
    desk.table("id, body, v, at", (1, "x", 5, "2020-01-01 00:00:00.5"), (2, "x", None, "2020-01-01 00:00:00.5"),
               (3, "x", None, None))  # fmt: skip
    source = desk.open({"version": "v", "updated": "at"})
    first = {each.uri: each for each in source.list() if isinstance(each, Item)}
    assert len({each.version.rpartition(".")[0] for each in first.values()}) == 3
    assert [source.fetch(each).version for each in first.values()] == [each.version for each in first.values()]
    desk.db.execute("UPDATE t SET body = 'y'")
    second = {each.uri: each for each in source.list() if isinstance(each, Item)}
    assert [uri for uri in first if first[uri] != second[uri]] == ["crm/doc/3"]


def test_another_template_is_another_version(desk: Desk) -> None:
    """What a document is made of changed, though the row did not."""
    desk.table("id, body, at", (1, "x", "2020-01-01"))
    versions = {
        item.version
        for kind in ({}, {"body": "{body}!"}, {"title": "{id}"}, {"format": "html"}, {"metadata": ["at"]})
        for item in desk.open({"updated": "at", **kind}).list()
        if isinstance(item, Item)
    }
    assert len(versions) == 5


def test_a_moment_in_whole_seconds_that_is_now_is_not_trusted(desk: Desk) -> None:
    """A second change within it would look the same: the fetched version equals no listed one, so it comes again."""
    desk.table("id, body, at", (1, "x", None), (2, "x", "2020-01-01 00:07:30"))
    desk.db.execute("UPDATE t SET at = datetime('now') WHERE id = 1")
    source = desk.open({"updated": "at"})
    new, old = (each for each in source.list() if isinstance(each, Item))
    assert source.fetch(new).version == new.version + "~"
    marked = source.fetch(old).version != old.version  # one moment in 225 is taken for now
    seconds = desk.db.execute("SELECT (strftime('%s', 'now') - strftime('%s', '2020-01-01 00:07:30')) % 900").fetchone()
    assert not marked or seconds[0] < 10 or seconds[0] > 890


def test_a_date_that_is_today_is_not_trusted(desk: Desk) -> None:
    """Two changes of one day look the same."""
    desk.table("id, body, at", (1, "x", None), (2, "x", "2020-01-01"))
    desk.db.execute("UPDATE t SET at = date('now') WHERE id = 1")
    source = desk.open({"updated": "at"})
    new, old = (each for each in source.list() if isinstance(each, Item))
    assert source.fetch(new).version == new.version + "~"
    assert source.fetch(old).version == old.version


def test_the_time_of_the_last_change_comes_with_the_item(desk: Desk) -> None:
    """For `--since` and `--until`."""
    desk.table("id, body, at", (1, "x", "2020-01-01 00:00:00"), (2, "x", None))
    items = [each for each in desk.open({"updated": "at"}).list() if isinstance(each, Item)]
    assert [item.modified for item in items] == [1_577_836_800.0, None]


def test_rows_that_are_flagged_as_deleted_are_not_there(desk: Desk) -> None:
    """Not listed, gone in the feed, missing when they are fetched; also by a moment of deletion."""
    desk.table("id, body, at, gone_at", *((n, "x", "2020-01-01 00:00:00", None) for n in (1, 2, 3)))
    source = desk.open({"updated": "at", "deleted": "gone_at"})
    entries = list(source.list())
    mark = next(each for each in entries if isinstance(each, Mark))
    desk.db.execute("UPDATE t SET gone_at = '2021-01-01', at = '2021-01-01 00:00:00' WHERE id = 2")
    assert uris(source.list()) == ["1", "3"]
    assert [each.uri for each in source.changes(mark.cursor) if isinstance(each, Gone)] == ["crm/doc/2"]
    with pytest.raises(FileNotFoundError):
        source.fetch(next(each for each in entries if getattr(each, "uri", "") == "crm/doc/2"))


def test_a_feed_goes_back_by_the_overlap_and_no_further(desk: Desk) -> None:
    """A transaction that began before the mark and ended after it is seen; what is older is not read again."""
    desk.table("id, body, at", *((n, "x", f"2020-01-01 00:{n:02d}:00") for n in range(20)), (99, "x", None))
    source = desk.open({"updated": "at"}, overlap=300, page_size=3)
    mark = next(each for each in source.list() if isinstance(each, Mark))
    desk.db.execute("INSERT INTO t VALUES (50, 'x', '2020-01-01 00:15:30')")
    assert uris(source.changes(mark.cursor)) == ["14", "15", "16", "17", "18", "19", "50", "99"]


def test_a_row_from_the_future_hides_nothing(desk: Desk) -> None:
    """A clock that was ahead left a moment far from now: the feed goes on from the database's own time."""
    desk.table("id, body, at", (1, "x", "2999-01-01 00:00:00"))
    source = desk.open({"updated": "at"})
    mark = next(each for each in source.list() if isinstance(each, Mark))
    desk.db.execute("INSERT INTO t VALUES (2, 'x', datetime('now'))")
    assert "2" in uris(source.changes(mark.cursor))


@pytest.mark.parametrize("at", ["v1", b"\x01", None])
def test_a_kind_whose_changes_cannot_be_told_apart_is_listed_whole_in_the_feed(desk: Desk, at: Any) -> None:
    """As is one without `updated` beside one that has it."""
    desk.table("id, body, at", (1, "x", at), (2, "x", at))
    desk.table("id, body", (3, "x"), name="u")
    source = desk.open({"updated": "at"}, {"name": "other", "table": "u"})
    mark = next(each for each in source.list() if isinstance(each, Mark))
    desk.db.execute("INSERT INTO u VALUES (4, 'x')")
    assert uris(source.changes(mark.cursor)) == ["1", "2", "crm/other/3", "crm/other/4"]


def test_a_feed_of_another_configuration_is_expired(desk: Desk) -> None:
    """Another query, another kind: the cursor says nothing about it."""
    desk.table("id, body, at", (1, "x", "2020-01-01 00:00:00"))
    mark = next(each for each in desk.open({"updated": "at"}).list() if isinstance(each, Mark))
    for kinds in ([{"updated": "at", "title": "{id}"}], [{"updated": "at"}, {"name": "more"}]):
        with pytest.raises(CursorExpired, match="configuration"):
            list(desk.open(*kinds).changes(mark.cursor))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"table": "nowhere"}, "no such table: nowhere"),
        ({"key": "nope"}, "no such column: "),
        ({"query": "SELECT id, body FROM t WHERE"}, "syntax error"),
        ({"query": "SELECT id FROM t"}, "no such column: "),
        ({"updated": "body.x"}, "no such column: "),
        ({"query": "SELECT id, body FROM t WHERE id = :given"}, "doc: "),
        ({"query": "DELETE FROM t RETURNING id, body"}, "syntax error"),
    ],
)
def test_a_query_that_cannot_be_meant_stops_the_source(desk: Desk, kind: dict[str, Any], said: str) -> None:
    """One line: the source, the kind, what the database says, and what to do."""
    desk.table("id, body", (1, "x"))
    with pytest.raises(StopSource, match=said) as error:
        list(desk.open(kind).list())
    assert "source crm, kind doc: " in str(error.value) and "correct the query" in str(error.value)
    assert "\n" not in str(error.value)
    assert desk.kit.time.slept == []


def test_a_file_is_never_made_nor_written(desk: Desk, tmp_path: Path) -> None:
    """One that is not there stops the source; a statement that would write is refused by the database."""
    desk.file = tmp_path / "absent.db"
    with pytest.raises(StopSource, match="no file"):
        list(desk.open().list())
    assert not desk.file.exists()
    desk.file = tmp_path / "it.db"
    desk.table("id, body", (1, "x"))
    source = desk.open()
    with pytest.raises(StopSource, match="readonly"):
        source._database.rows(sa.text("DELETE FROM t"), "kind doc")
    assert uris(source.list()) == ["1"]


def test_a_file_that_is_no_database_stops_the_source(desk: Desk) -> None:
    """In words."""
    desk.db.close()
    desk.file.write_bytes(b"no database at all, but some text that is long enough" * 100)
    with pytest.raises(StopSource, match="not a database"):
        list(desk.open().list())


def test_a_locked_file_is_for_later(desk: Desk) -> None:
    """After a few attempts, each with its wait."""
    desk.table("id, body", (1, "x"))
    desk.db.execute("PRAGMA locking_mode = EXCLUSIVE")
    desk.db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RetryLater, match="locked") as error:
        list(desk.open(connect_seconds=0.01, attempts=3).list())
    assert (error.value.reason, error.value.retries) == ("timed_out", 2)
    assert desk.kit.time.slept == [1.0, 3.0]
    assert [outcome.verdict for outcome in desk.kit.budget.outcomes] == ["throttled"] * 3


def test_text_that_is_no_utf8_does_not_hold_up_the_rest(desk: Desk) -> None:
    """SQLite keeps whatever it is given."""
    desk.table("id, body", (1, "x"))
    desk.db.execute("INSERT INTO t VALUES (2, CAST(x'636166e9' AS TEXT))")
    assert desk.texts(desk.open()) == {"1": "x", "2": "caf\ufffd"}


def test_a_key_too_long_for_a_file_name_is_fetched(desk: Desk) -> None:
    """The name is cut; the uri is not."""
    desk.table("id, body", ("x" * 5000, "it"), (".." * 3, "dots"))
    source = desk.open()
    items = [each for each in source.list() if isinstance(each, Item)]
    names = [source.fetch(item).name for item in items]
    assert all(len(name) < 150 and "/" not in name and not name.startswith(".") for name in names)
    assert len(items[-1].uri) > 5000


def test_a_text_beyond_the_limit_is_rejected(desk: Desk) -> None:
    """Counted in bytes, as they would be written."""
    desk.table("id, body", (1, "é" * 50))
    desk.kit.max_bytes = 99
    source = desk.open()
    (item,) = source.list()
    with pytest.raises(RejectItem, match="100 bytes"):
        source.fetch(item)


def test_a_kind_that_is_no_more_has_no_items(desk: Desk) -> None:
    """What a failed document kept of it leads nowhere."""
    desk.table("id, body", (1, "x"))
    (item,) = desk.open().list()
    with pytest.raises(FileNotFoundError):
        desk.open({"name": "other"}).fetch(item)


def test_a_database_without_its_driver_says_what_to_install(desk: Desk) -> None:
    """And one that nobody knows is said to be that."""
    for url, said in (("mysql://u@h/d", "pip install 'pymysql'"), ("cobol://u@h/d", "no such kind")):
        read = msgspec.convert(
            {"url": url, "kinds": [{"name": "k", "table": "t", "key": "i", "body": "{i}"}]}, CONNECTOR.options
        )
        source = CONNECTOR.open("crm", read.anchored(Path("/")), desk.kit.tools)
        with pytest.raises(StopSource, match=said):
            list(source.list())


def test_a_source_that_was_closed_opens_again(desk: Desk) -> None:
    """Closing lets connections go and nothing more; it may be repeated."""
    desk.table("id, body", (1, "x"))
    source = desk.open()
    source.close()
    assert uris(source.list()) == ["1"]
    source.close()
    source.close()
    assert uris(source.list()) == ["1"]


def test_a_source_without_a_budget_asks_all_the_same(desk: Desk) -> None:
    """Whoever opens one by hand need not make a budget."""
    desk.table("id, body", (1, "x"))
    read = msgspec.convert(
        {"url": f"sqlite:///{desk.file}", "kinds": [{"name": "k", "table": "t", "key": "id", "body": "{body}"}]},
        CONNECTOR.options,
    )
    source = CONNECTOR.open("crm", read.anchored(Path("/")), replace(desk.kit.tools, budget=None))
    assert [each.uri for each in source.list() if isinstance(each, Item)] == ["crm/k/1"]
