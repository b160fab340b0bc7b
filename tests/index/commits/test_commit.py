"""Commits: what they do to the manifest, who wins a race, and what a lost reply means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import markers
from penstock.index.commits.commit import Committed, Delta, Writer
from penstock.index.commits.state import TextView
from penstock.index.errors import Conflict, Fenced, NoSpace, Unavailable, Unknown, WrongIndex
from penstock.index.stores.store import Store
from tests.index.world import SOURCE, World, delta, served


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def writer(world: World) -> Iterator[Writer]:
    with world.create() as writer:
        yield writer


def test_a_new_index_is_version_0_and_empty(writer: Writer) -> None:
    """Before the first commit there is nothing, and nothing to commit makes no version."""
    assert writer.head().version == 0
    assert writer.commit(Delta(0, [])) == Committed(0)
    assert list(writer.states().scan()) == []


def test_a_changed_document_replaces_its_chunks_in_one_commit(world: World, writer: Writer) -> None:
    """Old chunks die in the commit that brings the new ones; what did not change stays."""
    writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
    assert writer.commit(delta(1, {"s/a": "uno", "s/b": None})) == Committed(2)
    head = writer.head()
    assert served(head, world.stores()) == {"s/a": ["uno"]}
    assert head.counts == {"documents": 1, "chunks": 1, "failed": 0, "rejected": 0}
    assert {s.uri: s.chunks for s in writer.states().scan()} == {"s/a": 1}
    assert world.findings() == []


def test_a_failed_document_goes_on_serving_and_a_rejected_one_does_not(world: World, writer: Writer) -> None:
    """Failure says nothing about the content; rejection says that the old content is gone."""
    writer.commit(delta(0, {"s/a": "one two", "s/b": "three", "s/c": "four"}))
    writer.commit(delta(1, {"s/a": "x", "s/new": "y"}, status="failed"))
    writer.commit(delta(2, {"s/b": "x"}, status="rejected"))
    head = writer.head()
    assert served(head, world.stores()) == {"s/a": ["one", "two"], "s/c": ["four"]}
    assert head.counts == {"documents": 2, "chunks": 3, "failed": 2, "rejected": 1}
    assert writer.states().find(["s/a"])["s/a"].chunks == 2
    assert world.findings() == []


def test_many_commits_keep_state_in_few_runs_and_forget_the_deleted(world: World, writer: Writer) -> None:
    """State runs are merged on the way; an entry that hides nothing is dropped."""
    for n in range(12):
        writer.commit(delta(n, {f"s/{n}": "w", **({f"s/{n - 1}": None} if n else {})}))
    head = writer.head()
    assert [s.uri for s in writer.states().scan()] == ["s/11"]
    assert len(head.state) <= 4
    assert head.counts["documents"] == 1
    assert world.findings() == []


def test_disjoint_documents_of_two_writers_merge(world: World, writer: Writer) -> None:
    """The loser of a race rebases: both land, nothing is dropped."""
    assert writer.commit(delta(0, {"s/a": "one"})) == Committed(1)
    with world.open() as other:
        assert other.commit(delta(0, {"s/b": "two"})) == Committed(2)
    assert served(writer.head(), world.stores()) == {"s/a": ["one"], "s/b": ["two"]}


def test_the_loser_drops_a_document_that_both_changed(world: World, writer: Writer) -> None:
    """The first to land wins; the loser's rows are dead at birth and its text does not hide the winner's."""
    writer.commit(delta(0, {"s/a": "one", "s/b": "two"}))
    writer.commit(delta(1, {"s/a": "mine", "s/b": "two"}))
    assert writer.commit(delta(1, {"s/a": "yours here", "s/c": "three"})) == Committed(3, ("s/a",))
    head = writer.head()
    assert served(head, world.stores()) == {"s/a": ["mine"], "s/b": ["two"], "s/c": ["three"]}
    texts = TextView(head.texts, list(world.stores().values()), lambda _: None).find(["s/a", "s/c"])
    assert {uri: text.text for uri, text in texts.items()} == {"s/a": "mine", "s/c": "three"}
    assert writer.commit(delta(1, {"s/a": "theirs"})) == Committed(3, ("s/a",)), "all dropped: no version"
    assert world.findings() == []


def test_racing_writers_all_land(world: World, writer: Writer) -> None:
    """Several writers at once on one catalog: every disjoint document lands; of a shared one, exactly one."""
    writer.commit(delta(0, {"s/shared": "zero"}))
    outcomes: list[Committed] = []

    def race(number: int) -> None:
        with world.open() as mine:
            barrier.wait()
            outcomes.append(mine.commit(delta(1, {f"s/{number}": "own words", "s/shared": f"by{number}"})))

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=race, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.version for done in outcomes) == [2, 3, 4, 5]
    assert sorted(done.dropped for done in outcomes) == [(), *[("s/shared",)] * 3]
    found = served(writer.head(), world.stores())
    assert found.keys() == {"s/shared", *(f"s/{n}" for n in range(4))}
    assert len(found["s/shared"]) == 1
    assert world.findings() == []


def test_a_race_lost_between_planning_and_ratifying_is_planned_again(world: World) -> None:
    """The catalog decides: a plan made against an older head is rebased, not lost and not forced."""
    world.create().close()
    other = world.open()

    def reach(point: str) -> None:
        if point == "blobs.put" and not other.head().version:
            other.commit(delta(0, {"s/a": "theirs", "s/b": "b"}))

    with world.open(reach) as writer:
        assert writer.commit(delta(0, {"s/a": "mine", "s/c": "c"})) == Committed(2, ("s/a",))
    assert served(other.head(), world.stores()) == {"s/a": ["theirs"], "s/b": ["b"], "s/c": ["c"]}
    other.close()
    assert world.findings() == []


def test_a_source_changed_meanwhile_keeps_the_newer_state(world: World, writer: Writer) -> None:
    """Cursors and bindings advance by comparison with what the delta was planned against."""
    moved = SOURCE.__class__("s", "files", "/elsewhere")
    writer.commit(delta(0, {"s/a": "one"}))
    writer.commit(Delta(1, [], sources={"s": moved}))
    stale = SOURCE.__class__("s", "files", "/somewhere", cursor="9")
    writer.commit(delta(1, {"s/b": "two"}, sources={"s": stale}))
    assert writer.head().sources["s"] == moved
    assert any("source s was changed" in line for line in world.reports)


def test_a_source_is_removed_with_all_its_documents_or_not_at_all(world: World, writer: Writer) -> None:
    """No document is left without its source."""
    writer.commit(delta(0, {"s/a": "one", "s/b": "two"}))
    with pytest.raises(Conflict, match="source s"):
        writer.commit(delta(1, {"s/a": None}, sources={"s": None}))
    writer.commit(delta(1, {"s/a": None, "s/b": None}, sources={"s": None}))
    assert writer.head().sources == {}
    with pytest.raises(Conflict, match="removed"):
        writer.commit(delta(1, {"s/c": "late"}, sources={}))


def test_vectors_of_another_model_are_refused(writer: Writer) -> None:
    """A space holds vectors of one identity only, and the message names what differs."""
    writer.commit(delta(0, {"s/a": "one"}))
    made = delta(1, {"s/b": "two"})
    other = Delta(1, made.states, made.vectors, made.rows, made.texts, {}, "default", {"weights": "w2"}, made.dim)
    with pytest.raises(WrongIndex, match=r"made with pooling mean, weights w1.*configure that model"):
        writer.commit(other)
    assert writer.head().version == 1


@pytest.mark.parametrize("what", ["twice", "rows", "status", "width"])
def test_a_delta_that_contradicts_itself_is_refused(writer: Writer, what: str) -> None:
    """Nothing is guessed and nothing is written."""
    made = delta(0, {"s/a": "one two"})
    states, vectors, dim = list(made.states), made.vectors, made.dim
    match what:
        case "twice":
            states *= 2
        case "rows":
            states = []
            made = delta(0, {"s/a": "one two", "s/b": None})
            states = [s for s in made.states if s.uri == "s/b"]
        case "status":
            states = [s.__class__(s.uri, "s", "odd") for s in states]
        case "width":
            dim = 9
    with pytest.raises(ValueError):
        writer.commit(Delta(0, states, vectors, made.rows, made.texts, dim=dim))
    assert writer.head().version == 0


def test_time_only_grows(world: World, writer: Writer) -> None:
    """A clock that stands still or goes back does not: committed_at is strictly after the parent's."""
    writer._clock = lambda: 5.0
    first, second = (writer.commit(delta(n, {"s/a": f"w{n}"})) and writer.head() for n in range(2))
    assert second.committed_at > first.committed_at
    assert world.findings() == []


