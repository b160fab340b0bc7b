"""Compaction changes nothing that anybody can find, and what it leaves behind goes by collection."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.index.care import compact
from penstock.index.care.compact import Policy
from penstock.index.segments import quantizer
from penstock.index.types import BlobRef, SegmentRef
from tests.index.world import World, delta, served

SMALL = Policy(fan_in=3, smallest=4)
NO_BLOB = BlobRef("x", 1, "")


def ref(name: str, count: int, dead: int = 0, kind: str = "flat") -> SegmentRef:
    return SegmentRef(name, kind, count, NO_BLOB, NO_BLOB, NO_BLOB, dead_count=dead)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Seven versions of a few documents, some of them replaced or deleted."""
    world = World(tmp_path)
    with world.create() as writer:
        for n in range(6):
            writer.commit(delta(n, {f"s/{n}": f"word{n} again{n}", "s/always": f"turn{n}"}))
        writer.commit(delta(6, {"s/0": None}))
    return world


def test_small_segments_become_one_without_their_dead_rows(world: World) -> None:
    """The same answers, fewer segments, no dead row left, and every replica whole."""
    with world.open() as writer:
        before = served(writer.head(), world.stores())
        done = compact.compact(writer, SMALL, full=True)
        head = writer.head()
        assert served(head, world.stores()) == before
    assert (done.segments_before, done.segments_after, done.purged) == (6, 1, 7)
    assert [ref.dead_count for ref in head.spaces["default"].segments] == [0]
    assert world.findings() == []


def test_when_all_is_well_nothing_is_committed(world: World) -> None:
    """The second compaction finds nothing to do."""
    with world.open() as writer:
        compact.compact(writer, SMALL, full=True)
        version = writer.head().version
        assert compact.compact(writer, SMALL).merges == 0
        assert compact.compact(writer, SMALL, full=True).merges == 0
        assert writer.head().version == version


@pytest.mark.parametrize("what", [{"s/1": None}, {"s/1": "changed"}, {"s/new": "new"}])
def test_what_lands_during_a_merge_is_not_lost(world: World, what: dict[str, str | None]) -> None:
    """The merge loses the race, is not built again, and takes over what died meanwhile."""
    with world.open() as other:

        def reach(point: str) -> None:
            if point == "blobs.put" and other.head().version == 7:
                other.commit(delta(7, what))

        with world.open(reach) as writer:
            done = compact.compact(writer, SMALL, full=True)
            found = served(writer.head(), world.stores())
    assert done.merges >= 1
    wanted = what.get("s/1", "word1 again1")
    assert found.get("s/1") == (wanted.split() if wanted is not None else None)
    assert ("s/new" in found) == ("s/new" in what)
    assert world.findings() == []


def test_texts_of_deleted_documents_go(world: World) -> None:
    """Text runs merge; the text of what is served stays."""
    from penstock.index.commits.state import TextView

    with world.open() as writer:
        compact.compact(writer, SMALL, full=True)
        head = writer.head()
        texts = {text.uri for text in TextView(head.texts, list(world.stores().values()), print).scan()}
    assert len(head.texts) == 1
    assert texts == {"s/always", *(f"s/{n}" for n in range(1, 6))}


def test_a_large_merge_is_ivf_and_answers_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat becomes IVF with the space's quantizer, which the next merge uses again."""
    monkeypatch.setattr(quantizer, "IVF_FROM", 40)
    with world.open() as writer:
        for n in range(6):
            words = " ".join(f"w{n}x{m}" for m in range(20))
            writer.commit(delta(writer.head().version, {f"s/big{n}": words}))
        before = served(writer.head(), world.stores())
        compact.compact(writer, Policy(fan_in=3, smallest=40))
        space = writer.head().spaces["default"]
        assert space.quantizer is not None and space.trained_for > 0
        assert any(ref.kind == "ivf" and ref.quantizer == space.quantizer for ref in space.segments)
        assert served(writer.head(), world.stores()) == before
    assert world.findings() == []


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 100)), max_size=40))
def test_choosing_ends_and_bounds_the_number_of_segments(sizes: list[tuple[int, int]]) -> None:
    """Applied again and again it comes to rest, with fewer than `fan_in` segments of any one size."""
    policy = Policy(fan_in=4, smallest=100)
    segments = [ref(str(n), size, size * dead // 100) for n, (size, dead) in enumerate(sizes)]
    made = len(segments)
    for _ in range(200):
        group = compact.choose(segments, policy)
        if not group:
            break
        count = sum(map(compact.live, group))
        made += 1
        kind = "ivf" if count >= quantizer.IVF_FROM else "flat"
        segments = [s for s in segments if s not in group] + ([ref(str(made), count, kind=kind)] if count else [])
    assert not compact.choose(segments, policy)
    assert all(s.dead_count <= policy.dead_share * s.count for s in segments)
