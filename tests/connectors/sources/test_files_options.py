"""The keys of a source of type `files`, and trees that are large."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.sources.files import CONNECTOR, FilesOptions
from penstock.connectors.sources.folder import entries
from penstock.connectors.types import Gap, Item, RetryLater
from tests.fakes.tools import Kit


def opened(root: Path, scratch: Path, **options: Any) -> Any:
    read = msgspec.convert({"path": str(root), **options}, FilesOptions)
    return CONNECTOR.open("notes", read.anchored(Path("/")), Kit(scratch).tools)


def put(root: Path, name: str, content: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def listed(source: Any, under: str = "") -> list[str]:
    return [each.uri.removeprefix("notes/") for each in source.list(under)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("a.md", "b.pdf", ".hidden.md", "sub/c.md", "sub/drafts/d.md", ".config/e.md"):
        put(folder, name)
    return folder


def test_only_what_the_patterns_want_is_listed(root: Path, tmp_path: Path) -> None:
    """In a whole listing and in one of a part; what is not wanted is not there, and is no gap."""
    source = opened(root, tmp_path / "s", include=["*.md"], exclude=["drafts/"])
    assert listed(source) == [".hidden.md", "a.md", ".config/e.md", "sub/c.md"]
    assert listed(source, "sub") == ["sub/c.md"]
    assert listed(source, "sub/c.md") == ["sub/c.md"]
    assert listed(source, "b.pdf") == listed(source, "sub/drafts") == listed(source, "sub/drafts/d.md") == []


def test_a_folder_that_is_excluded_is_not_looked_into(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one that cannot be read, and that nobody wants, is no gap."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("drafts"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert any(isinstance(each, Gap) for each in opened(root, tmp_path / "s").list())
    assert not any(isinstance(each, Gap) for each in opened(root, tmp_path / "s", exclude=["drafts"]).list())


def test_hidden_names_can_be_left_out(root: Path, tmp_path: Path) -> None:
    """Files and folders whose names begin with a dot; by default they are documents like all others."""
    source = opened(root, tmp_path / "s", hidden=False)
    assert listed(source) == ["a.md", "b.pdf", "sub/c.md", "sub/drafts/d.md"]
    assert listed(source, ".config") == listed(source, ".config/e.md") == listed(source, ".hidden.md") == []
    assert ".config/e.md" in listed(opened(root, tmp_path / "s"))


def test_links_can_be_left_out(root: Path, tmp_path: Path) -> None:
    """Neither listed, nor fetched where a file or a folder on the way became one after the listing."""
    (root / "link.md").symlink_to("a.md")
    source = opened(root, tmp_path / "s", links="never")
    assert "link.md" in listed(opened(root, tmp_path / "s"))
    assert "link.md" not in listed(source) and listed(source, "link.md") == []
    found = {each.uri: each for each in source.list() if isinstance(each, Item)}
    (root / "a.md").unlink()
    (root / "a.md").symlink_to("b.pdf")
    (root / "sub").rename(root / "moved")
    (root / "sub").symlink_to("moved")
    for uri in ("notes/a.md", "notes/sub/c.md"):
        with pytest.raises(RetryLater, match="symbolic link") as error:
            source.fetch(found[uri])
        assert error.value.reason == "refused"


def test_a_root_that_is_itself_behind_a_link_is_read(root: Path, tmp_path: Path) -> None:
    """Somebody named it; `links` speaks of what lies below."""
    (tmp_path / "way").symlink_to(root)
    source = opened(tmp_path / "way", tmp_path / "s", links="never")
    (item,) = [each for each in source.list() if each.uri == "notes/a.md"]
    assert source.fetch(item).path.read_text() == "x"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"links": "always"}, "links"),
        ({"include": "*.md"}, "include"),
        ({"hidden": "no"}, "hidden"),
        ({"path": 7}, "path"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    """The error names the key."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"path": "x", **options}, FilesOptions)


def test_a_bad_pattern_is_an_error_of_the_configuration() -> None:
    """It names the key, the pattern and what to write."""
    with pytest.raises(ValueError, match=r"include '!a': .* exclude"):
        FilesOptions(path="x", include=("!a",)).anchored(Path("/"))


def test_a_path_is_taken_from_the_configurations_folder(tmp_path: Path) -> None:
    """`~` is the home folder; the binding is where it really is."""
    assert FilesOptions(path="docs").anchored(tmp_path).binding() == str(tmp_path.resolve() / "docs")
    assert FilesOptions(path="~/docs").anchored(tmp_path).binding() == str((Path.home() / "docs").resolve())


def test_a_folder_that_changes_while_it_is_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is renamed meanwhile may be missing on either side; one that never rests is said to be unsteady."""
    real, turns = os.scandir, iter([*range(1_600_000_000, 1_600_000_002)])

    def scandir(path: Any) -> Any:
        if (turn := next(turns, None)) is not None:
            os.utime(root, (turn, turn))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, steady = entries(root)
    assert steady and [entry.name for entry in found] == [".config", ".hidden.md", "a.md", "b.pdf", "sub"]
    turns = iter(range(1_600_000_100, 1_700_000_000))
    found, steady = entries(root)
    assert not steady and len(found) == 5


def test_a_folder_that_never_rests_is_a_gap(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds is listed, and nothing is inferred from what it does not."""
    real = entries
    module = "penstock.connectors.sources.files.entries"
    monkeypatch.setattr(module, lambda path: (real(path)[0], path.name != "sub"))
    found = list(opened(root, tmp_path / "s", include=["sub/"]).list())
    assert [each.uri for each in found if isinstance(each, Item)] == ["notes/sub/c.md", "notes/sub/drafts/d.md"]
    (gap,) = [each for each in found if isinstance(each, Gap)]
    assert gap.uri_prefix == "notes/sub/" and "changed" in gap.reason


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_in_little_memory(tmp_path: Path) -> None:
    """One folder's entries at a time: far below what the items themselves would take."""
    root = tmp_path / "root"
    for folder in range(100):
        place = root / f"{folder % 10}" / f"{folder:03d}"
        place.mkdir(parents=True)
        first = place / "first"
        first.write_text("x")
        for number in range(999):
            os.link(first, place / f"{number:04d}")
    source = opened(root, tmp_path / "s")
    tracemalloc.start()
    try:
        count = sum(1 for _ in source.list())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 2 << 20
