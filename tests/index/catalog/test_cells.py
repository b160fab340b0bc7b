"""Cells in the catalog's database: changed by one at a time, and made again when they are gone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from penstock.index.catalog.catalog import Catalog
from penstock.index.catalog.cells import Cells
from penstock.index.errors import Unavailable
from tests.index.postgres import Postgres
from tests.suites.catalog_suite import META


def plus_one(value: bytes) -> tuple[bytes, int]:
    number = int(value or b"0") + 1
    return b"%d" % number, number


class CellsSuite:
    """What holds in any database."""

    def test_values_are_kept_by_name(self, url: str) -> None:
        """For everybody who opens the same place; bytes of any kind."""
        Catalog(url).create(META)
        assert [Cells(url).change(name, plus_one) for name in ("a", "b", "ä/..")] == [1, 1, 1]
        assert Cells(url).change("a", plus_one) == 2
        Cells(url).change("raw", lambda _: (bytes(range(256)), None))
        assert Cells(url).change("raw", lambda value: (value, value)) == bytes(range(256))

    def test_threads_change_one_cell_one_at_a_time(self, url: str) -> None:
        """No change is lost, the first one included, when the table is not there yet."""
        Catalog(url).create(META)
        cells, said = Cells(url), list[int]()
        work = [
            threading.Thread(target=lambda: said.extend(cells.change("n", plus_one) for _ in range(8)))
            for _ in range(4)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert sorted(said) == list(range(1, 33))

    def test_nothing_changes_when_the_act_raises(self, url: str) -> None:
        """And the next one is not kept waiting."""
        Catalog(url).create(META)
        cells = Cells(url)
        cells.change("n", plus_one)
        with pytest.raises(ZeroDivisionError):
            cells.change("n", lambda value: (value, 1 // 0))
        assert cells.change("n", plus_one) == 2

    def test_the_catalog_is_none_of_its_business(self, url: str) -> None:
        """What the catalog says is the same with and without cells."""
        catalog = Catalog(url)
        catalog.create(META)
        Cells(url).change("n", plus_one)
        assert catalog.meta() == META and catalog.head() is None


class TestSqlite(CellsSuite):
    """In a file."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/catalog.db"

    def test_only_the_catalog_makes_its_file(self, url: str, tmp_path: Path) -> None:
        """A file made here would hide that the catalog is missing."""
        with pytest.raises(Unavailable, match="missing"):
            Cells(url).change("n", plus_one)
        assert list(tmp_path.iterdir()) == []

    def test_a_catalog_that_was_made_again_has_none_and_gets_them(self, url: str, tmp_path: Path) -> None:
        """The table is made again by the same object."""
        Catalog(url).create(META)
        cells = Cells(url)
        assert [cells.change("n", plus_one) for _ in range(3)] == [1, 2, 3]
        (tmp_path / "catalog.db").unlink()
        Catalog(url).create(META)
        assert cells.change("n", plus_one) == 1


class TestPostgres(CellsSuite):
    """On a server."""

    @pytest.fixture
    def url(self, postgres: Postgres) -> str:
        return postgres.fresh()

    def test_a_table_that_was_dropped_and_a_line_that_was_cut_are_mended(self, url: str, postgres: Postgres) -> None:
        """By the same object, within the next change."""
        cells = Cells(url)
        assert [cells.change("n", plus_one) for _ in range(3)] == [1, 2, 3]
        postgres.sql("DROP TABLE cells", url)
        assert cells.change("n", plus_one) == 1
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
        postgres.sql(cut + "pg_backend_pid()", url)
        assert [cells.change("n", plus_one) for _ in range(2)] == [2, 3]

    def test_two_connections_change_one_cell_and_lose_nothing(self, url: str) -> None:
        """Each on its own, as two machines are; whoever is too slow tries again."""
        said = list[int]()

        def work() -> None:
            cells = Cells(url)
            said.extend(cells.change("n", plus_one) for _ in range(30))
            cells.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) == list(range(1, 91))
