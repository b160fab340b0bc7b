"""The local store keeps the contract of every store, and its own promises about disks."""

from __future__ import annotations

import errno
import itertools
import os

import pytest

from penstock.index.errors import Corrupt, NoSpace, Unavailable
from penstock.index.stores import store as store_module
from penstock.index.stores.store import LocalStore
from tests.suites.store_suite import StoreSuite


def tokens():
    numbers = itertools.count()
    return lambda: f"t{next(numbers)}"


@pytest.fixture
def store(tmp_path):
    return LocalStore.create(tmp_path / "replica", token=tokens())


class TestLocalStore(StoreSuite):
    """A directory is a store."""


class TestLocalStoreWithoutHardLinks(StoreSuite):
    """A directory on a file system without hard links is a store."""

    @pytest.fixture(autouse=True)
    def no_links(self, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_directory_that_vanished_is_not_made_again(store, tmp_path):
    """An unmounted disk must not be taken for an empty replica: everything says so."""
    store.put_if_absent("a", b"x")
    (tmp_path / "replica").rename(tmp_path / "elsewhere")
    uses = [
        lambda: store.put_if_absent("a", b"x"),
        lambda: store.get("a"),
        lambda: store.size("a"),
        lambda: store.list(""),
        lambda: store.delete("a"),
        store.probe,
    ]
    for use in uses:
        with pytest.raises(Unavailable, match="replica"):
            use()
    assert not (tmp_path / "replica").exists()


def test_a_full_disk_is_no_space_and_leaves_nothing(store, monkeypatch, tmp_path):
    """ENOSPC names the disk's path, and neither the key nor a temporary file remains."""
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    with pytest.raises(NoSpace, match="replica"):
        store.put_if_absent("a/b", b"x")
    monkeypatch.undo()
    assert list(store.list("")) == []
    assert list((tmp_path / "replica" / "tmp").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EACCES])
def test_a_failing_disk_is_unavailable(store, monkeypatch, code):
    """EIO on fsync fails the replica: the data may not be there, whatever the cache says."""
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(Unavailable, match="replica") as caught:
        store.put_if_absent("a", b"x")
    assert not isinstance(caught.value, NoSpace)


def test_a_file_system_that_can_do_neither_is_refused(store, monkeypatch):
    """Without hard links and without rename-without-replace, a put raises and says why."""
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(store_module, "rename_noreplace", failing(errno.EOPNOTSUPP))
    with pytest.raises(Unavailable, match="not supported"):
        store.put_if_absent("a", b"x")


def test_file_and_folders_are_synced_before_put_returns(store, monkeypatch, tmp_path):
    """The temporary file, each new folder's parent and the last folder are fsync'd, the file first."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    store.put_if_absent("blobs/ab/name", b"x")
    root = str(tmp_path / "replica")
    file = next(at for at, path in enumerate(synced) if "/tmp/t" in path.removeprefix(root))
    assert {root, f"{root}/blobs"} <= set(synced)
    assert f"{root}/blobs/ab" in synced[file + 1 :]


def test_a_put_that_finds_the_key_still_syncs_its_folder(store, monkeypatch, tmp_path):
    """Whoever made the key may have died before the folder was on disk; False promises durability too."""
    store.put_if_absent("log/1", b"x")
    synced = []
    other = LocalStore(tmp_path / "replica", token=tokens())
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    assert other.put_if_absent("log/1", b"x") is False
    assert {str(tmp_path / "replica"), str(tmp_path / "replica" / "log")} <= set(synced)


def test_a_link_whose_reply_was_lost_counts_as_made(store, monkeypatch):
    """A network file system may say EEXIST about one's own link: the same file is one's own success."""
    real = os.link

    def link_and_complain(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_and_complain)
    assert store.put_if_absent("a", b"x") is True
    assert store.get("a") == b"x"


def test_a_missing_source_file_is_not_blamed_on_the_store(store, tmp_path):
    """Copying in a file that is not there raises FileNotFoundError and leaves no key."""
    with pytest.raises(FileNotFoundError):
        store.put_if_absent("a", tmp_path / "gone")
    assert store.size("a") is None


def test_what_is_no_file_is_damage_and_can_be_put_out_of_the_way(tmp_path) -> None:
    """A pipe under a key is not waited for; a folder is set aside by delete."""
    store = LocalStore.create(tmp_path / "store", token=lambda: "t1")
    os.mkfifo(tmp_path / "store" / "pipe")
    (tmp_path / "store" / "folder").mkdir()
    for key in ("pipe", "folder"):
        with pytest.raises(Corrupt, match="is not a file"):
            store.get(key)
        with pytest.raises(Corrupt, match="is not a file"):
            store.get_range(key, 0, 9)
        store.delete(key)
        assert store.put_if_absent(key, b"value") and store.get(key) == b"value"


def test_what_comes_in_pieces_appears_when_all_of_it_is_there(store):
    """Under its name, or nowhere: also while it comes, and where whoever sends it gives up."""
    with store.incoming("a/b") as write:
        write(b"one ")
        assert store.size("a/b") is None
        write(b"two")
    assert store.get("a/b") == b"one two"
    with pytest.raises(KeyError), store.incoming("a/c") as write:
        write(b"half")
        raise KeyError
    assert [*store.list("")] == ["a/b"] and not list((store.root / "tmp").iterdir())


def test_what_comes_in_pieces_never_replaces_what_is_there(store):
    """A value never changes once it is there."""
    store.put_if_absent("a", b"first")
    with store.incoming("a") as write:
        write(b"second")
    assert store.get("a") == b"first"
