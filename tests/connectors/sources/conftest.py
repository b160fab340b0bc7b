"""What is started once for all tests of sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.index.postgres import Postgres, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of its own; skips where there is none to start."""
    with running() as server:
        yield server
