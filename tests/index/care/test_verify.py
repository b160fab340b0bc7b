"""Verify: silent on a whole home, and never silent on damage; it changes nothing."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from penstock.index.care import collect, invariants
from penstock.index.care.verify import verify
from penstock.index.catalog.catalog import Catalog
from penstock.index.errors import Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import DocState, Finding, Manifest, SegmentRef, SpaceRef
from tests.index.world import World, delta


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("verify")
    with World(home).create() as writer:
        writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
        writer.commit(delta(1, {"s/a": "uno", "s/c": None, "s/d": "four"}))
        writer.commit(delta(2, {"s/b": "x", "s/e": "y"}, status="failed"))
    return home


@pytest.fixture
def world(made: Path, tmp_path: Path) -> World:
    shutil.copytree(made, tmp_path / "home")
    return World(tmp_path / "home")


def test_a_whole_home_has_no_findings_and_progress_is_told(world: World) -> None:
    """Also without a catalog: the replicas alone are enough to check them."""
    seen: list[tuple[str, int, int]] = []
    stores = list(world.stores().values())
    assert verify(stores, world.catalog, report_progress=lambda *step: seen.append(step)) == []
    assert verify(stores, None, report_progress=lambda *_: None) == []
    assert seen[-1][1] == seen[-1][2] > 0


def files(world: World) -> list[Path]:
    return sorted(p for p in (world.root / "replicas").rglob("*") if p.is_file() and p.parent.name != "tmp")


@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_damage_to_any_file_of_a_replica_is_found(world: World, how: str) -> None:
    """Every file counts: markers, epochs, log records, blobs."""
    rng = random.Random(7)
    for path in files(world):
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        match how:
            case "flip":
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
            case "cut":
                path.write_bytes(whole[:at])
            case "delete":
                path.unlink()
        found = world.findings()
        assert found, f"{how} of {path.relative_to(world.root)} was not noticed"
        path.write_bytes(whole)
    assert world.findings() == []


def test_verify_changes_nothing(world: World) -> None:
    """Not on damage either."""
    files(world)[0].unlink()
    before = {path: path.read_bytes() for path in files(world)}
    assert world.findings()
    assert {path: path.read_bytes() for path in files(world)} == before


def test_a_catalog_that_is_behind_ahead_or_gone_is_found(world: World) -> None:
    """The catalog's head is the published head."""
    catalog = world.root / "catalog.db"
    catalog.rename(world.root / "aside.db")
    assert any("catalog" in line for line in world.findings())
    assert not catalog.exists()
    (world.root / "aside.db").rename(catalog)
    for log in (world.root / "replicas").glob("*/log/000000000003*"):
        log.unlink()
    assert any("decided version 3, the replicas publish version 2" in line for line in world.findings())


def test_a_replica_that_is_away_is_one_finding(world: World) -> None:
    """Not one for each blob that it would hold."""
    world.folder("1").rename(world.root / "away")
    (line,) = world.findings()
    assert "replicas/1" in line and "not there" in line


class Leaving:
    """A store that answers so many times, and then fails each time, saying so with its name first."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store, self._left, self.name, self.refused = store, calls, store.name, 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not hasattr(self._store, name):
            raise AttributeError(name)

        def call(*arguments: object) -> object:
            self._left -= 1
            if self._left < 0:
                self.refused += 1
                raise Unavailable(f"{self.name}: cannot list: no answer")
            return getattr(self._store, name)(*arguments)

        return call


def leaving(world: World, calls: int) -> list[Leaving]:
    stores = [Leaving(store, calls) for store in world.stores().values()]
    world.wrap = lambda name, _: stores[int(name)]  # type: ignore[assignment,return-value]
    return stores


def test_while_all_replicas_are_away_nothing_is_said_of_what_they_hold(world: World) -> None:
    """A line for each, which names it once, and one that nothing was checked; each is asked, and waited for, once."""
    stores = leaving(world, 0)
    lines = found(world)
    assert [(line.where, line.what) for line in lines[:-1]] == [(it.name, "cannot list: no answer") for it in stores]
    assert {line.kind for line in lines} == {"unreachable"} and "nothing could be checked" in lines[-1].what
    assert [store.refused for store in stores] == [1, 1]


def test_replicas_that_go_away_meanwhile_are_not_damaged(world: World) -> None:
    """Whenever it is: a walk that is cut short is no reason to embed anything again."""
    for calls in range(0, 200, 4):
        world.wrap = lambda _, store: store
        leaving(world, calls)
        if not (lines := found(world)):
            break
        assert {line.kind for line in lines} == {"unreachable"}, calls
    assert calls > 40 and not lines


def test_a_catalog_that_does_not_answer_is_not_to_be_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repair would need it, too; one that is gone repair makes again."""

    def silent(_: Catalog) -> None:
        raise Unavailable("catalog postgresql://h/d cannot be used (connection refused): see that it runs")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "meta", silent)
        (line,) = found(world)
    assert line.what.startswith("postgresql://h/d cannot") and "answers" in line.remedy and "repair" not in line.remedy
    (world.root / "catalog.db").unlink()
    assert "penstock repair" in found(world)[0].remedy