class Faulty:
    """A store whose named calls fail while `broken` says so; everything else is the real one."""

    def __init__(self, store: Store, broken: Callable[[str], Exception | None]) -> None:
        self._store, self._broken = store, broken
        self.name = store.name

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if (error := self._broken(key)) is not None:
            raise error
        return self._store.put_if_absent(key, data)


@pytest.mark.parametrize("kind", [Unavailable, NoSpace])
def test_fewer_than_w_replicas_stop_the_commit_before_it_is_decided(world: World, kind: type[Unavailable]) -> None:
    """Blobs that W replicas do not keep are never ratified; afterwards the same delta lands."""
    world.create().close()
    down = True
    world.wrap = lambda n, s: Faulty(s, lambda _: kind("gone") if down and n == "1" else None)  # type: ignore[return-value,assignment]
    down = False
    with world.open() as writer:
        down = True
        with pytest.raises(kind, match="only 1 of 2"):
            writer.commit(delta(0, {"s/a": "one"}))
        assert writer.head().version == 0
        assert Catalog(world.catalog).open_transactions() == []
        down = False
        assert writer.commit(delta(0, {"s/a": "one"})) == Committed(1)
    assert world.findings() == []


def test_with_three_replicas_one_may_be_down_and_catches_up_later(tmp_path: Path) -> None:
    """N=3, W=2: the commit is acknowledged by two; the third is brought up by the next open."""
    world, down = World(tmp_path, replicas=3), True
    world.create().close()
    world.wrap = lambda n, s: Faulty(s, lambda _: Unavailable("gone") if down and n == "2" else None)  # type: ignore[return-value,assignment]
    down = False
    with world.open() as writer:
        down = True
        assert writer.commit(delta(0, {"s/a": "one"})) == Committed(1)
        assert writer.commit(delta(1, {"s/b": "two"})) == Committed(2)
        assert any("/2" in line for line in world.findings())
        down = False
    with world.open() as writer:
        assert world.findings() == []


