"""An index of three versions and the DR store that it was shipped to: made once, and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.index.recovery.archive import Archive
from tests.index.recovery.shipped import archive, index, ship
from tests.index.world import World


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    root = tmp_path_factory.mktemp("shipped")
    ship(index(root / "old").stores()["0"], archive(root / "dr"))
    return root


@pytest.fixture
def old(once: Path, tmp_path: Path) -> World:
    """The index that was shipped."""
    shutil.copytree(once / "old", tmp_path / "old")
    return World(tmp_path / "old")


@pytest.fixture
def dr(once: Path, tmp_path: Path) -> Archive:
    """Where it was shipped to."""
    shutil.copytree(once / "dr", tmp_path / "dr")
    return archive(tmp_path / "dr")
