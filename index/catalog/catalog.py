"""The catalog: the SQL database that decides which manifest is version v+1.

Each method is one transaction on a connection of its own. `ratify` is atomic and decides a version once and
for all; `settle` turns an unknown outcome into a known one; everything else may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from penstock.index.catalog import catalog_file
from penstock.index.catalog import catalog_schema as schema
from penstock.index.catalog.catalog_engine import Engine
from penstock.index.catalog.catalog_schema import META, PROGRESS, TRANSACTIONS, VERSIONS, Said
from penstock.index.catalog.catalog_schema import Meta as Meta
from penstock.index.catalog.catalog_schema import Ratified as Ratified
from penstock.index.catalog.catalog_schema import Snapshot as Snapshot
from penstock.index.catalog.locks import FileLocks, Locks, PostgresLocks
from penstock.index.catalog.mounts import MOUNTS
from penstock.index.errors import Conflict, Corrupt, Fenced, WrongIndex
from penstock.index.types import FORMAT


class Catalog:
    """The catalog at `sqlite:///PATH` or `postgresql://…`. Opens nothing until it is asked.

    `path` is SQLite's file, None on a server; `name` is the URL without secrets; `mounts` says which file systems
    there are, as proc(5) does. Everything raises `Unavailable` (for a write: the outcome is unknown), `NoSpace`,
    `Corrupt` (part of it is not what was written: to be rebuilt) and `WrongIndex` (a URL, a file system or tables
    that no catalog can have, a newer format). SQLite's file is made by `create` and `rebuild` only.
    """

    def __init__(self, url: str, *, mounts: Path = MOUNTS) -> None:
        self._engine = Engine(url, mounts)
        self.name, self.path = self._engine.name, self._engine.path

    def create(self, meta: Meta) -> Meta:
        """Make the tables and write `meta`, unless that was done before. Returns what the catalog now says."""
        self._engine.refuse_shared()
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._engine.transaction(make=True) as db:
            schema.upgrade(db, self.name)
            now = schema.said(db, self.name)
            if now is not None:
                return now.meta
            db.execute(META.insert().values(id=1, **schema.meta_values(meta, 0)))
        return meta

    def meta(self) -> Meta | None:
        """What this index is; None where there is no catalog, or one whose creation did not finish."""
        if self.path is not None and self.path.is_dir():
            raise WrongIndex(f"catalog {self.name} is a folder; name a file in [index] catalog")
        if self.path is not None and not self.path.is_file():
            return None
        with self._engine.transaction() as db:
            now = schema.said(db, self.name) if schema.check(db, self.name) else None
        return None if now is None else now.meta

    def migrate(self) -> None:
        """Bring a catalog of an older format to the newest one. Changes nothing where it is that already."""
        with self._engine.transaction() as db:
            now = self._said(db)
        if now.format < FORMAT:
            with self._engine.transaction(make=True) as db:
                schema.upgrade(db, self.name)

    def head(self) -> Ratified | None:
        """The newest decided version, None before the first."""
        with self._engine.transaction() as db:
            return next(iter(schema.versions(db, self.name, newest=True)), None)

    def since(self, version: int) -> list[Ratified]:
        """The versions after `version` that have not expired, oldest first."""
        with self._engine.transaction() as db:
            return schema.versions(db, self.name, after=version)

    def snapshot(self) -> Snapshot:
        """Everything of one moment, for whoever decides what may be deleted."""
        opened = sa.select(TRANSACTIONS.c.txn).where(TRANSACTIONS.c.status == "open")
        with self._engine.transaction() as db:
            now = self._said(db)
            found = tuple(schema.versions(db, self.name))
            return Snapshot(now.meta, now.floor, found, frozenset(db.scalars(opened)))

    def begin(self, txn: str, owner: str, now: float) -> None:
        """Note that `owner` is about to put blobs named by `txn`."""
        with self._writing() as (db, _):
            db.execute(TRANSACTIONS.insert().values(txn=txn, owner=owner, status="open", started_at=now))

    def ratify(
        self, new: Ratified, *, progress: Mapping[str, int] = MappingProxyType({}), above: int | None = None
    ) -> None:
        """Decide that `new` is the version after the head, and that its transaction is committed; note `progress`.

        Raises `Conflict` when the head is not `new.version - 1`, the transaction is not open any more, or version
        `above`, whose blobs `new` names, has expired; and `Fenced` when the epoch is not current. After `Unavailable`
        the outcome is unknown: call `settle`.
        """
        with self._writing() as (db, now):
            if (now.meta.epoch, now.meta.epoch_id) != (new.epoch, new.epoch_id):
                raise self._fenced(now, new.epoch)
            head = _head(db)
            if head != new.version - 1:
                raise Conflict(f"version {new.version} was decided by another writer first")
            if above is not None and above <= now.floor:
                raise Conflict(f"version {above} has expired meanwhile; what it had may be gone")
            mine = (TRANSACTIONS.c.txn == new.txn) & (TRANSACTIONS.c.status == "open")
            if db.execute(TRANSACTIONS.update().where(mine).values(status="committed")).rowcount != 1:
                raise Conflict(f"transaction {new.txn} was aborted: commit again")
            db.execute(VERSIONS.insert().values(schema.version_values(new)))
            schema.note(db, progress, head)

    def settle(self, txn: str) -> bool:
        """True if `txn` is committed; otherwise it is aborted by this call and never will be. May be repeated.

        Where the catalog was rebuilt meanwhile, a transaction whose version was found published is committed.
        """
        with self._writing() as (db, _):
            still = (TRANSACTIONS.c.txn == txn) & (TRANSACTIONS.c.status == "open")
            db.execute(TRANSACTIONS.update().where(still).values(status="aborted"))
            found = db.scalar(sa.select(TRANSACTIONS.c.status).where(TRANSACTIONS.c.txn == txn))
            decided = db.scalar(sa.select(VERSIONS.c.version).where(VERSIONS.c.txn == txn))
        return found == "committed" or decided is not None

    def open_transactions(self) -> list[tuple[str, str]]:
        """(txn, owner) of what is neither committed nor aborted."""
        query = sa.select(TRANSACTIONS.c.txn, TRANSACTIONS.c.owner).where(TRANSACTIONS.c.status == "open")
        with self._engine.transaction() as db:
            return [(row.txn, row.owner) for row in db.execute(query.order_by(TRANSACTIONS.c.txn))]

    def prune(self, before: float) -> None:
        """Forget the transactions that began before that time and are finished. They are never ratified."""
        old = (TRANSACTIONS.c.status != "open") & (TRANSACTIONS.c.started_at < before)
        with self._writing() as (db, _):
            db.execute(TRANSACTIONS.delete().where(old))

    def progress(self) -> dict[str, int]:
        """The newest version that each replica, by id, is known to have published; they never go back."""
        with self._engine.transaction() as db:
            if self._said(db).format < 2:
                return {}
            return {row.replica: row.version for row in db.execute(sa.select(PROGRESS))}

    def note_progress(self, progress: Mapping[str, int]) -> None:
        """Note how far replicas have published. Smaller numbers than known, and ones past the head, are ignored."""
        with self._writing() as (db, _):
            schema.note(db, progress, _head(db))

    def floor(self) -> int:
        """The newest version that has expired, 0 at first."""
        with self._engine.transaction() as db:
            return self._said(db).floor

    def raise_floor(self, version: int, epoch_id: str) -> None:
        """Let the versions up to `version` expire, for good; a lower one than the floor changes nothing.

        Raises `Fenced` when `epoch_id` is not current, `Conflict` when that would be the head.
        """
        with self._writing() as (db, now):
            if now.meta.epoch_id != epoch_id:
                raise self._fenced(now, None)
            if version <= now.floor:
                return
            if version >= _head(db):
                raise Conflict(f"version {version} is the newest: it cannot expire")
            db.execute(VERSIONS.delete().where(VERSIONS.c.version <= version))
            db.execute(META.update().values(schema.meta_values(now.meta, version)))

    def rebuild(self, meta: Meta, versions: Sequence[Ratified], floor: int) -> None:
        """Replace all that the catalog says, under a new epoch: then it knows no transaction and no progress.

        All of it or nothing; a file that is damaged is kept as `NAME.damaged-{epoch id}`. Raises `Fenced` when the
        catalog is in that epoch or a later one already, `WrongIndex` when it is another index's.
        """
        if self.path is None:
            self._replace(meta, versions, floor)
            return
        self._engine.refuse_shared()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        seen = catalog_file.identity(self.path)
        if seen is not None:
            try:
                self._replace(meta, versions, floor)
                self.snapshot()  # damage that a page's own checks do not see would come back at the next look
                return
            except Corrupt:
                catalog_file.set_aside(self.path, seen, meta.epoch_id)
        catalog_file.set_aside_strays(self.path, meta.epoch_id)
        with catalog_file.beside(self.path, meta.epoch_id) as fresh:
            Catalog(f"sqlite:///{fresh}")._replace(meta, versions, floor)

    def locks(self, folder: Path) -> Locks:
        """Who is alive among those that use this catalog: on a server for all, else in `folder`, on this machine."""
        return FileLocks(folder) if self.path is not None else PostgresLocks(self._engine.session)

    def _replace(self, meta: Meta, versions: Sequence[Ratified], floor: int) -> None:
        with self._engine.transaction(make=True) as db:
            if self.path is not None:
                catalog_file.check_whole(db, self.name)
            schema.shape(db, self.name, whole=False)
            now = self._believed(db)
            if now is not None and now.meta.lineage != meta.lineage:
                raise WrongIndex(f"catalog {self.name} is that of another index (lineage {now.meta.lineage})")
            if now is not None and now.meta.epoch >= meta.epoch and now.meta != meta:
                raise self._fenced(now, meta.epoch)
            for table in (VERSIONS, TRANSACTIONS, PROGRESS):
                db.execute(table.delete())
            rows = [schema.version_values(new) for new in versions if new.version > floor]
            if rows:
                db.execute(VERSIONS.insert(), rows)
            # The row stays the same one: whoever waits for its lock must find it, changed.
            row = schema.meta_values(meta, floor)
            if not db.execute(META.update().values(row)).rowcount:
                db.execute(META.insert().values(id=1, **row))

    def _believed(self, db: sa.Connection) -> Said | None:
        try:
            return schema.said(db, self.name, lock=True)
        except Corrupt:
            if self.path is not None:
                raise  # its file is set aside
            return None

    def _said(self, db: sa.Connection, *, lock: bool = False) -> Said:
        now = schema.said(db, self.name, lock=lock)
        if now is None:
            raise Corrupt(f"catalog {self.name} says no more which index it is; the next run makes it again")
        return now

    @contextmanager
    def _writing(self) -> Iterator[tuple[sa.Connection, Said]]:
        """A transaction that writes; nobody else does meanwhile."""
        with self._engine.transaction(write=True) as db:
            yield db, self._said(db, lock=True)

    def _fenced(self, now: Said, mine: int | None) -> Fenced:
        writer = "another one" if mine is None else str(mine)
        return Fenced(f"{self.name} is in epoch {now.meta.epoch}, this writer in {writer}: open the index anew")


def _head(db: sa.Connection) -> int:
    newest: int | None = db.scalar(sa.select(sa.func.max(VERSIONS.c.version)))
    return newest or 0
