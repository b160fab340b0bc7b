"""A connector's own faults cost a document or a listing, and what it gives is what it promised."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.types import Fetched, Gap, Gone, Incremental, Item, Mark, RejectItem, RetryLater, StopSource
from penstock.flows.sources.contained import held_to_contract

ITEM = Item("s/a", "a", "1")


class Odd:
    """Gives what it is told to give; an exception is raised."""

    name = "s"

    def __init__(self, entries: list[Any], fetched: Any = None) -> None:
        self.entries, self.fetched = entries, fetched

    def list(self) -> Iterator[Any]:
        for entry in self.entries:
            yield given(entry)

    def fetch(self, item: Item) -> Any:
        return given(self.fetched)


class OddFeed(Odd):
    def changes(self, cursor: str) -> Iterator[Any]:
        return self.list()


def given(what: Any) -> Any:
    if isinstance(what, Exception):
        raise what
    return what


@pytest.mark.parametrize(
    "wrong",
    [
        ValueError("no\nidea"),
        FileNotFoundError("its cache"),
        KeyError("id"),
        None,
        {"uri": "s/a"},
        Item("other/a", "a", "1"),
        Item("s/a", "a", ""),
        Item("s/a", 7, "1"),  # type: ignore[arg-type]
        Item("s/\ud800", "a", "1"),
        Gone("a"),
        Mark(7),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("listed", [lambda s: s.list(), lambda s: s.changes("1")])
def test_a_listing_that_breaks_its_contract_stops_the_source(wrong: object, listed: Callable[[Any], Any]) -> None:
    """One plain line, whatever it was; what came before it is none of a complete listing."""
    source = held_to_contract(OddFeed([ITEM, wrong]), "s")
    with pytest.raises(StopSource, match="connector of s failed at its listing") as caught:
        list(listed(source))
    assert "\n" not in str(caught.value)


def test_what_keeps_the_contract_passes() -> None:
    """Entries as they are, errors of ours as they are; a source has a feed only if it has one."""
    entries = [ITEM, Gap("s/b", "not now"), Mark("7")]
    assert list(held_to_contract(Odd(entries), "s").list()) == entries
    with pytest.raises(RetryLater):
        list(held_to_contract(Odd([RetryLater("later")]), "s").list())
    assert isinstance(held_to_contract(OddFeed([]), "s"), Incremental)
    assert not isinstance(held_to_contract(Odd([]), "s"), Incremental)


@pytest.mark.parametrize("wrong", [ValueError("no idea"), OSError("what"), None, "a path", Fetched("a", "a")])  # type: ignore[arg-type]
def test_a_fetch_that_breaks_its_contract_costs_one_document(wrong: object) -> None:
    """It failed for a reason that has a name."""
    with pytest.raises(RetryLater, match="tell whoever made it") as caught:
        held_to_contract(Odd([], wrong), "s").fetch(ITEM)
    assert caught.value.reason == "connector_failed"


@pytest.mark.parametrize("ours", [RejectItem("no", reason="too_large"), FileNotFoundError("a"), StopSource("no")])
def test_errors_that_a_run_knows_pass(ours: Exception) -> None:
    """They mean what they say."""
    with pytest.raises(type(ours)):
        held_to_contract(Odd([], ours), "s").fetch(ITEM)


def test_a_full_disk_is_no_fault_of_a_connector() -> None:
    """The run must end on it."""
    with pytest.raises(OSError, match="full") as caught:
        held_to_contract(Odd([], OSError(errno.ENOSPC, "full")), "s").fetch(ITEM)
    assert caught.value.errno == errno.ENOSPC


def test_a_file_whose_description_is_wrong_is_not_left(tmp_path: Path) -> None:
    """Metadata of another type would make rows that nobody can read."""
    path = tmp_path / "a"
    path.write_text("text")
    with pytest.raises(RetryLater):
        held_to_contract(Odd([], Fetched(path, "a", "1", temporary=True, metadata={"n": 7})), "s").fetch(ITEM)  # type: ignore[dict-item]
    assert not path.exists()


def test_what_utf8_cannot_carry_is_replaced(tmp_path: Path) -> None:
    """Half a pair of surrogates in a title is no reason to lose a document."""
    said = Fetched(tmp_path, "a", "1", title="a\ud800", metadata={"k": "\udfff"}, labels=("\ud800",))
    fetched = held_to_contract(Odd([], said), "s").fetch(ITEM)
    assert (fetched.title, fetched.metadata, fetched.labels) == ("a?", {"k": "?"}, ("?",))
