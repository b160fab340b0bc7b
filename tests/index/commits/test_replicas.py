"""The replica set: quorum, read-back, order of publication, and copies that are checked."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from penstock.index.blobs import blob
from penstock.index.catalog.catalog import Ratified
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.crew import Sequential
from penstock.index.commits.replicas import Quorum, Replicas, check_quorum
from penstock.index.errors import Corrupt, Fenced, NoSpace, Unavailable, WrongIndex
from penstock.index.stores.store import LocalStore
from penstock.index.types import BlobRef, Manifest, Member, Membership


class Set:
    """Three stores below `root`, and versions 1 to 3 whose manifests lie on all of them."""

    def __init__(self, root: Path) -> None:
        tokens = itertools.count()
        self.root = root
        self.stores = {n: LocalStore.create(root / n, token=lambda: f"t{next(tokens)}") for n in "012"}
        self.reports: list[str] = []
        self.set = Replicas(
            self.stores,
            [Quorum(frozenset("012"), 2)],
            "lineage",
            (1, "id"),
            crew=Sequential(),
            admit=lambda name, store: None,
            scratch=root / "scratch",
            report=self.reports.append,
            reach=lambda _: None,
        )
        manifest = manifests.empty("lineage", 1, Membership(tuple(Member(n, n) for n in "012"), 2))
        self.decided: list[Ratified] = []
        for version in (1, 2, 3):
            ref, path = self.sealed(manifest, version)
            self.set.put_blobs([(ref, path)])
            self.decided.append(Ratified(version, 1, "id", f"x{version}", ref, float(version)))

    def sealed(self, manifest: Manifest, version: int) -> tuple[BlobRef, Path]:
        path = self.root / f"m{version}"
        path.write_bytes(manifests.encode(manifest))
        return blob.seal(path, f"x{version}"), path

    def since(self, version: int) -> list[Ratified]:
        return self.decided[version:]

    def publish(self) -> None:
        self.set.publish(self.since, self.decided[-1])


@pytest.fixture
def three(tmp_path: Path) -> Set:
    return Set(tmp_path)


@pytest.mark.parametrize(("replicas", "quorum"), [(1, 0), (2, 1), (4, 2), (2, 3)])
def test_a_quorum_that_is_no_majority_is_refused(replicas: int, quorum: int) -> None:
    """Two write quorums must share a replica, and all replicas must be enough."""
    with pytest.raises(ValueError, match="more than half"):
        check_quorum(replicas, quorum)


@pytest.mark.parametrize(("replicas", "quorum"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_a_majority_is_accepted(replicas: int, quorum: int) -> None:
    """Any two of them meet."""
    check_quorum(replicas, quorum)


def test_publishing_is_in_order_and_may_be_repeated(three: Set) -> None:
    """Every version from the first, each once, the same bytes everywhere."""
    three.publish()
    three.publish()
    for store in three.stores.values():
        assert log.entries(store) == [(1, 1), (2, 1), (3, 1)]
    keys = [log.key(v, 1) for v in (1, 2, 3)]
    assert all(len({s.get(key) for s in three.stores.values()}) == 1 for key in keys)


def test_a_version_is_not_published_without_its_closure(three: Set) -> None:
    """A blob that no replica has keeps the version, and those after it, from being published."""
    for store in three.stores.values():
        store.delete(blob.key(three.decided[1].ref))
    with pytest.raises((Unavailable, Corrupt)):
        three.publish()
    assert all(log.entries(store) == [(1, 1)] for store in three.stores.values())


def test_a_missing_blob_is_copied_from_a_replica_whose_copy_is_whole(three: Set) -> None:
    """A damaged copy is passed over, and said."""
    key = blob.key(three.decided[0].ref)
    three.stores["2"].delete(key)
    path = three.stores["0"].local_path(key)
    assert path is not None
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    three.publish()
    blob.check(three.stores["2"].get(key), three.decided[0].ref)
    assert any("0" in line for line in three.reports)


def test_a_put_that_does_not_read_back_does_not_count(three: Set, tmp_path: Path) -> None:
    """Two replicas that hold something else under the name leave one: too few."""
    (tmp_path / "new").write_bytes(b"content")
    ref = blob.seal(tmp_path / "new", "x9")
    for n in "01":
        three.stores[n].put_if_absent(blob.key(ref), b"something else")
    with pytest.raises(Unavailable, match="only 1 of 3"):
        three.set.put_blobs([(ref, tmp_path / "new")])


def test_a_full_disk_is_named_as_such(three: Set, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unavailable because of space is its own error: make room, run again."""

    def full(self: LocalStore, key: str, data: object) -> bool:
        raise NoSpace(f"{self.root}: the disk is full; make room and run again")

    (tmp_path / "new").write_bytes(b"content")
    ref = blob.seal(tmp_path / "new", "x9")
    monkeypatch.setattr(LocalStore, "put_if_absent", full)
    with pytest.raises(NoSpace, match="make room"):
        three.set.put_blobs([(ref, tmp_path / "new")])


def test_another_record_under_the_name_is_no_acknowledgement(three: Set) -> None:
    """A taken name is read back and compared, never assumed to be ours."""
    for n in "01":
        three.stores[n].put_if_absent(log.key(2, 1), b"not ours")
    with pytest.raises(Unavailable, match="only 1 of 3"):
        three.publish()


def test_a_replica_that_saw_a_newer_epoch_does_not_acknowledge(three: Set) -> None:
    """One of three may; two fence the writer."""
    newer = markers.Epoch(1, "lineage", 2, "other")
    markers.put(three.stores["0"], markers.epoch_key(2), newer)
    three.publish()
    markers.put(three.stores["1"], markers.epoch_key(2), newer)
    with pytest.raises(Fenced, match="open the index anew"):
        three.publish()


def test_a_marker_is_put_once(three: Set) -> None:
    """The same again is fine; another one is refused and changes nothing."""
    store, mine = three.stores["0"], markers.Marker(1, "lineage", "0", "a")
    assert markers.replica(store) is None and markers.highest(store) is None
    markers.put(store, markers.REPLICA, mine)
    markers.put(store, markers.REPLICA, mine)
    with pytest.raises(WrongIndex, match="another index"):
        markers.put(store, markers.REPLICA, markers.Marker(1, "other", "0", "a"))
    assert markers.replica(store) == mine