def test_a_version_decided_but_not_published_is_published_first(world: World) -> None:
    """When publishing fails the commit is not acknowledged, and not forgotten: the next one carries it."""
    world.create().close()
    down = False
    world.wrap = lambda _, s: Faulty(s, lambda key: Unavailable("gone") if down and key[:4] == "log/" else None)  # type: ignore[return-value,assignment]
    with world.open() as writer:
        down = True
        with pytest.raises(Unavailable, match="publish version 1"):
            writer.commit(delta(0, {"s/a": "one"}))
        down = False
        assert writer.commit(delta(1, {"s/b": "two"})) == Committed(2)
    assert world.findings() == []


def test_a_lost_reply_to_the_decision_is_read_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMMIT was sent and no answer came: the catalog is asked, whichever way it went."""
    real = Catalog.ratify
    with world.create() as writer:

        def after(self: Catalog, new: object, **more: object) -> None:
            real(self, new, **more)  # type: ignore[arg-type]
            raise Unavailable("connection lost")

        monkeypatch.setattr(Catalog, "ratify", after)
        assert writer.commit(delta(0, {"s/a": "one"})) == Committed(1)

        def before(self: Catalog, new: object, **more: object) -> None:
            raise Unavailable("connection lost")

        monkeypatch.setattr(Catalog, "ratify", before)
        with pytest.raises(Unavailable, match="connection lost"):
            writer.commit(delta(1, {"s/b": "two"}))
        monkeypatch.setattr(Catalog, "settle", before)
        with pytest.raises(Unknown, match="reads it back"):
            writer.commit(delta(1, {"s/b": "two"}))
        monkeypatch.undo()
        assert writer.commit(delta(1, {"s/b": "two"})) == Committed(2)
    assert world.findings() == []


def test_an_aborted_transaction_is_never_ratified(world: World) -> None:
    """Whoever was taken for dead and wakes up is told so; its commit did not happen."""
    world.create().close()
    catalog = Catalog(world.catalog)

    def reach(point: str) -> None:
        if point == "blobs.put":
            for txn, _ in catalog.open_transactions():
                catalog.settle(txn)

    with world.open(reach) as writer, pytest.raises(Conflict, match="aborted"):
        writer.commit(delta(0, {"s/a": "one"}))
    assert catalog.head() is None


def test_a_writer_of_an_older_epoch_stops(world: World, writer: Writer) -> None:
    """A replica that has seen a newer epoch does not count towards the acknowledgement."""
    writer.commit(delta(0, {"s/a": "one"}))
    lineage = writer.head().lineage
    for store in world.stores().values():
        markers.put(store, markers.epoch_key(2), markers.Epoch(1, lineage, 2, "other"))
    with pytest.raises(Fenced, match="newer epoch"):
        writer.commit(delta(1, {"s/b": "two"}))


def test_a_state_only_commit_has_no_segment(world: World, writer: Writer) -> None:
    """Deletions and failures alone add no vectors."""
    writer.commit(delta(0, {"s/a": "one"}))
    before = writer.head().spaces["default"].segments
    made = delta(1, {"s/b": "x"}, status="failed")
    writer.commit(Delta(1, made.states))
    assert writer.head().spaces["default"].segments == before
    assert np.array_equal([s.status for s in writer.states().scan()], ["indexed", "failed"])
    assert world.findings() == []


def test_a_touched_document_keeps_its_rows(world: World, writer: Writer) -> None:
    """An indexed state without rows moves the version token; the rows that are served stay."""
    made = delta(0, {"s/a": "one two", "s/b": "three"})
    writer.commit(made)
    touched = msgspec.structs.replace(made.states[0], version="later")
    assert writer.commit(Delta(1, [touched])) == Committed(2)
    assert writer.states().find(["s/a"])["s/a"].version == "later"
    assert served(writer.head(), world.stores()) == {"s/a": ["one", "two"], "s/b": ["three"]}
    assert world.findings() == []


def test_a_document_without_rows_that_is_not_served_is_refused(writer: Writer) -> None:
    """Nobody may claim rows that are not there."""
    made = delta(0, {"s/a": "one two"})
    writer.commit(made)
    changed = msgspec.structs.replace(made.states[0], version="later", content="other")
    with pytest.raises(ValueError, match="without rows"):
        writer.commit(Delta(1, [changed]))
    assert writer.head().version == 1
