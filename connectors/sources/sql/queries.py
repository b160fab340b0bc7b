"""The statements for one kind of document. What the user wrote is wrapped as a subquery; keys are bound parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from penstock.connectors.sources.sql.options import Kind, several

TIES = 50
"""How many rows one key may find: a database may hold keys for equal that are not (case, accents, spaces)."""


class Bound(NamedTuple):
    """Where a page begins: at this key, or with `past` after all that the database holds for equal to it."""

    key: Sequence[Any]
    past: bool = False


def page(kind: Kind, columns: Sequence[str], after: Bound | None, limit: int, since: Any = None) -> sa.Select[Any]:
    """Rows in the order of their keys, compared by the database alone: it knows its collations.

    `since`: only those whose `updated` is not below it, or is NULL.
    """
    rows = _rows(kind, (*columns, kind.updated) if since is not None else columns)
    keys = [rows.c[name] for name in several(kind.key)]
    wanted = sa.select(*(rows.c[name] for name in columns)).order_by(*keys).limit(limit)
    wanted = wanted.where(*(key.is_not(None) for key in keys) if after is None else (_from(keys, after),))
    if since is not None:
        updated = rows.c[kind.updated]
        wanted = wanted.where(sa.or_(updated >= _bound(since), updated.is_(None)))
    return wanted


def one(kind: Kind, columns: Sequence[str], key: Sequence[Any]) -> sa.Select[Any]:
    """The rows that the database holds for equal to a key."""
    rows = _rows(kind, columns)
    same = [rows.c[name] == _bound(value) for name, value in zip(several(kind.key), key, strict=True)]
    return sa.select(*(rows.c[name] for name in columns)).where(*same).limit(TIES)


def keyless(kind: Kind) -> sa.Select[Any]:
    """A row if there is one whose key is NULL, in whole or in part."""
    rows = _rows(kind, several(kind.key))
    return sa.select(sa.literal_column("1")).where(sa.or_(*(rows.c[k].is_(None) for k in several(kind.key)))).limit(1)


def highest(kind: Kind) -> sa.Select[Any]:
    """The highest `updated` that there is."""
    rows = _rows(kind, (kind.updated,))
    return sa.select(sa.func.max(rows.c[kind.updated]))


def now() -> sa.Select[Any]:
    """The database's clock."""
    return sa.select(sa.func.current_timestamp())


def _rows(kind: Kind, columns: Sequence[str]) -> sa.FromClause:
    named: list[sa.ColumnClause[Any]] = [sa.column(name) for name in dict.fromkeys(columns)]
    if kind.table:
        schema, _, table = kind.table.rpartition(".")
        return sa.table(table, *named, schema=schema or None)
    # A colon would begin a parameter of ours; a comment in the last line would swallow what follows.
    text = kind.query.strip().removesuffix(";").replace(":", "\\:") + "\n"
    return sa.text(text).columns(*named).subquery("penstock_rows")


def _from(keys: Sequence[sa.ColumnElement[Any]], after: Bound) -> sa.ColumnElement[bool]:
    """(a, b) >= (x, y), spelt out: not every database compares rows. `a >= x` alone lets an index be used."""
    last = keys[-1] > _bound(after.key[-1]) if after.past else keys[-1] >= _bound(after.key[-1])
    found: sa.ColumnElement[bool] = last
    for key, value in reversed(list(zip(keys[:-1], after.key[:-1], strict=True))):
        found = sa.and_(key >= _bound(value), sa.or_(key > _bound(value), found))
    return found


def _bound(value: Any) -> sa.BindParameter[Any]:
    """A parameter that goes to the driver as it came from it."""
    return sa.bindparam(None, value, type_=sa.types.NullType(), unique=True)
