"""One reading of a list, from its first page to its last, and whether it held still meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from penstock.connectors.sources.rest.api import Api, shown
from penstock.connectors.sources.rest.fields import every, first, is_set, scalar, text_of
from penstock.connectors.sources.rest.options import Collection, Part
from penstock.connectors.sources.rest.paging import Ask, Page, following, opening, shifts
from penstock.connectors.sources.rest.paging_options import Paging
from penstock.connectors.types import RejectItem, RetryLater, StopSource

_MOST_STERILE = 20
"""Pages in a row without anything new, where cursors are followed: filtered lists may have a few."""

_MOST_OVERLAP = 10
_MOST_PART_PAGES = 1000


class Came(NamedTuple):
    """A page: what was asked for, its objects, and how many there are in all (None if it does not say)."""

    ask: Ask
    rows: list[Any]
    total: int | None


class Reading:
    """Goes through a collection once. `trouble` says in the end why what was read may not be all; "" if it is all."""

    def __init__(self, api: Api, collection: Collection, extra: Mapping[str, str | int] | None = None) -> None:
        """`extra`: parameters beside those of the configuration, which they replace."""
        self._api = api
        self._collection = collection
        self._params = {**collection.params, **(extra or {})}
        self._ids: set[str] = set()
        self._totals: set[int] = set()
        self._shifts = shifts(collection.paging)
        self._last: list[str] = []
        self.trouble = ""
        self.nameless = 0
        """Objects without an id."""
        self.counts = False
        """Whether pages were found by counting, and nothing else tells whether the list held still."""

    def objects(self) -> Iterator[tuple[str, Any]]:
        """(id, object), page by page, each id once. Raises `RetryLater` and `StopSource`."""
        sterile = 0
        for number, came in enumerate(self._pages(), start=1):
            self.counts = self.counts or came.ask.counts
            if came.total is not None:
                self._totals.add(came.total)
            before = len(self._ids) + self.nameless
            yield from self._fresh(came, number)
            sterile = sterile + 1 if len(self._ids) + self.nameless == before else 0
            if (sterile and len(came.rows) > came.ask.overlap and self._shifts) or sterile > _MOST_STERILE:
                self.trouble = f"page {number} holds nothing new: the list shifts, or the API pages in another way"
                return
        self._judge()

    def agrees(self, other: Reading | None) -> bool:
        """Whether both found the same ids."""
        return other is not None and self._ids == other._ids and self.nameless == other.nameless

    def _fresh(self, came: Came, number: int) -> Iterator[tuple[str, Any]]:
        names = [scalar(first(row, self._collection.id)) for row in came.rows]
        again = came.ask.overlap
        if again and names[:again] != self._last[-again:]:
            self.trouble = f"page {number} does not begin where the one before ended: the list shifts while it is read"
            again = 0
        self._last = names[-_MOST_OVERLAP:]
        for name, row in zip(names[again:], came.rows[again:], strict=True):
            if not name:
                self.nameless += 1
            elif name not in self._ids:
                self._ids.add(name)
                yield name, row
            elif self._shifts or came.ask.counts:
                self.trouble = f"page {number} repeats what an earlier one held: the list shifts while it is read"

    def _judge(self) -> None:
        came = len(self._ids) + self.nameless
        if len(self._totals) > 1:
            self.trouble = f"the total changed from {min(self._totals)} to {max(self._totals)} while it was read"
        elif self._totals and came < max(self._totals):
            self.trouble = f"{came} came of the {max(self._totals)} that there are said to be"

    def _pages(self) -> Iterator[Came]:
        collection = self._collection
        try:
            yield from pages(self._api, collection, collection.path, collection.items, self._params, collection.paging)
        except FileNotFoundError as error:
            if self._last:
                what = "a later page is not there (404): if the API ends its lists so, give the path of their total"
                raise RetryLater(f"{collection.name}: {what}", reason="server_error") from error
            raise StopSource(f"{error} (404): check url, and list of the collection {collection.name}") from error


def pages(
    api: Api,
    collection: Collection,
    path: str,
    items: str,
    params: Mapping[str, str | int],
    paging: Paging,
    *,
    part: bool = False,
) -> Iterator[Came]:
    """Every page. Raises as `Api.get` does, and `StopSource` for a next page that cannot be."""
    ask: Ask | None = opening(paging, api.url(path), dict(params))
    asked: set[tuple[object, ...]] = set()
    so_far = 0
    while ask is not None:
        if not api.ours(ask.url):
            what = "the next page" if ask.given else "list"
            raise StopSource(f"{what} leads to another place ({shown(ask.url)}), which is not followed: check url")
        if ask.key in asked:
            raise StopSource(f"the next page after page {len(asked)} is one that was read before: check paging")
        asked.add(ask.key)
        reply, body = api.get(ask.url, ask.params, lambda body: checked(body, collection, items, part), one_item=part)
        rows = first(body, items)
        total = _whole(first(body, collection.total)) if collection.total else None
        new = max(0, len(rows) - ask.overlap)
        so_far += new
        yield Came(ask, rows, total)
        link = reply.headers.get("link", "")
        ask = following(paging, ask, Page(len(asked), reply.url, link, body, new, so_far, total))


def part_of(api: Api, collection: Collection, part: Part, path: str, limit: int) -> list[Any]:
    """Everything that a part of a document lists. Raises `RejectItem` beyond `limit` characters, else as `pages`."""
    found: list[Any] = []
    last: list[Any] = []
    size = 0
    paging = part.paging or collection.paging
    for number, came in enumerate(pages(api, collection, path, part.items, part.params, paging, part=True)):
        rows = came.rows[came.ask.overlap :]
        if rows == last or not rows:
            break  # also where the API does not page, and gave everything at first
        found += rows
        size += sum(len(text_of(row)) for row in rows)
        if size > limit or number == _MOST_PART_PAGES:
            raise RejectItem(f"its parts are longer than {limit} characters, or endless", reason="too_large")
        last = rows
    return found


def checked(body: Any, collection: Collection, items: str, part: bool = False) -> Any:
    """The answer, if it is a list of this kind. Raises `RetryLater`: it may be right the next time."""
    refuse_error(body, collection)
    if not isinstance(first(body, items), list):
        has = (
            ", ".join(sorted(text_of(key)[:30] for key in body)[:8]) if isinstance(body, dict) else type(body).__name__
        )
        raise RetryLater(
            f'no list at items = "{items}" in the answer for {collection.name} (there is: {has}): check the path',
            reason="garbled",
        )
    if collection.total and not part and _whole(first(body, collection.total)) is None:
        raise RetryLater(
            f'no number at total = "{collection.total}": check the path, or leave it out', reason="garbled"
        )
    return body


def refuse_error(body: Any, collection: Collection) -> None:
    """Raises `RetryLater` for an answer that says itself that it is an error."""
    if collection.error and any(is_set(each) for each in every(body, collection.error)):
        raise RetryLater(
            f'the answer is an error by its own account ("{collection.error}" is set)', reason="server_error"
        )


def _whole(value: Any) -> int | None:
    text = scalar(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
