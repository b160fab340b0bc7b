"""The contract of sources, for wikis, rendered and as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connectors.sources.wiki import WikiBench
from tests.fakes.mediawiki import FakeWiki
from tests.suites.changes_suite import ChangesSuite


class TestRendered(ChangesSuite):
    CANNOT = {
        "test_a_part_that_cannot_be_listed_is_never_silent": "a wiki does not list a page that it hides",
        "test_a_version_changes_with_who_may_read_it": "a wiki gives no labels",
    }

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[WikiBench]:
        with FakeWiki(token=WikiBench.secret) as wiki:
            yield WikiBench(tmp_path, wiki, "html")


class TestWritten(ChangesSuite):
    CANNOT = {
        **TestRendered.CANNOT,
        "test_faults_of_one_item_are_errors_by_what_to_do_next": "they are those of a rendered page",
    }

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[WikiBench]:
        with FakeWiki(token=WikiBench.secret) as wiki:
            yield WikiBench(tmp_path, wiki, "wikitext")
