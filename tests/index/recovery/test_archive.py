"""A DR store: whose it is, what is there, what has a name, and who is shut out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.index.blobs import framed
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Fenced, Unavailable, WrongIndex
from penstock.index.recovery.archive import ABANDONED, EXPIRING, SHIPPED, Archive, Named, Notice, history
from penstock.index.recovery.fencing import FENCES, ShutOut
from penstock.index.stores.store import LocalStore
from penstock.index.types import BlobRef

REF = BlobRef("0" * 64 + ".t", 10, "0" * 32)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    counter = iter(range(10**6))
    return Archive(LocalStore.create(tmp_path / "dr", token=lambda: f"t{next(counter)}"), print)


def record(version: int, epoch: int = 1) -> LogRecord:
    return LogRecord(framed.FORMAT, "L", version, epoch, "e", "t", REF, float(version))


def named(name: str, version: int = 1) -> Named:
    return Named(framed.FORMAT, "L", name, version, 1, REF, float(version), 5.0)


def test_it_belongs_to_the_first_index_that_claims_it(archive: Archive) -> None:
    """Another one is refused, and so is a place that holds something else."""
    archive.claim("L")
    archive.claim("L")
    with pytest.raises(WrongIndex, match="another index"):
        archive.claim("M")
    assert archive.require() == "L"


def test_a_place_with_something_else_in_it_is_not_claimed(archive: Archive) -> None:
    """It might be a replica, or somebody's holiday pictures."""
    archive.store.put_if_absent("log/x", b"x")
    with pytest.raises(WrongIndex, match="not empty"):
        archive.claim("L")


def test_what_is_announced_is_no_version_yet(archive: Archive) -> None:
    """It becomes one when it is published."""
    archive.announce(record(3))
    assert (archive.coming(), archive.versions()) == ([(3, 1)], [])
    archive.publish(record(3))
    archive.publish(record(3))
    assert archive.versions() == [(3, 1)]
    assert archive.record(3, 1) == archive.record(3, 1, coming=True) == record(3)


def test_a_name_is_given_once(archive: Archive) -> None:
    """Who comes later is told what has it."""
    assert archive.name_version(named("a")) == named("a")
    assert archive.name_version(named("a", 2)) == named("a")
    assert archive.snapshots() == {"a": named("a")}


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", ".hidden"])
def test_a_name_that_is_no_name_is_refused(archive: Archive, name: str) -> None:
    """It is part of a key."""
    with pytest.raises(ValueError, match="a snapshot's name"):
        archive.name_version(named(name))


def test_a_hold_lasts_until_it_is_let_go(archive: Archive) -> None:
    """And may come back."""
    for held in (True, True, False, True):
        archive.hold("a.b", held, "L", 1.0)
        assert archive.held() == (frozenset({"a.b"}) if held else frozenset())


def test_a_damaged_hold_holds(archive: Archive) -> None:
    """What cannot be read must not let anything expire."""
    archive.store.put_if_absent("holds/a.00000001", b"damage")
    assert archive.held() == {"a"}


@pytest.mark.parametrize("needed", [{"blobs": {"a", "x"}}, {"version": (3, 1)}, {"snapshot": "n"}])
def test_what_an_expiry_is_about_to_delete_is_not_relied_on(archive: Archive, needed: dict[str, Any]) -> None:
    """Until its notice is gone, or so old that nobody can still be at it."""
    archive.check_stays(10.0, **needed)
    notice = Notice(framed.FORMAT, "L", 5.0, ("n",), ((3, 1),), ("a", "b"))
    archive.store.put_if_absent(EXPIRING + "1", framed.encode(notice))
    with pytest.raises(Unavailable, match="expiry"):
        archive.check_stays(10.0, **needed)
    archive.check_stays(10.0, blobs={"x"}, version=(3, 2), snapshot="m")
    archive.check_stays(5.0 + ABANDONED, **needed)


def test_a_fence_stops_the_old_index_and_no_other(archive: Archive) -> None:
    """The one that was restored goes on."""
    archive.fence("L", "M", 7, 1.0)
    with pytest.raises(Fenced, match="version 7"):
        archive.check_not_fenced("L")
    archive.check_not_fenced("M")


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4))))
def test_the_history_has_each_version_once_and_epochs_only_grow(keys: list[tuple[int, int]]) -> None:
    """The highest epoch's are all in it."""
    found = history(keys)
    assert found == sorted(found) and len({version for version, _ in found}) == len(found)
    assert [epoch for _, epoch in found] == sorted(epoch for _, epoch in found)
    top = max((epoch for _, epoch in keys), default=0)
    assert {key for key in keys if key[1] == top} <= set(found)


def test_a_marker_that_is_missing_is_put_again_by_its_own_index(archive: Archive) -> None:
    """All records say whose it is; for another index it is another's, as with the marker."""
    archive.claim("L")
    archive.publish(record(1))
    archive.store.delete(SHIPPED)
    assert (archive.require(), archive.whose()) == ("L", ("L", f"{archive.name}/{SHIPPED} is missing"))
    with pytest.raises(WrongIndex, match="another index"):
        archive.claim("M")
    assert archive.marked() is None
    archive.claim("L")
    assert (archive.marked(), archive.whose()) == ("L", ("L", ""))


def test_a_marker_is_put_for_nobody_where_records_are_of_two(archive: Archive) -> None:
    """Nobody knows whose place it is."""
    archive.publish(record(1))
    archive.publish(msgspec.structs.replace(record(2), lineage="M"))
    for lineage in ("L", "M"):
        with pytest.raises(WrongIndex):
            archive.claim(lineage)
    assert archive.marked() is None


def test_a_fence_is_met_also_in_the_place_of_the_index_that_goes_on(archive: Archive) -> None:
    """Which is more than that it is another's."""
    archive.claim("M")
    archive.fence("L", "M", 1, 1.0)
    with pytest.raises(Fenced, match="--fork --home NEW"):
        archive.require("L")
    with pytest.raises(WrongIndex):
        archive.require("K")


def test_a_damaged_fence_is_one_for_all_but_its_own_index(archive: Archive) -> None:
    """One that can be read, and names the index, is said first."""
    archive.store.put_if_absent(FENCES + "A", b"x")
    archive.check_not_fenced("A")
    with pytest.raises(Fenced, match="cannot be read"):
        archive.check_not_fenced("L")
    archive.fence("L", "B", 1, 1.0)
    with pytest.raises(ShutOut):
        archive.check_not_fenced("L")