def test_an_orphan_blob_is_no_finding(world: World) -> None:
    """A commit may be in flight."""
    for store in world.stores().values():
        store.put_if_absent(f"blobs/ab/{'ab' * 32}.t1", b"somebody is at work")
    assert world.findings() == []


def found(world: World, **more: object) -> list[Finding]:
    return verify(world.stores(), world.catalog, report_progress=lambda *_: None, **more)  # type: ignore[arg-type]


def test_each_replica_is_the_one_that_is_configured(world: World) -> None:
    """Two directories that were swapped hold the same, and are still in each other's place."""
    world.folder("0").rename(world.root / "aside")
    world.folder("1").rename(world.folder("0"))
    (world.root / "aside").rename(world.folder("1"))
    assert {(f.kind, f.what) for f in found(world)} == {
        ("foreign", "it is replica 1, not 0"),
        ("foreign", "it is replica 0, not 1"),
    }


def test_a_replica_of_an_older_epoch_is_found(world: World) -> None:
    """It was away when the catalog was made again: its marker is not the present one."""
    world.folder("1").rename(world.root / "away")
    (world.root / "catalog.db").unlink()
    world.write_quorum = 2
    with world.open() as writer:
        writer.commit(delta(writer.head().version, {"s/new": "n"}))
    shutil.rmtree(world.folder("1"))
    (world.root / "away").rename(world.folder("1"))
    what = {f.what for f in found(world) if f.where == world.stores()["1"].name}
    assert "it lacks the marker of the present epoch" in what
    assert any("its log lacks version" in line for line in what)


def test_a_catalog_that_decided_otherwise_is_found(world: World) -> None:
    """Its rows are compared with the published records, not only its newest number."""
    catalog = Catalog(world.catalog)
    meta, rows = catalog.meta(), catalog.since(0)
    assert meta is not None
    catalog.rebuild(meta, [rows[0], replace(rows[1], txn="another"), rows[2]], 0)
    assert [f.what for f in found(world)] == ["its version 2 is not what the replicas publish"]


def test_a_store_of_another_index_is_one_finding(world: World, tmp_path: Path) -> None:
    """Not one for each blob that it lacks; nor is a folder of other things looked at as a replica."""
    other = World(tmp_path / "other")
    other.create().close()
    shutil.rmtree(world.folder("1"))
    shutil.copytree(other.folder("1"), world.folder("1"))
    assert [f.kind for f in found(world)] == ["foreign"]
    shutil.rmtree(world.folder("1"))
    (world.folder("1") / "pictures").mkdir(parents=True)
    (world.folder("1") / "pictures" / "a.jpg").touch()
    assert [f.kind for f in found(world)] == ["foreign"]


def test_versions_that_expired_are_not_missed(world: World) -> None:
    """Neither their records nor their blobs; that one replica was not told is a finding."""
    with world.open() as writer:
        collect.collect(writer, collect.Retention(1, 0.0), now=1e9)
    assert found(world) == []
    shutil.rmtree(world.folder("0") / "floors")
    assert [f.what for f in found(world)] == ["it lacks the marker that version 2 has expired"]


