"""The catalog: it decides each version once, for one transaction, under one epoch."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from penstock.index import catalog_engine as module
from penstock.index.catalog import Catalog, Meta, Ratified
from penstock.index.errors import Conflict, Corrupt, Fenced, Unavailable, WrongIndex
from penstock.index.types import BlobRef

META = Meta("lineage", 1, "epoch-id", "{}")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    assert made.meta() is None and not (tmp_path / "catalog.db").exists(), "asking makes nothing"
    made.create(META)
    return made


def version(number: int, txn: str, epoch: int = 1) -> Ratified:
    return Ratified(number, epoch, "epoch-id", txn, BlobRef(f"m{number}", 10, "sums"), 0.1 + number)


def test_what_was_decided_reads_back_exactly(catalog: Catalog) -> None:
    """Times included: who publishes later writes the same bytes."""
    for number in (1, 2, 3):
        catalog.begin(f"t{number}", "me", 1.0)
        catalog.ratify(version(number, f"t{number}"))
    assert catalog.head() == version(3, "t3")
    assert catalog.since(1) == [version(2, "t2"), version(3, "t3")]
    assert catalog.open_transactions() == []
    assert catalog.create(Meta("other", 9, "x", "")) == META, "a second creation changes nothing"


def test_of_racing_ratifications_exactly_one_wins(catalog: Catalog) -> None:
    """From as many threads as want to; the others are told that it is a conflict."""
    won: list[str] = []

    def race(txn: str) -> None:
        try:
            catalog.ratify(version(1, txn))
            won.append(txn)
        except Conflict:
            pass

    for n in range(6):
        catalog.begin(f"t{n}", "me", 1.0)
    threads = [threading.Thread(target=race, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = catalog.head()
    assert head is not None and [head.txn] == won
    assert len(catalog.open_transactions()) == 5


def test_a_version_may_not_be_skipped_and_an_old_epoch_may_not_write(catalog: Catalog) -> None:
    """A refused ratification leaves its transaction open."""
    catalog.begin("t", "me", 1.0)
    with pytest.raises(Conflict):
        catalog.ratify(version(2, "t"))
    with pytest.raises(Fenced, match="open the index anew"):
        catalog.ratify(version(1, "t", epoch=2))
    assert catalog.open_transactions() == [("t", "me")]
    catalog.ratify(version(1, "t"))


def test_settling_decides_and_may_be_repeated(catalog: Catalog) -> None:
    """Committed stays committed, aborted stays aborted and is never ratified."""
    for txn in ("kept", "gone"):
        catalog.begin(txn, "me", 1.0)
    catalog.ratify(version(1, "kept"))
    assert [catalog.settle(t) for t in ("kept", "gone", "kept", "gone", "unheard")] == [True, False, True, False, False]
    with pytest.raises(Conflict, match="aborted"):
        catalog.ratify(version(2, "gone"))


def test_it_is_durable_by_its_settings(catalog: Catalog) -> None:
    """A rollback journal, and every commit and its directory fsync'd."""
    with catalog._engine.transaction() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 3


def test_a_busy_catalog_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else holds the lock for longer than we wait."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    Catalog(url).create(META)
    holder = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another writer holds it: run again"):
        Catalog(url).begin("t", "me", 1.0)
    holder.execute("ROLLBACK")
    Catalog(url).begin("t", "me", 1.0)
    holder.close()


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Garbage, a directory, a newer format."""
    (tmp_path / "garbage.db").write_bytes(os.urandom(4096))
    with pytest.raises(Corrupt, match="is damaged"):
        Catalog(f"sqlite:///{tmp_path / 'garbage.db'}").meta()
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(Unavailable):
        Catalog(f"sqlite:///{tmp_path / 'folder.db'}").create(META)
    made = Catalog(f"sqlite:///{tmp_path / 'new.db'}")
    made.create(META)
    with sqlite3.connect(tmp_path / "new.db") as db:
        db.execute("UPDATE meta SET format = 99")
    db.close()
    with pytest.raises(WrongIndex, match="upgrade"):
        made.meta()
