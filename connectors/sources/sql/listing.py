"""The rows of one kind, page by page in the order of their keys.

A page begins at the key of the row that the page before it read ahead, and not after its last row: what the
database holds for equal though it is not (case, accents, spaces at the end) cannot fall between two pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from penstock.connectors.sources.sql import queries
from penstock.connectors.sources.sql.engine import Database
from penstock.connectors.sources.sql.queries import Bound
from penstock.connectors.sources.sql.rows import Row, Shape
from penstock.connectors.types import Gap, Gone, Item, StopSource


def listed(database: Database, shape: Shape, size: int, since: Any = None) -> Iterator[Item | Gone | Gap]:
    """Each row as an item, or as gone where its flag says so; a gap where keys are NULL or not unique.

    With `since`, only rows whose `updated` is not below it. Raises `StopSource` and `RetryLater`.
    """
    kind = shape.kind
    if database.rows(queries.keyless(kind), f"kind {kind.name}"):
        yield Gap(shape.prefix, f"a row has no key (NULL in {', '.join(shape.keys)}): leave such rows out of the query")
    after: Bound | None = None
    before: set[str] = set()
    doubled: set[str] = set()
    bound, idle = "", False
    while True:
        rows = _page(database, shape, shape.listed, after, size + 1, since)
        uris = [shape.uri(shape.key(row)) for row in rows]
        twice = {uri for uri, count in Counter(uris).items() if count > 1}
        for uri in sorted(twice - doubled):
            yield Gap(uri, f"two rows have this key: make {', '.join(shape.keys)} unique")
        new = [(uri, row) for uri, row in zip(uris[:size], rows[:size], strict=True)
               if uri not in before and uri not in twice | doubled]  # fmt: skip
        yield from _entries(database, shape, [row for _, row in new], after, size + 1, since)
        if len(rows) <= size:
            return
        stuck = not new and (idle or uris[size] in before | doubled | {bound})
        if stuck:
            yield Gap(shape.prefix, f"more than {size} rows have keys that are equal to the database: make them unique")
        doubled = twice & {uris[size]}
        # Rows that come again are equal to the bound: until it moves on, all that was read since counts as seen.
        before = (before if before.intersection(uris) else set()) | set(uris[:size]) | twice
        bound, idle = uris[size], not new
        after = Bound(shape.key(rows[size]), past=stuck)


def _entries(
    database: Database, shape: Shape, rows: Sequence[Row], after: Bound | None, limit: int, since: Any
) -> Iterator[Item | Gone | Gap]:
    """The rows of a page. Where some do not say when they changed, the page is read again with all columns."""
    whole: dict[str, Row] = {}
    if shape.listed != shape.used and not all(map(shape.has_token, rows)):
        found = _page(database, shape, shape.used, after, limit, since)
        whole = {shape.uri(shape.key(row)): row for row in found}
    for row in rows:
        uri = shape.uri(shape.key(row))
        if shape.is_deleted(row):
            yield Gone(uri)
        elif shape.listed == shape.used or shape.has_token(row):
            yield _item(shape, row)
        elif uri in whole:
            yield _item(shape, whole[uri])
        else:
            yield Gap(uri, "it changed while it was listed")


def _item(shape: Shape, row: Row) -> Item:
    try:
        return shape.item(row)
    except TypeError as error:
        raise StopSource(f"kind {shape.kind.name}: a key cannot be of the type {error}; cast it in the query") from None


def _page(
    database: Database, shape: Shape, columns: Sequence[str], after: Bound | None, limit: int, since: Any
) -> list[Row]:
    statement = queries.page(shape.kind, columns, after, limit, since)
    return [dict(zip(columns, row, strict=True)) for row in database.rows(statement, f"kind {shape.kind.name}")]
