"""An older version becomes the next one: whole, held, and never against a collection, a merge or a plan of before."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.care import collect, compact
from penstock.index.care.collect import Retention
from penstock.index.care.compact import Policy
from penstock.index.care.rollback import Changes, RolledBack, differences, newest_before, rollback
from penstock.index.catalog.catalog import Ratified
from penstock.index.commits import manifest
from penstock.index.commits.commit import Delta, Writer
from penstock.index.errors import Conflict, Corrupt, Unavailable
from penstock.index.reading.reader import Reader
from penstock.index.types import BlobRef, DocState, Manifest, SourceState
from tests.index.world import SOURCE, World, delta, served

NOTHING_KEPT = Retention(versions=1, seconds=0)
LATER = 10**9
OTHER = SourceState("t", "files", "/elsewhere", cursor="7", listed_at=3.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: the third, a bad one, changes a document, drops one and brings one."""
    home = tmp_path_factory.mktemp("made")
    with World(home).create() as writer:
        writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
        writer.commit(delta(1, {"s/c": "four"}, sources={"s": _at("2")}))
        writer.commit(delta(2, {"s/a": "bad", "s/b": None, "s/d": "bad too"}, sources={"s": _at("3")}))
    return home


@pytest.fixture
def world(made: Path, tmp_path: Path) -> World:
    return World(Path(shutil.copytree(made, tmp_path / "home")))


GOOD = {"s/a": ["one", "two"], "s/b": ["three"], "s/c": ["four"]}
BAD = {"s/a": ["bad"], "s/c": ["four"], "s/d": ["bad", "too"]}


def _at(cursor: str) -> SourceState:
    return msgspec.structs.replace(SOURCE, cursor=cursor)


def found(world: World, writer: Writer) -> dict[str, list[str]]:
    return served(writer.head(), world.stores())


def test_old_content_becomes_the_next_version_and_its_source_is_held(world: World) -> None:
    """Also the counts and the cursor; no vector is written again, and every byte is in its place."""
    with world.open() as writer, Reader.open(*world.stores().values(), report=lambda _: None) as reader:
        before = writer.head()
        assert differences(writer, 2) == {"s": Changes(back=1, away=1, changed=1)}
        assert rollback(writer, 2) == RolledBack(4, 2, {"s": Changes(1, 1, 1)})
        head = writer.head()
        assert found(world, writer) == GOOD
        assert {state.uri: state.content for state in writer.states().scan()} == {
            "s/a": "one two",
            "s/b": "three",
            "s/c": "four",
        }
        assert (head.counts["documents"], head.counts["chunks"]) == (3, 4)
        assert head.sources["s"].cursor == "2"
        assert head.sources["s"].held.startswith("rolled back to version 2 (1970-01-01 00:16:")
        assert head.membership == before.membership and head.parent == writer.site.catalog.since(2)[0].ref.name
        assert reader.refresh() and sorted(state.uri for state in reader.states()) == sorted(GOOD)
    assert world.findings() == []


def test_going_back_to_what_is_there_changes_nothing(world: World) -> None:
    """To the head itself, or a second time."""
    with world.open() as writer:
        assert rollback(writer, 3) == RolledBack(3, 3, {})
        assert rollback(writer, 2).version == 4
        assert rollback(writer, 2) == RolledBack(4, 2, {})
        assert rollback(writer, 4) == RolledBack(4, 4, {})


def test_a_rollback_can_be_undone_by_another(world: World) -> None:
    """The version before it is retained like any other."""
    with world.open() as writer:
        rollback(writer, 2)
        assert rollback(writer, 3).version == 5
        assert found(world, writer) == BAD and "version 3" in writer.head().sources["s"].held
    assert world.findings() == []


def test_a_source_that_came_since_stays_as_an_entry_that_is_held(world: World) -> None:
    """Else the next run would bring it back. A source that did not change is not held, and one that was is still."""
    with world.open() as writer:
        more = delta(3, {}, sources={"new": OTHER, "t": OTHER})
        writer.commit(more)
        version = rollback(writer, 2).version
        assert writer.head().sources["new"].held and writer.head().sources["new"].cursor == ""
        assert rollback(writer, 2).version == version, "an entry that is held already is no difference"
        assert rollback(writer, 1).sources == {"s": Changes(away=1)}
        assert writer.head().sources["new"].held.startswith("rolled back to version 2")


