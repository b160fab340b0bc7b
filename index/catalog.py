"""The catalog: the SQL database that decides which manifest is version v+1. The one door to SQLAlchemy.

Each method is one transaction on a connection of its own. `ratify` is atomic and decides a version once and
for all; `settle` turns an unknown outcome into a known one; everything else may be repeated. SQLite runs with
a rollback journal, `synchronous=EXTRA` and `BEGIN IMMEDIATE`, so a write that returned is on the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from penstock.index.errors import Conflict, Corrupt, Fenced, NoSpace, Unavailable, WrongIndex
from penstock.index.locks import FileLocks, Locks
from penstock.index.types import FORMAT, BlobRef

BUSY_SECONDS = 30

_schema = sa.MetaData()
_meta = sa.Table(
    "meta",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("lineage", sa.String(64), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("epoch_id", sa.String(64), nullable=False),
    sa.Column("membership", sa.Text, nullable=False),
)
_versions = sa.Table(
    "versions",
    _schema,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("epoch_id", sa.String(64), nullable=False),
    sa.Column("txn", sa.String(64), nullable=False, unique=True),
    sa.Column("manifest", sa.String(160), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sums", sa.String(64), nullable=False),
    sa.Column("committed_at", sa.Double, nullable=False),
)
_transactions = sa.Table(
    "transactions",
    _schema,
    sa.Column("txn", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
)


_floor = sa.Table(
    "floor",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)
_progress = sa.Table(
    "progress",
    _schema,
    sa.Column("replica", sa.String(200), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Meta:
    """Which index this is, and the epoch that may write. `membership` is that of version 0, as JSON."""

    lineage: str
    epoch: int
    epoch_id: str
    membership: str


@dataclass(frozen=True, slots=True)
class Ratified:
    """One decided version. `ref` is its manifest's blob."""

    version: int
    epoch: int
    epoch_id: str
    txn: str
    ref: BlobRef
    committed_at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of the catalog: all versions above the floor, oldest first, and the open transactions."""

    meta: Meta
    floor: int
    versions: tuple[Ratified, ...]
    open: frozenset[str]


class Catalog:
    """The catalog at an SQLAlchemy URL. Opens nothing until it is asked; raises `Unavailable`, `NoSpace`, `Corrupt`."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.name = parsed.render_as_string(hide_password=True)
        self.path = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        if self.path is None:
            self._engine = sa.create_engine(parsed, poolclass=NullPool, isolation_level="SERIALIZABLE")
            return
        self._engine = sa.create_engine(parsed, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _configure_sqlite)
        sa.event.listen(self._engine, "begin", _begin_sqlite)

    def create(self, meta: Meta) -> Meta:
        """Make the tables and write `meta`, unless that was done before. Returns what the catalog now says."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction(write=True) as db:
            _schema.create_all(db)
            row = db.execute(sa.select(_meta)).one_or_none()
            if row is not None:
                return _as_meta(row, self.name)
            db.execute(
                _meta.insert().values(
                    id=1,
                    format=FORMAT,
                    lineage=meta.lineage,
                    epoch=meta.epoch,
                    epoch_id=meta.epoch_id,
                    membership=meta.membership,
                )
            )
        return meta

    def meta(self) -> Meta | None:
        """What this index is; None where there is no catalog, or one whose creation did not finish."""
        if self.path is not None and not self.path.is_file():
            return None
        with self._transaction() as db:
            if not sa.inspect(db).has_table("meta"):
                return None
            row = db.execute(sa.select(_meta)).one_or_none()
        return None if row is None else _as_meta(row, self.name)

    def head(self) -> Ratified | None:
        """The newest decided version, None before the first."""
        with self._transaction() as db:
            row = db.execute(sa.select(_versions).order_by(_versions.c.version.desc()).limit(1)).one_or_none()
        return None if row is None else _as_ratified(row)

    def since(self, version: int) -> list[Ratified]:
        """The versions after `version`, oldest first."""
        query = sa.select(_versions).where(_versions.c.version > version).order_by(_versions.c.version)
        with self._transaction() as db:
            return [_as_ratified(row) for row in db.execute(query)]

    def begin(self, txn: str, owner: str, now: float) -> None:
        """Note that `owner` is about to put blobs named by `txn`."""
        with self._transaction(write=True) as db:
            db.execute(_transactions.insert().values(txn=txn, owner=owner, status="open", started_at=now))

    def ratify(self, new: Ratified, *, progress: Mapping[str, int] = MappingProxyType({})) -> None:
        """Decide that `new` is the version after the head, and that its transaction is committed.

        Raises `Conflict` when the head is not `new.version - 1` or the transaction is not open any more, and
        `Fenced` when the epoch is not current. After `Unavailable` the outcome is unknown: call `settle`.
        """
        with self._transaction(write=True) as db:
            meta = _as_meta(db.execute(sa.select(_meta)).one(), self.name)
            if (meta.epoch, meta.epoch_id) != (new.epoch, new.epoch_id):
                raise Fenced(f"{self.name} is in epoch {meta.epoch}, this writer in {new.epoch}: open the index anew")
            head = db.execute(sa.select(sa.func.max(_versions.c.version))).scalar() or 0
            if head != new.version - 1:
                raise Conflict(f"version {new.version} was decided by another writer first")
            mine = (_transactions.c.txn == new.txn) & (_transactions.c.status == "open")
            if db.execute(_transactions.update().where(mine).values(status="committed")).rowcount != 1:
                raise Conflict(f"transaction {new.txn} was aborted: commit again")
            db.execute(
                _versions.insert().values(
                    version=new.version,
                    epoch=new.epoch,
                    epoch_id=new.epoch_id,
                    txn=new.txn,
                    manifest=new.ref.name,
                    size=new.ref.size,
                    sums=new.ref.sums,
                    committed_at=new.committed_at,
                )
            )
            _note(db, progress)

    def note_progress(self, progress: Mapping[str, int]) -> None:
        """Note the newest version that each replica is known to publish."""
        with self._transaction(write=True) as db:
            _note(db, progress)

    def progress(self) -> dict[str, int]:
        """The newest version that each replica was known to publish, by id."""
        with self._transaction() as db:
            return {row.replica: row.version for row in db.execute(sa.select(_progress))}

    def floor(self) -> int:
        """The newest version that has expired, 0 at first."""
        with self._transaction() as db:
            return db.execute(sa.select(_floor.c.version)).scalar() or 0

    def raise_floor(self, version: int, epoch_id: str) -> None:
        """Let the versions up to `version` expire, for good. Raises `Fenced`, `Conflict` where it is the head."""
        with self._transaction(write=True) as db:
            meta = _as_meta(db.execute(sa.select(_meta)).one(), self.name)
            if meta.epoch_id != epoch_id:
                raise Fenced(f"{self.name} is in epoch {meta.epoch}: open the index anew")
            head = db.execute(sa.select(sa.func.max(_versions.c.version))).scalar() or 0
            if version >= head:
                raise Conflict(f"version {version} is the newest: it cannot expire")
            old = db.execute(sa.select(_floor.c.version)).scalar()
            if old is None:
                db.execute(_floor.insert().values(id=1, version=version))
            elif old < version:
                db.execute(_floor.update().values(version=version))
            db.execute(_versions.delete().where(_versions.c.version <= version))

    def snapshot(self) -> Snapshot:
        """Everything of one moment."""
        opened = sa.select(_transactions.c.txn).where(_transactions.c.status == "open")
        with self._transaction() as db:
            return Snapshot(
                _as_meta(db.execute(sa.select(_meta)).one(), self.name),
                db.execute(sa.select(_floor.c.version)).scalar() or 0,
                tuple(_as_ratified(r) for r in db.execute(sa.select(_versions).order_by(_versions.c.version))),
                frozenset(row.txn for row in db.execute(opened)),
            )

    def prune(self, before: float) -> None:
        """Forget finished transactions that began before."""
        old = (_transactions.c.status != "open") & (_transactions.c.started_at < before)
        with self._transaction(write=True) as db:
            db.execute(_transactions.delete().where(old))

    def migrate(self) -> None:
        """Add what a catalog of an older format lacks."""
        with self._transaction(write=True) as db:
            _schema.create_all(db)
            db.execute(_meta.update().where(_meta.c.format < FORMAT).values(format=FORMAT))

    def locks(self, folder: Path) -> Locks:
        """Who is alive among those that use this catalog."""
        return FileLocks(folder)

    def rebuild(self, meta: Meta, versions: Sequence[Ratified], floor: int) -> None:
        """Replace everything by this, under a new epoch."""
        assert self.path is not None
        self.path.unlink(missing_ok=True)
        self.create(meta)
        with self._transaction(write=True) as db:
            for v in versions:
                db.execute(
                    _versions.insert().values(
                        version=v.version,
                        epoch=v.epoch,
                        epoch_id=v.epoch_id,
                        txn=v.txn,
                        manifest=v.ref.name,
                        size=v.ref.size,
                        sums=v.ref.sums,
                        committed_at=v.committed_at,
                    )
                )
            if floor:
                db.execute(_floor.insert().values(id=1, version=floor))

    def settle(self, txn: str) -> bool:
        """True if `txn` is committed; otherwise it is aborted by this call and never will be. May be repeated."""
        with self._transaction(write=True) as db:
            still = (_transactions.c.txn == txn) & (_transactions.c.status == "open")
            db.execute(_transactions.update().where(still).values(status="aborted"))
            found = db.execute(sa.select(_transactions.c.status).where(_transactions.c.txn == txn)).scalar()
        return found == "committed"

    def open_transactions(self) -> list[tuple[str, str]]:
        """(txn, owner) of what is neither committed nor aborted."""
        query = sa.select(_transactions.c.txn, _transactions.c.owner).where(_transactions.c.status == "open")
        with self._transaction() as db:
            return [(row.txn, row.owner) for row in db.execute(query.order_by(_transactions.c.txn))]

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(penstock_write=write) as db, db.begin():
                yield db
        except exc.DBAPIError as error:
            raise _named(error.orig, self.name) from error
        except sqlite3.Error as error:  # from the connect hook, where SQLAlchemy does not wrap
            raise _named(error, self.name) from error
        except OSError as error:
            raise Unavailable(f"catalog {self.name}: {error}; run again when it can be written") from error


def _note(db: sa.Connection, progress: Mapping[str, int]) -> None:
    for replica, version in progress.items():
        mine = _progress.c.replica == replica
        if not db.execute(_progress.update().where(mine).values(version=version)).rowcount:
            db.execute(_progress.insert().values(replica=replica, version=version))


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: BEGIN is ours (see _begin_sqlite).
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=EXTRA")


def _begin_sqlite(db: sa.Connection) -> None:
    # A write takes its lock at once: a deferred one could fail in the middle with no right to wait.
    write = db.get_execution_options().get("penstock_write", False)
    db.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _named(error: BaseException | None, name: str) -> Exception:
    """The driver's complaint as the error that says what to do next."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    if "not a database" in said or "malformed" in said:
        return Corrupt(
            f"catalog {name} is damaged ({said}); reading goes on, writing stops; rebuilding it is not built yet: "
            "put back the newest copy of the file"
        )
    if "disk is full" in said or "disk full" in said:
        return NoSpace(f"catalog {name}: the disk is full; nothing is damaged: make room and run again")
    if "locked" in said:
        return Unavailable(f"catalog {name} was busy for {BUSY_SECONDS} s; another writer holds it: run again")
    return Unavailable(f"catalog {name} cannot be used ({said}); run again when it can")


def _as_meta(row: Any, name: str) -> Meta:
    if row.format > FORMAT:
        raise WrongIndex(f"catalog {name} has format {row.format}, this penstock knows {FORMAT}: upgrade penstock")
    return Meta(row.lineage, row.epoch, row.epoch_id, row.membership)


def _as_ratified(row: Any) -> Ratified:
    ref = BlobRef(row.manifest, row.size, row.sums)
    return Ratified(row.version, row.epoch, row.epoch_id, row.txn, ref, row.committed_at)
