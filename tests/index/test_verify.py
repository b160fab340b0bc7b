"""Verify: silent on a whole home, and never silent on damage; it changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from penstock.index import invariants
from penstock.index.types import DocState
from penstock.index.verify import verify
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


def test_an_orphan_blob_is_no_finding(world: World) -> None:
    """A commit may be in flight."""
    for store in world.stores().values():
        store.put_if_absent(f"blobs/ab/{'ab' * 32}.t1", b"somebody is at work")
    assert world.findings() == []


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