def test_only_what_differs_is_held(world: World) -> None:
    """That a document was looked at again, without any change, is no difference."""
    with world.open() as writer:
        doc = msgspec.structs.replace(delta(3, {"t/x": "still"}).states[0], source="t", run="first")
        one = delta(3, {"t/x": "still"}, sources={"t": OTHER})
        writer.commit(_with_states(one, [doc]))
        touched = msgspec.structs.replace(doc, run="second", fetched_at=9.0, version="v2")
        writer.commit(Delta(4, [touched]))
        writer.commit(delta(5, {"s/e": "bad"}))
        assert rollback(writer, 4).sources == {"s": Changes(away=1)}
        assert not writer.head().sources["t"].held and writer.head().sources["t"].cursor == "7"


def _with_states(change: Delta, states: list[DocState]) -> Delta:
    return dataclasses.replace(change, states=states)


def test_a_removed_source_comes_back_with_its_documents(world: World) -> None:
    """What somebody removed by mistake is not embedded again."""
    with world.open() as writer:
        gone = delta(3, dict.fromkeys(BAD), sources={"s": None})
        writer.commit(gone)
        assert not writer.head().sources
        assert rollback(writer, 3).sources == {"s": Changes(back=3)}
        assert found(world, writer) == BAD and writer.head().sources["s"].binding == SOURCE.binding
    assert world.findings() == []


def test_a_source_that_moved_since_stays_where_it_is_now(world: World) -> None:
    """Its place is a fact of today. What its feed said at the old place says nothing of the new one."""
    with world.open() as writer:
        writer.commit(Delta(3, [], sources={"s": msgspec.structs.replace(_at("3"), binding="/new")}))
        rollback(writer, 2)
        source = writer.head().sources["s"]
        assert (source.binding, source.cursor, source.listed_at) == ("/new", "", 0.0)


def test_what_is_not_kept_is_refused(world: World) -> None:
    """A version that never was, and one that has expired."""
    with world.open() as writer:
        collect.collect(writer, NOTHING_KEPT, now=LATER)
        for version in (0, 2, 99):
            with pytest.raises(Conflict, match="is not kept"):
                rollback(writer, version)
        assert writer.head().version == 3


def test_what_nobody_agreed_to_is_not_done(world: World) -> None:
    """Between the question and the answer the index went on."""
    with world.open() as writer:
        agreed = differences(writer, 2)
        writer.commit(delta(3, {"s/e": "late"}))
        with pytest.raises(Conflict, match="look again"):
            rollback(writer, 2, expected=agreed)
        assert writer.head().version == 4
        assert rollback(writer, 2, expected=differences(writer, 2)).version == 5


@pytest.mark.parametrize("point", ["blobs.built", "blobs.put.one", "blobs.put"])
def test_a_collection_that_comes_first_refuses_the_rollback(world: World, point: str) -> None:
    """The version expires, and its blobs go, while the rollback is under way: nothing is decided, the head is whole."""
    reached: list[str] = []
    with world.open() as other:

        def reach(here: str) -> None:
            if here == point and not reached:
                reached.append(here)
                collect.collect(other, NOTHING_KEPT, now=LATER)

        with world.open(reach) as writer:
            with pytest.raises(Conflict, match="expired"):
                rollback(writer, 2)
            assert reached and writer.head().version == 3 and found(world, writer) == BAD
            assert writer.commit(delta(3, {"s/z": "goes on"})).version == 4
    assert world.findings() == []


@pytest.mark.parametrize("point", ["ratified", "published.one", "published"])
def test_a_collection_that_comes_second_finds_the_blobs_needed(world: World, point: str) -> None:
    """The version expires when the next one has its blobs: they stay."""
    reached: list[str] = []
    with world.open() as other:

        def reach(here: str) -> None:
            if here == point and not reached and other.head().version == 4:
                reached.append(here)
                collect.collect(other, NOTHING_KEPT, now=LATER)

        with world.open(reach) as writer:
            rollback(writer, 2)
            collect.collect(writer, NOTHING_KEPT, now=LATER)
            assert reached and found(world, writer) == GOOD
    assert world.findings() == []


@pytest.mark.parametrize("point", ["floor.noted.one", "floor.noted", "records.swept", "blob.swept"])
def test_a_collector_that_was_paused_takes_nothing_that_a_rollback_needs(world: World, point: str) -> None:
    """It let version 1 expire and stands still; the index goes back to version 2 and lets all before it expire."""
    reached: list[str] = []
    with world.open() as other:

        def reach(here: str) -> None:
            if here == point and not reached:
                reached.append(here)
                rollback(other, 2)
                collect.collect(other, NOTHING_KEPT, now=LATER)

        with world.open(reach) as writer:
            collect.collect(writer, Retention(versions=2, seconds=0), now=LATER)
            assert reached and found(world, writer) == GOOD
    assert world.findings() == []


