"""What a source says passes one door before it is kept or shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connectors.http.redaction import Redactor
from penstock.connectors.types import Fetched, Gap, Incremental, Item, Mark, RejectItem, RetryLater, StopSource
from penstock.flows.sources.guarded import guarded

ITEM = Item("crm/1", "1", "v")


class Echo:
    """A source whose server writes back what it was asked with."""

    name = "crm"

    def list(self) -> Iterator[Item | Gap | Mark]:
        yield ITEM
        yield Gap("crm/", "it answers: token hush-hush is bad")
        raise RetryLater("hush-hush is busy", 3.0, reason="throttled")

    def fetch(self, item: Item) -> Fetched:
        match item.locator:
            case "1":
                return Fetched(Path("/x"), "x", url="https://crm.example/1?key=hush-hush", title="hush-hush")
            case "gone":
                raise FileNotFoundError("hush-hush is gone")
            case _:
                raise RejectItem("hush-hush is too large", reason="too_large")


class Feed(Echo):
    def changes(self, cursor: str) -> Iterator[Item | Gap | Mark]:
        raise StopSource("no entry for hush-hush", after=5)
        yield


@pytest.fixture
def redactor() -> Redactor:
    known = Redactor()
    known.learn("hush-hush")
    return known


def test_errors_and_gaps_hold_no_secret(redactor: Redactor) -> None:
    """Their kind, reason and wait stay: the account and the next run go by them."""
    entries = guarded(Echo(), redactor).list()
    assert next(entries) is ITEM
    assert next(entries) == Gap("crm/", "it answers: token *** is bad")
    with pytest.raises(RetryLater, match=r"\*\*\* is busy") as busy:
        next(entries)
    assert (busy.value.after, busy.value.reason) == (3.0, "throttled")


def test_what_cannot_be_fetched_is_told_without_a_secret(redactor: Redactor) -> None:
    """These words go into the index."""
    source = guarded(Echo(), redactor)
    with pytest.raises(FileNotFoundError, match=r"^\*\*\* is gone$"):
        source.fetch(Item("crm/2", "gone", "v"))
    with pytest.raises(RejectItem, match=r"^\*\*\* is too large$"):
        source.fetch(Item("crm/3", "large", "v"))


def test_an_address_holds_no_key(redactor: Redactor) -> None:
    """APIs write the key that they were asked with into their links; what a document says is its own."""
    fetched = guarded(Echo(), redactor).fetch(ITEM)
    assert (fetched.url, fetched.title) == ("https://crm.example/1?key=***", "hush-hush")


def test_only_a_source_with_a_feed_has_one(redactor: Redactor) -> None:
    """And its errors are cleaned as well."""
    assert not isinstance(guarded(Echo(), redactor), Incremental)
    feed = guarded(Feed(), redactor)
    assert isinstance(feed, Incremental)
    with pytest.raises(StopSource, match=r"no entry for \*\*\*"):
        list(feed.changes(""))
