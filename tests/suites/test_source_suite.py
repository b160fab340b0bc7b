"""The contract suite passes a source that keeps the contract, and each promise that is broken fails its check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites.changes_suite import ChangesSuite
from tests.suites.shelf import ShelfBench
from tests.suites.source_suite import SourceSuite

BROKEN = {
    "twice": "test_everything_is_listed_once",
    "short": "test_a_listing_that_is_cut_once_resumes_or_raises",
    "constant": "test_a_version_changes_with_the_content_and_only_then",
    "flapping": "test_what_did_not_change_is_listed_as_before",
    "eager": "test_a_listing_is_lazy",
    "offset": "test_what_shifts_while_it_is_listed_loses_nothing",
    "empty when lost": "test_a_place_that_is_gone_is_not_an_empty_one",
    "wrong class": "test_refused_credentials_stop_the_source",
    "secret in a cause": "test_the_secret_is_never_seen",
    "listed token": "test_a_fetch_gives_the_token_of_exactly_its_bytes",
    "not missing": "test_an_item_that_is_gone_is_said_to_be_missing",
    "one file": "test_temporary_files_lie_in_the_scratch_folder",
    "no permit": "test_every_request_has_its_permit",
    "late mark": "test_what_changes_while_it_is_listed_is_in_the_feed",
    "mark passes over": "test_what_changes_while_the_feed_is_read_is_in_the_next",
    "gone again": "test_gone_is_said_only_of_what_is_gone",
}


class TestShelf(ChangesSuite):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> ShelfBench:
        return ShelfBench(tmp_path)


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_promise_is_found(tmp_path: Path, defect: str) -> None:
    """By the check that is named for it."""
    bench = ShelfBench(tmp_path, defect)
    arguments = ("gone",) if defect == "offset" else ()
    with pytest.raises(BaseException) as found:  # an assertion, or what the broken source raises
        getattr(ChangesSuite(), BROKEN[defect])(bench, *arguments)
    assert not isinstance(found.value, KeyboardInterrupt | NotImplementedError | AttributeError | TypeError)


def test_an_exception_from_the_contract_names_a_check() -> None:
    """One that names none is refused, so that a renamed check is not lost."""

    class Misspelt(SourceSuite):
        CANNOT = {"test_that_is_none": "it is misspelt", "test_opening_asks_nobody": "it is one"}

    assert Misspelt().misnamed() == ["test_that_is_none"]
