"""What a space says of its vectors is carried by the commits that add to it, and by nothing lost on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.index.care import collect, compact
from penstock.index.commits import manifest as manifests
from penstock.index.reading.reader import Reader
from penstock.index.types import FORMAT, Baseline, Canaries, Manifest, Membership, SpaceRef
from tests.index.world import World, delta

CANARIES = Canaries("1", b"\x00\x3c" * 16, ((101, 7, 102),), {"dtype": "float32"})


class Refusal(Exception):
    pass


def counting(space: SpaceRef) -> SpaceRef:
    """Adds one to the baseline, and keeps the first canaries."""
    before = space.baseline.figures["commits"] if space.baseline else 0.0
    grown = Baseline("1", {"commits": before + 1}, b"\x00" * 4)
    return msgspec.structs.replace(space, canaries=space.canaries or CANARIES, baseline=grown)


def commits(head: Manifest) -> float:
    baseline = head.spaces["default"].baseline
    assert baseline is not None
    return baseline.figures["commits"]


def test_the_first_vectors_bring_canaries_and_each_commit_brings_the_baseline_forward(tmp_path: Path) -> None:
    """A commit without vectors leaves both as they are."""
    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one two"}, join=counting))
        assert writer.head().spaces["default"].canaries == CANARIES
        writer.commit(delta(1, {"s/b": "three"}, join=counting))
        writer.commit(delta(2, {"s/a": None}, join=counting))
        assert commits(writer.head()) == 2
    assert world.findings() == []


def test_who_may_not_join_commits_nothing(tmp_path: Path) -> None:
    """The refusal reaches the caller as it is; the head is what it was, and the next commit goes through."""

    def refusing(space: SpaceRef) -> SpaceRef:
        raise Refusal

    world = World(tmp_path)
    with world.create() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
        before = writer.head()
        with pytest.raises(Refusal):
            writer.commit(delta(1, {"s/b": "two"}, join=refusing))
        assert writer.head() == before
        assert writer.commit(delta(1, {"s/b": "two"}, join=counting)).version == 2
    assert world.findings() == []


def test_the_loser_of_a_race_joins_what_the_winner_made(tmp_path: Path) -> None:
    """It is asked again on the new head: both count, and the winner's canaries are what the loser is judged by."""
    world = World(tmp_path)
    world.create().close()
    seen: list[bool] = []
    raced = False

    def reach(point: str) -> None:
        nonlocal raced
        if point == "blobs.put" and not raced:
            raced = True
            with world.open() as other:
                other.commit(delta(0, {"s/winner": "one"}, join=counting))

    def watching(space: SpaceRef) -> SpaceRef:
        seen.append(space.canaries is not None)
        return counting(space)

    with world.open(reach) as writer:
        writer.commit(delta(0, {"s/loser": "two"}, join=watching))
        assert (seen, commits(writer.head())) == ([False, True], 2)
    assert world.findings() == []


def test_compaction_collection_and_readers_keep_them(tmp_path: Path) -> None:
    """They are in the manifest, whatever becomes of the segments."""
    world = World(tmp_path)
    with world.create() as writer:
        for number in range(6):
            writer.commit(delta(number, {f"s/{number}": "one two"}, join=counting))
        compact.compact(writer, compact.Policy(fan_in=2), full=True)
        collect.collect(writer, collect.Retention(versions=1, seconds=0), now=10**9)
        assert commits(writer.head()) == 6
        with Reader.open(world.root) as reader:
            assert reader.manifest.spaces["default"].canaries == CANARIES
    assert world.findings() == []


def test_a_manifest_from_before_decodes_and_says_nothing_of_them() -> None:
    """And one without them has the bytes that it had before there were any."""
    head = Manifest(FORMAT, "l", 1, 1, "t", "", 1.0, Membership((), 1), spaces={"default": SpaceRef(4, {"w": "x"})})
    data = manifests.encode(head)
    assert b"canaries" not in data and b"baseline" not in data
    assert manifests.decode(data).spaces["default"].canaries is None
    full = msgspec.structs.replace(head, spaces={"default": counting(SpaceRef(4))})
    assert manifests.decode(manifests.encode(full)) == full
