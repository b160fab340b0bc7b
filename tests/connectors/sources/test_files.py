"""A folder as a source: listed completely or with gaps, never beyond its root."""

from __future__ import annotations

import inspect
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources import files as files_module
from penstock.connectors.sources.adhoc import AdhocSource
from penstock.connectors.sources.files import FilesSource
from penstock.connectors.sources.quoting import quoted, shown, unquoted
from penstock.connectors.types import Gap, Item, RetryLater, StopSource

OLD = 1_600_000_000_123_456_789


class Time:
    """A clock that only sleeping moves."""

    def __init__(self, now: float = 2e9) -> None:
        self.now = now
        self.slept: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.meanwhile()


def source(root: Path, time: Time | None = None) -> FilesSource:
    time = time or Time()
    return FilesSource("notes", root, clock=time.clock, sleep=time.sleep)


def put(root: Path, name: str, content: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(OLD, OLD))
    return path


def listed(root: Path, under: str = "") -> list[str]:
    return [each.uri for each in source(root).list(under) if isinstance(each, Item)]


def gaps(root: Path) -> list[Gap]:
    return [each for each in source(root).list() if isinstance(each, Gap)]


def test_every_regular_file_is_listed_in_a_fixed_order(tmp_path: Path) -> None:
    """Files of a folder by name, then its folders by name; hidden ones too."""
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", ".hidden", "é.txt", "c/1"):
        put(tmp_path, name)
    expected = [".hidden", "b.txt", "é.txt", "a/z.txt", "a/b/c.txt", "c/1"]
    assert listed(tmp_path) == listed(tmp_path) == ["notes/" + name for name in expected]


def test_an_item_tells_size_and_a_token_of_time_and_size(tmp_path: Path) -> None:
    """The token is what the parser process makes of the same file; the time is that of its last change."""
    put(tmp_path, "a.txt", "four")
    (item,) = source(tmp_path).list()
    assert item == Item(uri="notes/a.txt", locator="a.txt", version=f"{OLD}-4", size=4, modified=OLD / 1e9)


def test_an_empty_folder_lists_nothing_and_is_complete(tmp_path: Path) -> None:
    """Returning normally is what says that it is empty."""
    assert list(source(tmp_path).list()) == []


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_root_that_is_no_folder_stops_the_source(tmp_path: Path, name: str) -> None:
    """One line with the path, and no listing that could be taken for an empty one."""
    put(tmp_path, "file")
    with pytest.raises(StopSource, match=name) as stopped:
        list(source(tmp_path / name).list())
    assert "\n" not in str(stopped.value)