@pytest.mark.parametrize("point", ["blobs.built", "blobs.put"])
@pytest.mark.parametrize("everything_dead", [False, True])
def test_a_merge_that_was_planned_before_does_not_lose_what_came_back(
    tmp_path: Path, point: str, everything_dead: bool
) -> None:
    """Rows that were dead when they were merged are alive again: the merge is dropped."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
        writer.commit(delta(1, {"s/a": None} | ({"s/b": None} if everything_dead else {})))
    reached: list[str] = []
    with world.open() as other:

        def reach(here: str) -> None:
            if here == point and not reached:
                reached.append(here)
                rollback(other, 1)

        with world.open(reach) as writer:
            compact.compact(writer, Policy(dead_share=0.01))
            assert reached and found(world, writer) == {"s/a": ["one", "two"], "s/b": ["three"]}
    assert world.findings() == []


def test_what_was_planned_before_is_dropped_for_a_source_that_is_held_now(world: World) -> None:
    """New, changed and deleted documents, and the cursor; those of other sources land."""
    with world.open() as writer, world.open() as late:
        rollback(writer, 2)
        bad = delta(3, {"s/new": "bad", "s/c": "bad", "s/d": "bad again", "s/b": None}, sources={"s": _at("4")})
        fine = msgspec.structs.replace(delta(3, {"t/x": "fine"}).states[0], source="t")
        done = late.commit(bad)
        assert (done.version, set(done.dropped)) == (4, {"s/new", "s/c", "s/d", "s/b"})
        other = _with_states(delta(3, {"t/x": "fine"}, sources={"t": OTHER}), [fine])
        assert late.commit(other).dropped == ()
        assert found(world, writer) == GOOD | {"t/x": ["fine"]} and writer.head().sources["s"].cursor == "2"
    assert world.findings() == []


def test_who_knows_that_a_source_is_held_may_change_it(world: World) -> None:
    """Removing it, say, and going on once it is no longer held."""
    with world.open() as writer:
        rollback(writer, 2)
        held = writer.head().sources["s"]
        writer.commit(delta(4, {"s/a": None}, sources={"s": held}))
        writer.commit(Delta(5, [], sources={"s": msgspec.structs.replace(held, held="")}))
        assert writer.commit(delta(6, {"s/new": "good"})).dropped == ()
        assert found(world, writer) == {"s/b": ["three"], "s/c": ["four"], "s/new": ["good"]}


def test_a_replica_that_was_away_gets_what_it_lacks(tmp_path: Path) -> None:
    """It missed the versions, and the one that was gone back to; it ends up with all that the head needs."""
    world = World(tmp_path, 3, 2)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
    away = world.root / "away"
    world.folder("2").rename(away)
    world.folder("2").mkdir()  # there, and empty: a disk that is not mounted
    with world.open() as writer:
        writer.commit(delta(1, {"s/b": "two"}))
        writer.commit(delta(2, {"s/b": "bad"}))
        rollback(writer, 2)
    world.folder("2").rmdir()
    away.rename(world.folder("2"))
    with world.open() as writer:
        assert served(writer.head(), {"2": world.stores()["2"]}) == {"s/a": ["one"], "s/b": ["two"]}
    assert world.findings() == []


def test_blobs_that_one_replica_lost_are_put_back_before_anything_is_decided(world: World) -> None:
    """They are needed again: who lacks them gets them from the other."""
    with world.open() as writer:
        old = manifest.closure(_manifest(writer, 2)).keys() - manifest.closure(writer.head()).keys()
        for name in old:
            (world.folder("1") / "blobs" / name[:2] / name).unlink()
        rollback(writer, 2)
        assert old and served(writer.head(), {"1": world.stores()["1"]}) == GOOD
    assert world.findings() == []


def test_a_blob_that_is_nowhere_stops_it_before_anything_is_decided(world: World) -> None:
    """A version that could not be published would be in the way of all that follow."""
    with world.open() as writer:
        compact.compact(writer, Policy(), full=True)
        then, head = _manifest(writer, 2), writer.head()
        state = {run.blob.name for run in then.state}
        for name in manifest.closure(then).keys() - manifest.closure(head).keys() - state:
            for replica in world.ids:
                (world.folder(replica) / "blobs" / name[:2] / name).unlink()
        with pytest.raises(Unavailable, match="0 of 2 replicas could keep the blobs"):
            rollback(writer, 2)
        assert writer.head().version == head.version
        assert writer.commit(delta(head.version, {"s/z": "on"})).version == head.version + 1


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_blob_that_is_damaged_everywhere_stops_it_and_is_named(world: World, everywhere: bool) -> None:
    """It has the right size, and nobody has read it for long: to serve it again would be a success in name only."""
    with world.open() as writer:
        compact.compact(writer, Policy(), full=True)
        then, head = _manifest(writer, 2), writer.head()
        state = {run.blob.name for run in then.state}
        old = manifest.closure(then).keys() - manifest.closure(head).keys() - state
        for replica in world.ids if everywhere else world.ids[:1]:
            for name in old:
                _flip(world.folder(replica) / "blobs" / name[:2] / name)
        if everywhere:
            with pytest.raises(Corrupt, match=r"which version 2 needs, is whole on no replica .*penstock repair"):
                rollback(writer, 2)
            assert writer.head().version == head.version
            assert writer.commit(delta(head.version, {"s/z": "on"})).version == head.version + 1
        else:
            assert rollback(writer, 2).version == head.version + 1
            assert found(world, writer) == GOOD


def _flip(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)


def _manifest(writer: Writer, version: int) -> Manifest:
    return writer.replicas.manifest(writer.site.catalog.since(version - 1)[0].ref)


def test_it_lands_in_a_new_epoch_too(world: World) -> None:
    """The catalog is lost; its versions are found in the logs, and gone back to."""
    (world.root / "catalog.db").unlink()
    with world.open() as writer:
        rollback(writer, 2)
        assert found(world, writer) == GOOD
    (world.root / "catalog.db").unlink()
    with world.open() as writer:
        assert found(world, writer) == GOOD and writer.head().sources["s"].held
    assert world.findings() == []


def test_a_replica_made_again_after_a_rollback_is_whole(world: World) -> None:
    """Also when the version that was gone back to has expired."""
    with world.open() as writer:
        rollback(writer, 2)
        collect.collect(writer, NOTHING_KEPT, now=LATER)
    shutil.rmtree(world.folder("0"))
    with world.open() as writer:
        assert served(writer.head(), {"0": world.stores()["0"]}) == GOOD
    assert world.findings() == []


@pytest.mark.parametrize(
    ("point", "times"),
    [
        *(("txn.open", 1), ("blobs.built", 1), ("blobs.put.one", 1), ("blobs.put.one", 3), ("blobs.put", 1)),
        *(("ratified", 1), ("published.one", 3), ("published.one", 4), ("published", 1)),
    ],
)
def test_a_rollback_killed_anywhere_is_there_whole_or_not_at_all(world: World, point: str, times: int) -> None:
    """A real process dies by SIGKILL: before the catalog decided, nothing; after, everything, on every replica."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.index.crash_child", str(world.root), point, str(times), "rollback"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == -9, (ran.stdout, ran.stderr)
    decided = point in ("ratified", "published.one", "published")
    with world.open() as writer:
        assert found(world, writer) == (GOOD if decided else BAD)
        assert bool(writer.head().sources["s"].held) == decided
        assert world.findings() == []
        assert rollback(writer, 2).version == 4
        assert found(world, writer) == GOOD
    assert world.findings() == []


@given(st.lists(st.floats(0, 100), unique=True, max_size=6).map(sorted), st.floats(-1, 101))
@settings(max_examples=50)
def test_a_time_means_the_version_that_was_the_newest_then(times: list[float], moment: float) -> None:
    """Committed at that very moment counts; before the first there is none."""
    versions = [Ratified(n, 1, "e", f"t{n}", BlobRef("m", 1, ""), at) for n, at in enumerate(times)]
    chosen = newest_before(versions, moment)
    assert chosen == max((v for v in versions if v.committed_at <= moment), key=lambda v: v.version, default=None)


def test_reach_points_are_those_of_any_commit(world: World) -> None:
    """What is proved of commits is proved of this one: it goes the same way."""
    seen: list[str] = []
    note: Callable[[str], None] = seen.append
    with world.open(note) as writer:
        seen.clear()
        rollback(writer, 2)
    wanted = ["txn.open", "blobs.built", "blobs.put.one", "blobs.put", "ratified", "published.one", "published"]
    assert list(dict.fromkeys(seen)) == wanted
