"""Small values by name, changed by one at a time: what several machines share beside the index.

A table of its own in the catalog's database. Nothing in it is a promise of the index: it is not sealed, belongs to no
epoch, is not rebuilt, and whoever keeps something here can do without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from penstock.index.catalog.catalog_engine import BUSY_SECONDS, Engine, ServerSession
from penstock.index.catalog.mounts import MOUNTS
from penstock.index.errors import Corrupt, Unavailable

T = TypeVar("T")

_SCHEMA = sa.MetaData()
CELLS = sa.Table(
    "cells",
    _SCHEMA,
    sa.Column("name", sa.String(300), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
_NEW = "INSERT INTO cells (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"
_LOOK = "SELECT (SELECT value FROM cells WHERE name = %s)"
_SWAP = (
    "WITH done AS (UPDATE cells SET value = %s WHERE name = %s AND value = %s RETURNING 1) SELECT count(*) FROM done"
)
_SESSION = {"statement_timeout": f"{BUSY_SECONDS}s", "idle_session_timeout": "0", "synchronous_commit": "off"}
_RACES = 5
"""Lost so often, a change waits for its turn instead."""


class Cells:
    """The cells in the catalog's database at `url`. Opens nothing until it is asked; thread-safe.

    On a server it keeps one connection, until `close`. Everything raises `Unavailable` (also while an SQLite catalog is
    not there: only the catalog makes that file), `NoSpace` and `WrongIndex`.
    """

    def __init__(self, url: str, *, mounts: Path = MOUNTS) -> None:
        self._engine = Engine(url, mounts)
        self._session: ServerSession | None = None
        self._one_at_a_time = threading.Lock()

    def change(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        """Replace the value of `name` (b"" if it has none) by what `act` makes of it, and return the rest of its
        answer. `act` may be called again with another value: where somebody else was quicker, where the table had to
        be made first, and after a lost reply (then its first change may have been made)."""
        if self._engine.path is None:
            with self._one_at_a_time:
                swapped = self._swap(name, act)
            if swapped is not None:
                return swapped[0]
        try:
            return self._locked(name, act)
        except Corrupt:  # the table is not there, or not any more: the catalog may have been made again
            self._make()
        return self._locked(name, act)

    def close(self) -> None:
        """Let go of the connection. May be repeated; the next change opens one again."""
        with self._one_at_a_time:
            self._close()

    def _swap(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> tuple[T] | None:
        """Compare and set, two round trips on the connection at hand; None where that did not do."""
        try:
            session = self._opened()
            for _ in range(_RACES):
                before = session.scalar(_LOOK, (name,))
                if before is None:
                    return None
                after, answer = act(bytes(before))
                if after == before or session.scalar(_SWAP, (after, name, before)):
                    return (answer,)
        except (Unavailable, Corrupt):
            self._close()
        return None

    def _locked(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        mine = CELLS.c.name == name
        with self._engine.transaction(write=True) as db:
            if db.dialect.name == "postgresql":
                # Losing the last moments of a cell does no harm, waiting for the disk each time would.
                db.execute(sa.select(sa.func.set_config("synchronous_commit", "off", True)))
            look = sa.select(CELLS.c.value).where(mine).with_for_update()
            before = db.execute(look).scalar()
            if before is None:
                # Two may do this at once: the second one waits here, and finds what the first one wrote.
                db.execute(sa.text(_NEW), {"name": name, "value": b""})
                before = db.execute(look).scalar_one()
            after, answer = act(bytes(before))
            if after != before:
                db.execute(CELLS.update().where(mine).values(value=after))
        return answer

    def _make(self) -> None:
        with self._engine.transaction(write=True, make=self._engine.path is None) as db:
            _SCHEMA.create_all(db)

    def _opened(self) -> ServerSession:
        if self._session is None:
            session = self._engine.session()
            try:
                for setting, value in _SESSION.items():
                    session.scalar("SELECT set_config(%s, %s, false)", (setting, value))
            except BaseException:
                session.close()
                raise
            self._session = session
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
