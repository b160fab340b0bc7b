"""Restoring one version out of DR stores into fresh replicas: whole, verified, resumable, as a new lineage."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.index.recovery.archive import Archive
from tests.index.recovery.shipped import (
    Fresh,
    archive,
    content,
    index,
    manifest_at,
    same_but_lineage,
    ship,
)
from tests.index.world import World, delta


@pytest.fixture
def old(tmp_path: Path) -> World:
    return index(tmp_path / "old")


@pytest.fixture
def dr(tmp_path: Path, old: World) -> Archive:
    made = archive(tmp_path / "dr")
    ship(old.stores()["0"], made)
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    return Fresh(tmp_path / "new")


def test_a_restored_index_answers_as_the_old_one_did(old: World, dr: Archive, fresh: Fresh) -> None:
    """The same rows with the same scores, nothing to be found wrong, and versions go on counting."""
    doing = fresh.restore(dr)
    assert content(fresh.world.root) == content(old.root)
    assert fresh.world.findings() == []
    assert (doing.progress.version, doing.progress.now) == (3, 4)


def test_it_is_a_new_lineage_and_can_be_written(old: World, dr: Archive, fresh: Fresh) -> None:
    """Content, cursors and blob names stay; lineage, membership and what follows are its own."""
    doing = fresh.restore(dr)
    with fresh.world.open() as writer:
        head = writer.head()
        assert head.lineage == doing.progress.lineage != doing.progress.was
        assert same_but_lineage(head, manifest_at(dr, 3))
        assert head.committed_at > manifest_at(dr, 3).committed_at
        assert writer.commit(delta(4, {"s/new": "one"})).version == 5
    assert fresh.world.findings() == []
