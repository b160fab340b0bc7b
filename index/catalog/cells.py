"""Small values by name, changed by one at a time: what several machines share beside the index.

A table of its own in the catalog's database. Nothing in it is a promise of the index: it is not sealed, belongs to no
epoch, is not rebuilt, and whoever keeps something here can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from penstock.index.catalog.catalog_engine import Engine
from penstock.index.catalog.mounts import MOUNTS
from penstock.index.errors import Corrupt

T = TypeVar("T")

_SCHEMA = sa.MetaData()
CELLS = sa.Table(
    "cells",
    _SCHEMA,
    sa.Column("name", sa.String(300), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


class Cells:
    """The cells in the catalog's database at `url`. Opens nothing until it is asked; thread-safe.

    Everything raises `Unavailable` (also while an SQLite catalog is not there: only the catalog makes that file),
    `NoSpace` and `WrongIndex`.
    """

    def __init__(self, url: str, *, mounts: Path = MOUNTS) -> None:
        self._engine = Engine(url, mounts)

    def change(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        """Replace the value of `name` (b"" if it has none) by what `act` makes of it, and return the rest of its
        answer. Nobody else changes it meanwhile. `act` is called again where the table had to be made first."""
        try:
            return self._change(name, act)
        except Corrupt:  # the table is not there, or not any more: the catalog may have been made again
            self._make()
        return self._change(name, act)

    def _change(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        mine = CELLS.c.name == name
        with self._engine.transaction(write=True) as db:
            if db.dialect.name == "postgresql":
                # Losing the last moments of a cell does no harm, waiting for the disk each time would.
                db.execute(sa.select(sa.func.set_config("synchronous_commit", "off", True)))
            look = sa.select(CELLS.c.value).where(mine).with_for_update()
            before = db.execute(look).scalar()
            if before is None:
                # Two may do this at once: the second one waits here, and finds what the first one wrote.
                db.execute(
                    sa.text("INSERT INTO cells (name, value) VALUES (:n, :v) ON CONFLICT (name) DO NOTHING"),
                    {"n": name, "v": b""},
                )
                before = db.execute(look).scalar_one()
            after, answer = act(bytes(before))
            if after != before:
                db.execute(CELLS.update().where(mine).values(value=after))
        return answer

    def _make(self) -> None:
        with self._engine.transaction(write=True, make=self._engine.path is None) as db:
            _SCHEMA.create_all(db)