def test_what_a_newer_penstock_wrote_is_said_and_left_alone(world: World) -> None:
    """It is no damage: the remedy is to upgrade."""
    path = world.folder("0") / "replica.json"
    body = path.read_bytes().split(b"\n")[0].replace(b'"format":1', b'"format":99')
    path.write_bytes(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
    (finding,) = found(world)
    assert "format 99" in finding.what and finding.remedy == "upgrade penstock"


def test_reading_keeps_to_the_rate_that_is_given(world: World) -> None:
    """All bytes of all blobs, a thousand a second."""
    naps: list[float] = []
    found(world, rate_bytes=1000, clock=lambda: sum(naps), sleep=naps.append)
    blobs = sum(path.stat().st_size for path in files(world) if path.parent.parent.name == "blobs")
    assert sum(naps) == pytest.approx(blobs / 1000)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda head: {"counts": {**head.counts, "chunks": 7}}, "counts say 7 chunks"),
        (lambda head: {"state": head.state[:-1]}, "no document state"),
        (lambda head: {"texts": (msgspec.structs.replace(head.texts[0], count=9), *head.texts[1:])}, "run of 9"),
        (lambda head: {"spaces": spoiled(head, count=9)}, "9"),
        (lambda head: {"spaces": spoiled(head, tokens=9)}, "says 9 tokens"),
        (lambda head: {"spaces": spoiled(head, dead_count=0)}, "says 0 dead rows"),
        (lambda head: {"spaces": spoiled(head, dead=None, dead_count=0)}, "live vectors"),
        (lambda head: {"spaces": spoiled(head, docs=other(head).docs)}, "table of documents"),
        (lambda head: {"spaces": spoiled(head, facets=other(head).facets)}, "facets are not"),
        (
            lambda head: {"spaces": {"default": msgspec.structs.replace(head.spaces["default"], dim=9)}},
            "in a space of 9",
        ),
    ],
)
def test_a_version_that_contradicts_itself_is_found(
    world: World, spoil: Callable[[Manifest], dict[str, object]], says: str
) -> None:
    """Each blob is whole, and what they say together cannot be: only a bug could do that, and it is seen."""
    with world.open() as writer:
        writer.advance(lambda attempt: attempt.next(**spoil(attempt.head)))
    lines = found(world)
    assert {line.kind for line in lines} == {"documents"} and any(says in line.what for line in lines)


def spoiled(head: Manifest, **changes: object) -> dict[str, SpaceRef]:
    """The first segment, changed."""
    space = head.spaces["default"]
    first = msgspec.structs.replace(space.segments[0], **changes)
    return {"default": msgspec.structs.replace(space, segments=(first, *space.segments[1:]))}


def other(head: Manifest) -> SegmentRef:
    return head.spaces["default"].segments[1]


STATE = DocState("u", "s", "indexed", chunks=2)


@pytest.mark.parametrize(
    ("state", "live", "says"),
    [
        (STATE, {}, "2 chunks and has 0 live"),
        (STATE, {"u": [(1, 2)]}, "has 1 live"),
        (STATE, {"u": [(1, 1), (1, 1)]}, "in parts"),
        (STATE, {"u": [(2, 3)]}, "in parts"),
        (STATE, {"u": [(2, 2)], "ghost": [(1, 1)]}, "ghost has 1 live vectors and no document state"),
        (msgspec.structs.replace(STATE, status="rejected"), {"u": [(2, 2)]}, "is rejected and has 2"),
    ],
)
def test_state_and_vectors_that_disagree_are_named(
    state: DocState, live: dict[str, list[tuple[int, int]]], says: str
) -> None:
    """Half a document, two versions of one, and one back from the dead each have a line."""
    assert any(says in line for line in invariants.wrong_documents([state], live))


def test_state_and_vectors_that_agree_are_not() -> None:
    """A failed document may serve its older version."""
    failed = DocState("f", "s", "failed", chunks=1)
    assert not list(invariants.wrong_documents([STATE, failed], {"u": [(2, 2)], "f": [(1, 1)]}))
