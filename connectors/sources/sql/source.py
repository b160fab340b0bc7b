"""A database as a source: rows as documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.sources.sql import queries
from penstock.connectors.sources.sql.engine import Database
from penstock.connectors.sources.sql.listing import listed
from penstock.connectors.sources.sql.options import SqlOptions
from penstock.connectors.sources.sql.rows import Row, Shape, key_of
from penstock.connectors.sources.sql.values import coded, decoded, earlier, granule, seconds, until
from penstock.connectors.types import CursorExpired, Fetched, Gap, Gone, Item, Mark, RejectItem, RetryLater, StopSource

_SUFFIXES = {"text": ".txt", "markdown": ".md", "html": ".html"}
_FRESH = 2.0  # seconds
_ZONES = 900  # seconds: every time zone is a multiple of a quarter of an hour away
_NAME_LIMIT = 100


class SqlSource:
    """Each row that a kind's query gives is an item, `NAME/KIND/KEY`; its document is made of the row's columns.

    A listing reads keys and versions in pages, each a short transaction that only reads. A row whose key changes
    while it is listed may be missed by that listing.
    """

    def __init__(self, name: str, options: SqlOptions, tools: Tools) -> None:
        """Opens nothing yet; `options` are anchored."""
        self.name = name
        self._options, self._tools = options, tools
        self._shapes = {kind.name: Shape(name, kind) for kind in options.kinds}
        self._database = Database(name, options, tools)

    def list(self) -> Iterator[Item | Gap | Mark]:
        """Kind by kind, in the order of keys. Raises `StopSource` and `RetryLater`."""
        for shape in self._shapes.values():
            for entry in listed(self._database, shape, self._options.page_size):
                if not isinstance(entry, Gone):
                    yield entry

    def fetch(self, item: Item) -> Fetched:
        """The row as a temporary file. Raises `RetryLater`, `RejectItem`, `StopSource`, `FileNotFoundError`."""
        kind, key = key_of(item)
        shape = self._shapes.get(kind)
        if shape is None:
            raise FileNotFoundError(f"there is no kind {kind} any more: {item.uri}")
        before = self._database.retries
        row = self._row(shape, item, key)
        version = shape.version(row) + ("~" if self._may_change_unseen(shape, row) else "")
        page = shape.page(row)
        data = page.text.encode("utf-8", "replace")
        if len(data) > self._tools.max_bytes:
            said = f"{item.uri} has {len(data)} bytes of text, the limit is {self._tools.max_bytes}"
            raise RejectItem(said, reason="too_large")
        suffix = _SUFFIXES[shape.kind.format]
        path = self._tools.scratch / (self._tools.token() + suffix)
        path.write_bytes(data)
        return Fetched(
            path=path,
            name=_file_name(item, shape) + suffix,
            version=version,
            temporary=True,
            title=page.title,
            url=page.url,
            metadata=page.metadata,
            labels=page.labels,
            retries=max(0, self._database.retries - before),
        )

    def close(self) -> None:
        """Closes the connections; what is asked later opens them again."""
        self._database.close()

    def _row(self, shape: Shape, item: Item, key: tuple[Any, ...]) -> Row:
        columns = shape.used
        found = self._database.rows(queries.one(shape.kind, columns, key), item.uri, one_row=True)
        rows = [dict(zip(columns, row, strict=True)) for row in found]
        same = [row for row in rows if shape.uri(shape.key(row)) == item.uri]
        if len(same) > 1 or (not same and len(rows) == queries.TIES):
            raise RetryLater(f"two rows have the key of {item.uri}: make it unique", reason="garbled")
        if not same or shape.is_deleted(same[0]):
            raise FileNotFoundError(f"there is no such row any more: {item.uri}")
        return same[0]

    def _may_change_unseen(self, shape: Shape, row: Row) -> bool:
        """Whether another change could still leave the same token: it is a moment in whole seconds, and is now.

        Then the token is marked, and so equals none that is listed. The zone of the column is not known; one moment
        in 225 is taken for a fresh one, and costs a fetch.
        """
        column = shape.kind.updated
        if not column or (shape.kind.version and row[shape.kind.version] is not None):
            return False
        step = granule(row[column])
        if not step:
            return False
        moment, updated = seconds(self._now()), seconds(row[column])
        if moment is None or updated is None:
            return True
        if step > 1:
            return abs(moment - updated) < 2 * step
        return (moment - updated + _FRESH / 2) % _ZONES < 2 * _FRESH

    def _now(self) -> Any:
        """The database's clock."""
        ((now,),) = self._database.rows(queries.now(), "clock")
        return now


class FedSqlSource(SqlSource):
    """The same, with a feed: rows whose `updated` is not below the highest one seen, less the overlap.

    A kind without `updated`, or with one that is no moment and no number, is listed whole. Rows that are no more are
    `Gone` only where their `deleted` flag says so.
    """

    def list(self) -> Iterator[Item | Gap | Mark]:
        """As `SqlSource.list`; a mark comes first."""
        yield self._mark()
        yield from super().list()

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        """What changed since. Raises `CursorExpired` for a cursor of another configuration, else as `list`."""
        seen = self._seen(cursor)
        mark = self._mark()
        for name, shape in self._shapes.items():
            since = earlier(seen[name], self._options.overlap) if shape.kind.updated else None
            yield from listed(self._database, shape, self._options.page_size, since)
        yield mark

    def _mark(self) -> Mark:
        """The highest `updated` of each kind, as of now. One in the future would hide what changes until then."""
        highest = {}
        for name, shape in self._shapes.items():
            if shape.kind.updated:
                ((value,),) = self._database.rows(queries.highest(shape.kind), f"kind {name}")
                try:
                    highest[name] = coded(until(self._now(), value))
                except TypeError as error:
                    said = f"source {self.name}, kind {name}: updated cannot be of the type {error}; cast it"
                    raise StopSource(said) from None
        return Mark(json.dumps([1, self._makes(), highest]))

    def _makes(self) -> dict[str, str]:
        return {name: shape.kind.make() for name, shape in self._shapes.items()}

    def _seen(self, cursor: str) -> dict[str, Any]:
        try:
            version, makes, highest = json.loads(cursor)
            if (version, makes) == (1, self._makes()):
                return {name: decoded(highest.get(name)) for name in self._shapes}
        except (ValueError, TypeError, AttributeError):
            pass
        raise CursorExpired(f"source {self.name}: its configuration changed since, so all rows are listed")


def _file_name(item: Item, shape: Shape) -> str:
    """A name for people and parsers, of bounded length and without what a path could be made of."""
    key = item.uri.removeprefix(shape.prefix).replace("/", "-").replace("\\", "-")
    return f"{shape.kind.name}-{key.strip('.')}"[:_NAME_LIMIT]
