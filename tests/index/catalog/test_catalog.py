"""The catalog: it decides each version once, for one transaction, under one epoch."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.index.catalog import catalog_engine as module
from penstock.index.catalog import catalog_file
from penstock.index.catalog.catalog import Catalog, Meta
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from tests.suites.catalog_suite import META, CatalogSuite, decide, version


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.db'}"


class TestSqlite(CatalogSuite):
    """On SQLite."""


@pytest.fixture
def catalog(url: str) -> Catalog:
    made = Catalog(url)
    made.create(META)
    return made


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


def test_asking_makes_no_file_and_a_file_that_went_away_stays_away(catalog: Catalog, url: str) -> None:
    """Only creating and rebuilding make one; an open writer is told."""
    assert catalog.path is not None
    decide(catalog, 1)
    catalog.path.unlink()
    assert catalog.meta() is None and Catalog(url).meta() is None
    uses = (catalog.head, catalog.floor, catalog.migrate, lambda: catalog.begin("t", "me", 1.0))
    for use in (*uses, lambda: catalog.ratify(version(2, "t")), lambda: catalog.settle("t1")):
        with pytest.raises(Unavailable, match="is missing"):
            use()
    assert list(catalog.path.parent.iterdir()) == []


def test_an_empty_file_is_a_creation_to_be_finished(url: str, tmp_path: Path) -> None:
    """It died with the file just made."""
    (tmp_path / "catalog.db").touch()
    assert Catalog(url).meta() is None
    assert Catalog(url).create(META) == META == Catalog(url).meta()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "zeroes"])
def test_a_damaged_file_is_set_aside_and_made_again(catalog: Catalog, damage: str) -> None:
    """With its journal, which must never be played back into the new one."""
    path = catalog.path
    assert path is not None
    decide(catalog, 1, 2, 3)
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "truncated":
            file.truncate(size // 2 + 100)
        else:
            file.seek(4096 if damage == "zeroes" else 0)
            file.write(bytes(size - 4096) if damage == "zeroes" else os.urandom(size))
    (path.parent / "catalog.db-journal").write_bytes(b"stale")
    second = Meta("lineage", 2, "second", "{}")
    catalog.rebuild(second, [version(1, "t1"), version(2, "t2")], 0)
    assert catalog.meta() == second and catalog.head() == version(2, "t2")
    found = {file.name for file in path.parent.iterdir()}
    assert {"catalog.db", "catalog.db.damaged-second"} <= found
    assert found <= {"catalog.db", "catalog.db.damaged-second", "catalog.db.damaged-second-journal"}


@pytest.mark.parametrize("steps", range(6))
def test_a_rebuilding_cut_short_anywhere_goes_on(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """After each rename and sync the catalog is damaged, absent or whole, and never an empty new one."""
    path = catalog.path
    assert path is not None
    path.write_bytes(os.urandom(8192))
    left = steps

    class Killed(BaseException):
        pass

    def counted(call):  # type: ignore[no-untyped-def]  # any of the three
        def called(*arguments):  # type: ignore[no-untyped-def]
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return call(*arguments)

        return called

    second = Meta("lineage", 2, "second", "{}")
    with monkeypatch.context() as cut, contextlib.suppress(Killed):
        cut.setattr(catalog_file.Path, "rename", counted(Path.rename))
        cut.setattr(catalog_file, "rename_noreplace", counted(catalog_file.rename_noreplace))
        cut.setattr(catalog_file, "_sync", counted(catalog_file._sync))
        catalog.rebuild(second, [version(1, "t1")], 0)
    try:
        assert catalog.meta() in (None, second)
    except Corrupt:
        pass
    third = Meta("lineage", 3, "third", "{}")
    catalog.rebuild(third, [version(1, "t1")], 0)
    assert catalog.meta() == third and catalog.head() == version(1, "t1")
    assert not list(path.parent.glob("*.rebuilding-*"))


def test_an_old_copy_put_back_is_rebuilt_in_place(catalog: Catalog) -> None:
    """A file that is whole is not set aside, whatever it says."""
    assert catalog.path is not None
    decide(catalog, 1)
    old = catalog.path.read_bytes()
    decide(catalog, 2)
    catalog.path.write_bytes(old)
    catalog.rebuild(Meta("lineage", 2, "second", "{}"), [version(1, "t1"), version(2, "t2")], 0)
    assert catalog.head() == version(2, "t2")
    assert [file.name for file in catalog.path.parent.iterdir()] == ["catalog.db"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused_and_nothing_is_made(url: str, tmp_path: Path, kind: str) -> None:
    """The nearest mount above the file decides, and the last one on the same point."""
    mounts = tmp_path / "mountinfo"
    folder = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:1 / {folder} rw shared:1 - tmpfs t rw\n"
        f"3 1 0:2 / {folder} rw shared:1 - {kind} server:/x rw\n4 1 0:3 / {folder}x rw - ext4 /dev/b rw\nbroken\n"
    )
    for use in (
        lambda: Catalog(url, mounts=mounts).create(META),
        lambda: Catalog(url, mounts=mounts).rebuild(META, [], 0),
    ):
        with pytest.raises(WrongIndex, match=rf"network file system \({kind}\).*local disk, or use postgresql"):
            use()
    assert not (tmp_path / "catalog.db").exists()
    mounts.write_text(mounts.read_text() + f"5 3 8:2 / {folder} rw - xfs /dev/c rw\n")
    Catalog(url, mounts=mounts).create(META)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "hunter2",
        "sqlite://",
        "postgresql+pg8000://u:hunter2@h/d",
        "postgresql://u:hunter2@h:x/d",
        "postgresql://u:pass@hunter2@h/d",
        "postgresql://u/hunter2@h/d",
        "postgresql:u:hunter2@h/d",
    ],
)
def test_a_url_that_can_be_no_catalog_is_one_line_without_secrets(url: str) -> None:
    """Another database, another driver, no file, nonsense."""
    with pytest.raises(WrongIndex) as caught:
        Catalog(url)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_driver_says_what_to_install() -> None:
    """PostgreSQL without psycopg."""
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from penstock.index.catalog.catalog import Catalog\n"
        "try: Catalog('postgresql://u:hunter2@h/d')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("WrongIndex") and "pip install 'penstock[postgres]'" in said and "hunter2" not in said


def test_a_folder_in_the_catalogs_place_is_said(tmp_path: Path) -> None:
    """It is no missing catalog: nothing is made beside it."""
    (tmp_path / "catalog.db").mkdir()
    with pytest.raises(WrongIndex, match="is a folder; name a file"):
        Catalog(f"sqlite:///{tmp_path / 'catalog.db'}").meta()
