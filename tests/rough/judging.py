"""What must be true of any run against the rough source, and of the index that it leaves."""

from __future__ import annotations

from pathlib import Path

from penstock.flows.runs.accounting import STATES, Accounting
from penstock.index.reading.reader import Reader
from penstock.index.types import DocState
from tests.fakes.rough.ledger import Ledger
from tests.flows.children import served
from tests.rough.setting import Setting

JITTER = 0.2
"""Seconds by which requests, sent in time, may arrive closer together: two cores, and threads on both sides."""


def within_budget(ledger: Ledger, setting: Setting, why: object = "") -> None:
    """The server never saw more at once than the ceiling, nor more in any time than the rate allows."""
    assert ledger.peak() <= setting.concurrency, (why, ledger.peak())
    if setting.rate is not None:
        assert ledger.beyond(setting.rate) <= 1 + setting.rate * JITTER, (why, ledger.beyond(setting.rate))


def states(home: Path) -> dict[str, DocState]:
    """What the index knows of the source, by uri."""
    with Reader.open(home) as reader:
        return {state.uri: state for state in reader.states("desk")}


def accounted(home: Path, account: Accounting, why: object = "") -> dict[str, DocState]:
    """The account sums, and the index says the same of every document. Returns the states."""
    account.check()
    assert account.listed == sum(getattr(account, state) for state in STATES), (why, account)
    found = states(home)
    by_status = [state.status for state in found.values()]
    assert by_status.count("indexed") == account.indexed + account.unchanged, (why, account)
    assert by_status.count("failed") == account.failed, (why, account)
    assert by_status.count("rejected") == account.rejected, (why, account)
    assert "deleted" not in by_status or account.deleted, (why, account)
    return found


def whole(found: dict[str, DocState]) -> set[str]:
    return {uri for uri, state in found.items() if state.status == "indexed"}


def same(home: Path, clean: Path, why: object = "") -> None:
    """Same documents, contents, versions and states; same chunks; same hits with the same scores."""
    mine, theirs = _facts(home), _facts(clean)
    other = {uri: (mine.get(uri), theirs.get(uri)) for uri in mine | theirs if mine.get(uri) != theirs.get(uri)}
    assert not other, (why, other)
    assert served(home) == served(clean), why


def _facts(home: Path) -> dict[str, tuple[str, str, str, int, str]]:
    return {
        uri: (state.status, state.version, state.content, state.chunks, state.reason)
        for uri, state in states(home).items()
    }


def delivered_name(uri: str) -> str:
    """What the ledger calls the body of a document."""
    tail = uri.removeprefix("desk/items/")
    number, _, attachment = tail.partition("/attachments/")
    return f"files/{attachment.split('-', 2)[2]}" if attachment else f"items/{number}"
