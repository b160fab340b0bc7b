"""The object store keeps the contract of every store, on a real S3 API."""

from __future__ import annotations

import pytest

from tests.index.s3 import server, store_at  # noqa: F401 - a fixture is used by its name
from tests.suites.store_suite import StoreSuite


@pytest.fixture
def store(server):  # noqa: F811 - the fixture of the import
    return store_at(f"s3://{server.bucket()}/some/prefix", server.environ)


class TestObjectStore(StoreSuite):
    """A prefix of a bucket is a store."""
