"""A home is made on purpose, found by the others, and moves as a folder."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.flows.config import home as homes
from penstock.flows.config.home import NoHome


def test_a_home_that_was_made_is_found(tmp_path: Path) -> None:
    """Making it twice changes nothing."""
    made = homes.create(tmp_path / "deep" / "home")
    marked = (made.path / "home.json").read_bytes()
    assert homes.create(made.path) == made == homes.require(made.path)
    assert (made.path / "home.json").read_bytes() == marked
    assert made.spool.is_dir() and made.cache.is_dir()


def test_a_home_holds_no_path_of_its_own_and_works_where_it_is_copied(tmp_path: Path) -> None:
    """No file that `create` writes names the place."""
    made = homes.create(tmp_path / "one")
    for file in made.path.rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes()
    shutil.copytree(made.path, tmp_path / "two")
    assert homes.require(tmp_path / "two").path == tmp_path / "two"


@pytest.mark.parametrize("place", [".", "sub/.penstock", "proj/.penstock", "proj"])
def test_the_nearest_home_is_named_where_there_is_none(tmp_path: Path, place: str) -> None:
    """Above the place, beside it, or one level down."""
    there = tmp_path / "work" / place if place != "." else tmp_path / ".penstock"
    homes.create(there)
    (tmp_path / "work").mkdir(exist_ok=True)
    with pytest.raises(NoHome) as caught:
        homes.require(tmp_path / "work" / ".penstock")
    assert str(there) in str(caught.value)


def test_without_any_home_the_command_that_makes_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing was made by asking."""
    monkeypatch.setattr(homes, "nearest", lambda path: None)  # this machine may have one further up
    with pytest.raises(NoHome, match="penstock ingest PATH"):
        homes.require(tmp_path / "x" / ".penstock")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_home(tmp_path: Path) -> None:
    """Neither to make nor to use, nor as a part of the path."""
    file = tmp_path / "file"
    file.write_text("mine")
    for attempt in (homes.create, homes.require):
        with pytest.raises(NoHome, match="is a file"):
            attempt(file)
    with pytest.raises(NoHome, match="a part of that path is a file"):
        homes.create(file / "home")
    assert file.read_text() == "mine"


def test_a_newer_mark_is_refused(tmp_path: Path) -> None:
    """What cannot be understood is never written to."""
    made = homes.create(tmp_path / "home")
    (made.path / "home.json").write_text('{"format":99}')
    with pytest.raises(NoHome, match="upgrade"):
        homes.require(made.path)


@pytest.mark.parametrize("damage", ["", "{", "\xff", "[1]", '{"format":"x"}'])
def test_a_damaged_mark_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    """Reading goes on; whoever writes puts a whole one there and keeps the damaged one."""
    made = homes.create(tmp_path / "home")
    (made.path / "home.json").write_text(damage, "latin-1")
    assert homes.require(made.path) == made and homes.mark(made.path) == homes.Mark()
    homes.create(made.path)
    assert (made.path / "home.json").read_text() == '{"format":1}\n'
    assert (made.path / "home.json.damaged").exists()


def test_a_home_that_lost_its_mark_is_still_one(tmp_path: Path) -> None:
    """The replicas are what is precious."""
    made = homes.create(tmp_path / "home")
    (made.path / "home.json").unlink()
    made.replicas.mkdir()
    made.catalog.touch()
    assert homes.require(made.path) == made


def test_the_command_line_wins_over_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the file, then ./.penstock."""
    monkeypatch.chdir(tmp_path)
    assert homes.find(Path("a"), Path("/b")) == tmp_path / "a"
    assert homes.find(None, Path("/b")) == Path("/b")
    assert homes.find(None, None) == tmp_path / ".penstock"


def test_a_kill_while_the_mark_is_written_leaves_no_half_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next `create` makes it as if nothing had been."""

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            homes.create(tmp_path / "home")
    assert not (tmp_path / "home" / "home.json").exists()
    assert homes.create(tmp_path / "home").path == tmp_path / "home"


def test_the_nearest_home_is_rather_above_than_below_and_never_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link may lead to somebody else's home."""
    really = homes._is_home  # this machine may have a home further up
    monkeypatch.setattr(homes, "_is_home", lambda path: path.is_relative_to(tmp_path) and really(path))
    elsewhere = homes.create(tmp_path / "elsewhere" / "deep" / "home").path
    place = tmp_path / "work" / "here" / ".penstock"
    place.parent.mkdir(parents=True)
    (place.parent / "linked").symlink_to(elsewhere)
    (place.parent / "folder").mkdir()
    (place.parent / "folder" / ".penstock").symlink_to(elsewhere)
    assert homes.nearest(place) is None
    below = homes.create(place.parent / "project" / ".penstock").path
    assert homes.nearest(place) == below
    above = homes.create(tmp_path / ".penstock").path
    assert homes.nearest(place) == above


def test_threads_that_make_one_home_at_once_all_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs may begin together; neither takes the other's half-written mark."""
    together, replace = threading.Barrier(2, timeout=60), Path.replace

    def late(self: Path, target: Path) -> Path:
        together.wait()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(homes.create, [tmp_path / "home"] * 2))
    assert made == [homes.Home(tmp_path / "home")] * 2
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["cache", "home.json", "spool"]


def test_the_home_that_is_named_can_be_typed(tmp_path: Path) -> None:
    """Also where a space is in its path."""
    homes.create(tmp_path / "a b" / ".penstock")
    with pytest.raises(homes.NoHome, match=r"use --home '.*a b/\.penstock'"):
        homes.require(tmp_path / "a b" / "other")