def test_a_folder_that_cannot_be_read_is_a_gap_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No deletion may be inferred below it; the root itself stops the source."""
    put(tmp_path, "a/1")
    put(tmp_path, "b/2")
    refused = {tmp_path / "a"}
    real = os.scandir

    def scandir(path: Path) -> object:
        if path in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(files_module.os, "scandir", scandir)
    assert listed(tmp_path) == ["notes/b/2"]
    assert gaps(tmp_path) == [Gap("notes/a/", "permission denied: a")]
    refused.add(tmp_path)
    with pytest.raises(StopSource, match="permission denied"):
        list(source(tmp_path).list())


def test_a_root_that_is_replaced_while_it_is_listed_stops_the_source(tmp_path: Path) -> None:
    """What was listed by then is half of one folder: it must not pass for a complete listing."""
    root = tmp_path / "root"
    put(root, "a")
    put(root, "b/c")
    listing = source(root).list()
    next(listing)
    root.rename(tmp_path / "away")
    root.mkdir()
    with pytest.raises(StopSource, match="replaced"):
        list(listing)


def test_what_is_ours_or_no_document_is_left_out(tmp_path: Path) -> None:
    """Folders named .penstock and .git at any depth; sockets and pipes."""
    put(tmp_path, ".penstock/catalog.db")
    put(tmp_path, "a/.git/config")
    put(tmp_path, "a/.github/x")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert list(source(tmp_path).list()) == list(source(tmp_path).list("a"))
    assert listed(tmp_path) == ["notes/a/.github/x"]
    assert listed(tmp_path, "a/.git") == []


def test_links_are_listed_only_where_they_lead_to_a_file_inside(tmp_path: Path) -> None:
    """Never to a folder (there may be circles), never outside, never nowhere."""
    root = tmp_path / "root"
    put(root, "a/1")
    outside = put(tmp_path, "secret")
    (root / "in").symlink_to("a/1")
    (root / "out").symlink_to(outside)
    (root / "nowhere").symlink_to("absent")
    (root / "self").symlink_to("self")
    (root / "a/up").symlink_to("..")
    assert listed(root) == ["notes/in", "notes/a/1"]
    assert gaps(root) == []


def test_a_path_that_came_to_lead_outside_is_not_fetched(tmp_path: Path) -> None:
    """Neither by a link set after the listing, nor by a locator with dots."""
    root = tmp_path / "root"
    put(root, "a/1")
    put(tmp_path, "outside/1", "secret")
    (item,) = source(root).list()
    assert source(root).fetch(item).path.read_text() == "x"
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(tmp_path / "outside")
    assert isinstance(item, Item)
    for bad in (item, Item("notes/x", "../outside/1", ""), Item("notes/y", quoted(str(tmp_path / "outside/1")), "")):
        with pytest.raises(RetryLater, match="leads out"):
            source(root).fetch(bad)


def test_a_file_that_went_away_and_a_root_that_went_away_are_told_apart(tmp_path: Path) -> None:
    """The first is a deletion, the second says nothing about the files."""
    root = tmp_path / "root"
    path = put(root, "a")
    (item,) = source(root).list()
    assert isinstance(item, Item)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source(root).fetch(item)
    root.rmdir()
    with pytest.raises(StopSource):
        source(root).fetch(item)


@pytest.mark.parametrize("number", [13, 5, 116, 110])
def test_a_file_that_cannot_be_read_now_is_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """EACCES, EIO, ESTALE, ETIMEDOUT: one line with the reason and the path."""
    put(tmp_path, "a.txt")
    (item,) = source(tmp_path).list()
    assert isinstance(item, Item)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("penstock.connectors.sources.settled.os.open", refuse)
    with pytest.raises(RetryLater, match=rf"(?i){os.strerror(number)}: .*a\.txt"):
        source(tmp_path).fetch(item)


def test_a_file_written_just_now_is_waited_out(tmp_path: Path) -> None:
    """A rewrite of the same size within one tick of the file system would keep the token."""
    path = put(tmp_path, "a")
    (item,) = source(tmp_path).list()
    assert isinstance(item, Item)
    time = Time(now=OLD / 1e9 + 0.02)
    source(tmp_path, time).fetch(item)
    assert time.slept == [pytest.approx(0.03, abs=2e-3)]
    whole = 1_600_000_000_000_000_000
    os.utime(path, ns=(whole, whole))
    time = Time(now=whole / 1e9 + 0.5)
    source(tmp_path, time).fetch(item)
    assert time.slept == [pytest.approx(1.5, abs=2e-3)]


def test_a_file_that_is_written_all_the_time_is_for_later(tmp_path: Path) -> None:
    """Waiting has an end."""
    path = put(tmp_path, "a")
    (item,) = source(tmp_path).list()
    assert isinstance(item, Item)
    time = Time(now=OLD / 1e9)
    time.meanwhile = lambda: os.utime(path, ns=(int(time.now * 1e9) + 1, int(time.now * 1e9) + 1))
    with pytest.raises(RetryLater, match="still being written"):
        source(tmp_path, time).fetch(item)
    assert len(time.slept) < 10


def test_names_that_are_no_text_are_listed_and_fetched(tmp_path: Path) -> None:
    """Other bytes are shown as \\xNN; of two names that look the same, the second is a gap."""
    for name in (b"caf\xe9.txt", b"a\nb", b"a%41 b"):
        put(tmp_path, os.fsdecode(name), repr(name))
    items = [each for each in source(tmp_path).list() if isinstance(each, Item)]
    assert [item.uri for item in items] == ["notes/a\nb", "notes/a%41 b", "notes/caf\\xe9.txt"]
    assert [source(tmp_path).fetch(item).path.read_text() for item in items] == [
        repr(name) for name in (b"a\nb", b"a%41 b", b"caf\xe9.txt")
    ]
    put(tmp_path, "caf\\xe9.txt")
    (gap,) = gaps(tmp_path)
    assert gap.uri_prefix == "notes/caf\\xe9.txt" and "rename" in gap.reason


@given(name=st.binary(min_size=1, max_size=40).filter(lambda name: b"\x00" not in name))
def test_a_locator_maps_back_to_the_exact_bytes(name: bytes) -> None:
    """And both forms can be written as UTF-8."""
    path = os.fsdecode(name)
    assert os.fsencode(unquoted(quoted(path))) == name
    assert quoted(path).isascii() and shown(path).encode()


def test_a_part_of_the_tree_is_listed_by_the_same_names(tmp_path: Path) -> None:
    """A folder or a file, by the uris it has in a full listing."""
    for name in ("a/1", "a/b/2", "c"):
        put(tmp_path, name)
    assert listed(tmp_path, "a") == ["notes/a/1", "notes/a/b/2"]
    assert listed(tmp_path, "a/b/") == ["notes/a/b/2"]
    assert listed(tmp_path, "./a/1") == ["notes/a/1"]


@pytest.mark.parametrize("under", ["absent", "../other", "/etc", "a/../..", "link/1", "link"])
def test_a_part_that_is_not_there_or_not_inside_stops_the_listing(tmp_path: Path, under: str) -> None:
    """It is a mistake of the caller, or gone: said, and not an empty listing. A link to a folder lists nothing."""
    root = tmp_path / "root"
    put(root, "a/1")
    put(tmp_path, "other/1")
    (root / "link").symlink_to("a")
    if under == "link":
        assert listed(root, under) == []
    else:
        with pytest.raises(StopSource):
            listed(root, under)


def test_a_tree_deeper_than_the_interpreters_stack_is_listed(tmp_path: Path) -> None:
    """Depth is the folder's choice."""
    put(tmp_path, "d/" * 200 + "leaf")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 120)
    try:
        found = listed(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["notes/" + "d/" * 200 + "leaf"]


def test_lone_files_are_named_by_their_whole_path(tmp_path: Path) -> None:
    """Only the given ones; what is no file is a gap; a link is read through."""
    one, two = put(tmp_path, "one.txt", "1"), put(tmp_path, "two.txt", "22")
    (tmp_path / "link").symlink_to(two)
    time = Time()
    paths = [one, tmp_path / "link", one, tmp_path / "absent", tmp_path]
    adhoc = AdhocSource(paths, clock=time.clock, sleep=time.sleep)
    entries = list(adhoc.list())
    items = [each for each in entries if isinstance(each, Item)]
    assert [item.uri for item in items] == [f"adhoc{tmp_path}/link", f"adhoc{tmp_path}/one.txt"]
    assert [adhoc.fetch(item).path.read_text() for item in items] == ["22", "1"]
    assert [adhoc.fetch(item).name for item in items] == ["link", "one.txt"]
    assert len(entries) == 4
    one.unlink()
    with pytest.raises(FileNotFoundError):
        adhoc.fetch(items[1])
