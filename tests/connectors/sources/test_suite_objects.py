"""The contract of sources, for buckets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connectors.sources.bucket import BucketBench
from tests.index.s3 import S3Server, server  # noqa: F401 - a fixture
from tests.suites.source_suite import SourceSuite


class TestObjects(SourceSuite):
    CANNOT = {
        "test_a_part_that_cannot_be_listed_is_never_silent": "a bucket is listed as a whole",
        "test_a_version_changes_with_the_metadata": "no metadata of an object are carried",
        "test_a_version_changes_with_who_may_read_it": "buckets give no labels",
    }

    @pytest.fixture
    def bench(self, tmp_path: Path, server: S3Server) -> Iterator[BucketBench]:  # noqa: F811
        with contextlib.ExitStack() as stack:
            yield BucketBench(tmp_path, server, stack)
