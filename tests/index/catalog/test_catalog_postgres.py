"""The catalog in a real PostgreSQL: the same promises, and what only a server can do."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from penstock.index.catalog import catalog_engine
from penstock.index.catalog.catalog import Catalog
from penstock.index.catalog.locks import PostgresLocks
from penstock.index.errors import Fenced, Unavailable, WrongIndex
from tests.index.postgres import PASSWORD, Postgres
from tests.suites.catalog_suite import META, CatalogSuite, decide, execute, version

KILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid()"
)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.fresh()


class TestPostgres(CatalogSuite):
    """On PostgreSQL."""


@pytest.mark.parametrize("late", [False, True])
def test_a_connection_lost_while_ratifying_is_unknown_and_read_back(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Killed before its commit nothing was decided; after it, it was: settling tells which."""
    catalog = Catalog(url)
    catalog.create(META)
    catalog.begin("t", "me", 1.0)
    original = catalog_engine.sa.Connection._commit_impl  # type: ignore[attr-defined]  # where COMMIT is sent

    def cut(db: object) -> None:
        if late:
            original(db)
        postgres.sql(KILL, url)
        monkeypatch.undo()
        original(db)
        db.exec_driver_sql("SELECT 1")  # type: ignore[attr-defined]  # the reply never comes

    monkeypatch.setattr(catalog_engine.sa.Connection, "_commit_impl", cut)
    with pytest.raises(Unavailable):
        catalog.ratify(version(1, "t"))
    assert catalog.settle("t") is late
    assert (catalog.head() is not None) is late


def test_a_writer_that_waits_for_a_rebuilding_is_fenced(postgres: Postgres, url: str) -> None:
    """It finds the row that it waited for, changed; not an absence."""
    import psycopg

    catalog = Catalog(url)
    catalog.create(META)
    catalog.begin("t", "me", 1.0)
    caught: list[Exception] = []

    def ratify() -> None:
        try:
            catalog.ratify(version(1, "t"))
        except Exception as error:
            caught.append(error)

    rebuilt = Catalog(postgres.fresh())
    rebuilt.rebuild(type(META)("lineage", 2, "second", "{}"), [], 0)
    with psycopg.connect(url) as holder:
        holder.execute("SELECT 1 FROM meta FOR UPDATE")
        waiter = threading.Thread(target=ratify)
        waiter.start()
        while not postgres.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            time.sleep(0.02)
        row = postgres.sql("SELECT epoch, epoch_id, membership, seal FROM meta", rebuilt_url(rebuilt, postgres))[0]
        holder.execute("UPDATE meta SET epoch = %s, epoch_id = %s, membership = %s, seal = %s", row)
        holder.execute("DELETE FROM transactions")
    waiter.join()
    assert [type(error) for error in caught] == [Fenced]


def rebuilt_url(catalog: Catalog, postgres: Postgres) -> str:
    return postgres.url(catalog.name.rpartition("/")[2])


def test_a_busy_server_is_one_clear_line(postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else holds the row for longer than we wait."""
    import psycopg

    catalog = Catalog(url)
    catalog.create(META)
    monkeypatch.setattr(catalog_engine, "BUSY_SECONDS", 0.2)
    with psycopg.connect(url) as holder:
        holder.execute("SELECT 1 FROM meta FOR UPDATE")
        with pytest.raises(Unavailable, match="another writer holds it: run again"):
            catalog.begin("t", "me", 1.0)
    catalog.begin("t", "me", 1.0)


def test_commits_wait_for_the_disk_whatever_the_server_is_set_to(postgres: Postgres, url: str) -> None:
    """`synchronous_commit` is ours; reads see one moment and write nothing."""
    execute(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    catalog = Catalog(url)
    with catalog._engine.transaction(write=True) as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert db.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        assert db.exec_driver_sql("SHOW lock_timeout").scalar() == "30s"
    with catalog._engine.transaction() as db:
        assert db.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        assert db.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"


def test_what_cannot_be_reached_is_one_line_without_the_password(postgres: Postgres) -> None:
    """A wrong password, a port nobody listens at, a database that is not there, a host that does not answer."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(1)
        silent = f"postgresql://u:{PASSWORD}@127.0.0.1:{mute.getsockname()[1]}/x?connect_timeout=2"
        wrong = [
            postgres.url(password="hunter2-wrong"),
            f"postgresql://u:{PASSWORD}@127.0.0.1:1/x",
            postgres.url("nowhere"),
            f"postgresql://127.0.0.1:1/x?user=u&password={PASSWORD}",
            silent,
        ]
        for url in wrong:
            with pytest.raises(Unavailable) as caught:
                Catalog(url).meta()
            said = str(caught.value)
            assert PASSWORD not in said and "hunter2" not in said and "\n" not in said


def test_tables_of_another_program_are_left_alone(url: str) -> None:
    """A database in which `meta` is somebody else's is refused."""
    execute(url, "CREATE TABLE meta (key TEXT, value TEXT)")
    for use in (Catalog(url).meta, lambda: Catalog(url).create(META), lambda: Catalog(url).rebuild(META, [], 0)):
        with pytest.raises(WrongIndex, match="a database of its own"):
            use()


def test_an_emptied_database_is_no_catalog_and_can_be_rebuilt(url: str) -> None:
    """As when a server was set up anew."""
    catalog = Catalog(url)
    catalog.create(META)
    decide(catalog, 1)
    execute(url, "DROP TABLE meta, versions, transactions, progress")
    assert catalog.meta() is None
    with pytest.raises(Exception, match="damaged"):
        catalog.begin("t", "me", 1.0)
    catalog.rebuild(type(META)("lineage", 2, "second", "{}"), [version(1, "t1")], 0)
    decide_second = version(2, "t2", epoch=2, epoch_id="second")
    catalog.begin("t2", "me", 1.0)
    catalog.ratify(decide_second)
    assert catalog.head() == decide_second


def test_a_server_that_stops_is_unavailable_and_comes_back_with_all(postgres: Postgres, url: str) -> None:
    """A crash of the server loses nothing that was acknowledged."""
    catalog = Catalog(url)
    catalog.create(META)
    decide(catalog, 1)
    postgres.stop("immediate")
    try:
        with pytest.raises(Unavailable):
            catalog.head()
    finally:
        postgres.start()
    assert catalog.head() == version(1, "t1")


def test_a_lock_is_for_all_machines_and_ends_with_its_session(postgres: Postgres, url: str, tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's
    """Two places with different folders exclude each other; a killed session frees its lock."""
    one, two = (Catalog(url).locks(tmp_path / name) for name in ("one", "two"))
    assert isinstance(one, PostgresLocks)
    held = one.take("recover")
    assert held is not None
    assert one.take("recover", wait=False) is None and two.take("recover", wait=False) is None
    other = two.take("writer.x", wait=False)
    assert other is not None
    postgres.sql(KILL, url)
    again = two.take("recover", wait=False)
    assert again is not None
    waiter = threading.Thread(target=lambda: (one.take("recover") or again).release())
    waiter.start()
    again.release()
    waiter.join(20)
    assert not waiter.is_alive()
    held.release()
    other.release()
    assert not (tmp_path / "one").exists()
