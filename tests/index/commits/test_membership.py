"""Replicas come and go by commits, and every one of them is whole before it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.index.commits import membership
from penstock.index.errors import Fenced, WrongIndex
from penstock.index.stores.store import LocalStore
from tests.index.world import World, delta, served

SERVED = {"s/a": ["one", "two"], "s/b": ["three"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two replicas, two versions."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two"}))
        writer.commit(delta(1, {"s/b": "three"}))
    return world


def place(world: World, name: str) -> LocalStore:
    return LocalStore.create(world.folder(name), token=world.token)


def test_an_added_replica_has_everything_and_counts(world: World) -> None:
    """It can be the only one that is left."""
    with world.open() as writer:
        assert membership.add(writer, "2", place(world, "2")) == 3
        assert writer.commit(delta(3, {"s/c": "four"})).version == 4
    world.ids, world.write_quorum = ["0", "1", "2"], 2
    assert world.findings() == []
    shutil.rmtree(world.folder("0"))
    (world.root / "catalog.db").unlink()
    with world.open() as writer:
        assert served(writer.head(), {"2": world.stores()["2"]}) == {**SERVED, "s/c": ["four"]}


def test_the_old_configuration_is_refused_with_the_command(world: World) -> None:
    """Whoever still has the old list of replicas is told so before anything is written."""
    with world.open() as writer:
        membership.add(writer, "2", place(world, "2"))
    with pytest.raises(WrongIndex, match=r"has replicas 0, 1, 2, the configuration 0, 1.*replica remove 2"):
        world.open()


def test_a_removed_replica_is_not_written_any_more(world: World) -> None:
    """And the quorum is that of those who stay."""
    with world.open() as writer:
        assert membership.remove(writer, "1") == 3
        before = sorted(path.name for path in (world.folder("1") / "log").iterdir())
        writer.commit(delta(3, {"s/c": "four"}))
    assert sorted(path.name for path in (world.folder("1") / "log").iterdir()) == before
    world.ids, world.write_quorum = ["0"], 1
    with world.open() as writer:
        assert writer.head().membership.write_quorum == 1
    assert world.findings() == []


def test_a_dead_replica_is_removed_without_its_answer(world: World) -> None:
    """N=2, W=2, one is gone for good: the other goes on alone once a person says so."""
    shutil.rmtree(world.folder("1"))
    world.folder("1").mkdir()
    with world.open(leaving=frozenset("1")) as writer:
        membership.remove(writer, "1")
    world.ids, world.write_quorum = ["0"], 1
    with world.open() as writer:
        assert served(writer.head(), world.stores()) == SERVED
    assert world.findings() == []


def test_a_replaced_replica_gets_everything_and_the_old_one_is_refused(world: World) -> None:
    """The old disk, plugged in again, is another incarnation: not written, not believed."""
    with world.open() as writer:
        assert membership.replace(writer, "1", place(world, "elsewhere")) == 3
    world.folder("1").rename(world.folder("old"))
    world.folder("elsewhere").rename(world.folder("1"))
    with world.open() as writer:
        assert served(writer.head(), {"1": world.stores()["1"]}) == SERVED
    assert world.findings() == []
    world.folder("1").rename(world.folder("elsewhere"))
    world.folder("old").rename(world.folder("1"))
    with pytest.raises(WrongIndex, match="another incarnation"):
        world.open()


@pytest.mark.parametrize("point", ["replica.marked", "member.copied", "blobs.put", "ratified"])
def test_a_change_that_was_cut_short_is_begun_again(world: World, point: str) -> None:
    """Wherever it stopped, the same command ends it, once."""

    class Dead(Exception):
        pass

    def reach(here: str) -> None:
        if here == point:
            raise Dead

    writer = world.open()
    writer.site = type(writer.site)(**{**{f: getattr(writer.site, f) for f in writer.site.__slots__}, "reach": reach})
    writer._reach = reach
    with pytest.raises(Dead):
        membership.add(writer, "2", place(world, "2"))
    writer.close()
    if point == "ratified":
        world.ids = ["0", "1", "2"]
        world.open().close()
    else:
        with world.open() as writer:
            assert membership.add(writer, "2", place(world, "2")) == 3
    world.ids = ["0", "1", "2"]
    assert world.findings() == []


def test_a_place_that_holds_something_else_is_refused(world: World, tmp_path: Path) -> None:
    """Another index's replica, or any files at all: nothing of it is touched."""
    other = World(tmp_path / "other")
    with other.create() as writer:
        writer.commit(delta(0, {"s/z": "z"}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    with world.open() as writer:
        for at in (other.folder("1"), tmp_path / "full"):
            with pytest.raises(WrongIndex, match="choose an empty place"):
                membership.add(writer, "2", LocalStore(at, token=world.token))
        assert writer.head().version == 2
    assert (tmp_path / "full" / "precious").read_text() == "mine"


def test_the_quorum_changes_by_a_commit_and_stays_a_majority(world: World) -> None:
    """N=3: from two to three and no further down than two."""
    with world.open() as writer:
        membership.add(writer, "2", place(world, "2"))
        assert membership.set_quorum(writer, 3) == 4
        assert membership.set_quorum(writer, 3) == 4, "nothing changed"
        with pytest.raises(ValueError, match="more than half"):
            membership.set_quorum(writer, 1)
    world.ids, world.write_quorum = ["0", "1", "2"], 3
    world.open().close()
    assert world.findings() == []


def test_a_writer_that_was_open_while_the_replicas_changed_stops(world: World) -> None:
    """Its quorum is not that of the new set: nothing of it is acknowledged any more."""
    with world.open() as old:
        with world.open() as writer:
            membership.add(writer, "2", place(world, "2"))
        with pytest.raises(Fenced, match="replicas of the index were changed"):
            old.commit(delta(2, {"s/c": "four"}))
    world.ids = ["0", "1", "2"]
    with world.open() as writer:
        assert writer.head().version == 3
    assert world.findings() == []
