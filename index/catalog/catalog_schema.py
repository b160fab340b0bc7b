"""The catalog's tables, and its rows as values. A row carries a seal, so that a flipped bit in it is not believed.

Nothing here opens or commits a transaction. `catalog.py` has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
import xxhash

from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.types import FORMAT, BlobRef

SCHEMA = sa.MetaData()
META = sa.Table(
    "meta",
    SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("lineage", sa.String(64), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("epoch_id", sa.String(64), nullable=False),
    sa.Column("membership", sa.Text, nullable=False),
    sa.Column("floor", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("seal", sa.String(32), nullable=False, server_default=""),
)
VERSIONS = sa.Table(
    "versions",
    SCHEMA,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("epoch_id", sa.String(64), nullable=False),
    sa.Column("txn", sa.String(64), nullable=False, unique=True),
    sa.Column("manifest", sa.String(160), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sums", sa.String(64), nullable=False),
    sa.Column("committed_at", sa.Double, nullable=False),
    sa.Column("seal", sa.String(32), nullable=False, server_default=""),
)
TRANSACTIONS = sa.Table(
    "transactions",
    SCHEMA,
    sa.Column("txn", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
)
PROGRESS = sa.Table(
    "progress",
    SCHEMA,
    sa.Column("replica", sa.String(200), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

_SINCE_2 = ((META, META.c.floor), (META, META.c.seal), (VERSIONS, VERSIONS.c.seal))
"""Columns that a catalog of format 1 lacks, as it lacks the table `progress`."""


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


@dataclass(frozen=True, slots=True)
class Said:
    """The one row of `meta`: what it says in the format that it was written in."""

    format: int
    meta: Meta
    floor: int


def said(db: sa.Connection, name: str, *, lock: bool = False) -> Said | None:
    """The row of `meta`, None if there is none; with `lock`, nobody else writes until this transaction ends.

    Raises `Corrupt`; `WrongIndex` for a newer format.
    """
    # All columns that there are: a catalog of format 1 has fewer.
    query = sa.select(sa.text("*")).select_from(META).where(META.c.id == 1)
    one = db.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if one is None:
        return None
    row = dict(one)
    if isinstance(row["format"], int) and row["format"] > FORMAT:
        raise WrongIndex(f"catalog {name} has format {row['format']}, this penstock knows {FORMAT}: upgrade penstock")
    found = Meta(row["lineage"], row["epoch"], row["epoch_id"], row["membership"])
    floor = row.get("floor", 0)
    if not isinstance(row["format"], int) or not isinstance(found.epoch, int) or not isinstance(floor, int):
        raise _broken(name, "meta")
    if row.get("seal", "") not in ("", None) or row["format"] > 1:
        _check(row, name, "meta", row["format"], *astuple(found), floor)
    return Said(row["format"], found, floor)


def meta_values(meta: Meta, floor: int) -> dict[str, Any]:
    """The row that says this, in the newest format."""
    values = (FORMAT, *astuple(meta), floor)
    names = ("format", "lineage", "epoch", "epoch_id", "membership", "floor")
    return {**dict(zip(names, values, strict=True)), "seal": _seal("meta", *values)}


def versions(db: sa.Connection, name: str, *, after: int = -1, newest: bool = False) -> list[Ratified]:
    """The versions after `after`, oldest first, or only the newest one. Raises `Corrupt`."""
    query = sa.select(sa.text("*")).select_from(VERSIONS).where(VERSIONS.c.version > after)
    column = VERSIONS.c.version
    query = query.order_by(column.desc()).limit(1) if newest else query.order_by(column)
    return [_ratified(dict(row), name) for row in db.execute(query).mappings()]


def version_values(new: Ratified) -> dict[str, Any]:
    """The row of a decided version."""
    return {
        "version": new.version,
        "epoch": new.epoch,
        "epoch_id": new.epoch_id,
        "txn": new.txn,
        "manifest": new.ref.name,
        "size": new.ref.size,
        "sums": new.ref.sums,
        "committed_at": new.committed_at,
        "seal": _seal(*_plain(new)),
    }


def shape(db: sa.Connection, name: str, *, whole: bool = True) -> None:
    """Make the tables and columns that are not there. Raises as `check` does."""
    check(db, name, whole=whole)
    SCHEMA.create_all(db)
    for table, column in _SINCE_2:
        if column.name not in {c["name"] for c in sa.inspect(db).get_columns(table.name)}:
            kind = column.type.compile(db.dialect)
            default = "0" if column.name == "floor" else "''"
            db.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind} DEFAULT {default} NOT NULL")


def upgrade(db: sa.Connection, name: str) -> None:
    """Bring tables and rows to the newest format; nothing changes if they are. Raises `Corrupt`, `WrongIndex`."""
    shape(db, name)
    now = said(db, name, lock=True)
    if now is None or now.format == FORMAT:
        return
    for row in db.execute(sa.select(VERSIONS).where(VERSIONS.c.seal == "")).mappings().all():
        at = VERSIONS.c.version == row["version"]
        db.execute(VERSIONS.update().where(at).values(seal=_seal(*_plain(_ratified(dict(row), name, sealed=False)))))
    db.execute(META.update().values(meta_values(now.meta, now.floor)))


def check(db: sa.Connection, name: str, *, whole: bool = True) -> bool:
    """Whether there is a catalog. Raises `WrongIndex` if its tables are not ours, `Corrupt` if some are gone.

    They may be gone where not the `whole` is asked for.
    """
    looked = sa.inspect(db)
    there = set(looked.get_table_names()) & set(SCHEMA.tables)
    late = {(table.name, column.name) for table, column in _SINCE_2}
    for table in there:
        have = {column["name"] for column in looked.get_columns(table)}
        ours = {column.name for column in SCHEMA.tables[table].columns}
        if {(table, column) for column in ours - have} - late:
            if db.dialect.name == "sqlite":
                raise Corrupt(f"catalog {name} is damaged (its table {table} lacks columns)")
            raise WrongIndex(f"{name} has a table {table} that is not penstock's: give it a database of its own")
    if whole and "meta" in there and not {"versions", "transactions"} <= there:
        raise Corrupt(f"catalog {name} is damaged (tables are gone)")
    return "meta" in there


def note(db: sa.Connection, progress: Mapping[str, int], head: int) -> None:
    """Note how far each replica has published: it grows, and never passes the head."""
    for replica, version in sorted(progress.items()):
        if version > head:
            continue
        mine = PROGRESS.c.replica == replica
        known = db.execute(sa.select(PROGRESS.c.version).where(mine)).scalar()
        if known is None:
            db.execute(PROGRESS.insert().values(replica=replica, version=version))
        elif known < version:
            db.execute(PROGRESS.update().where(mine).values(version=version))


def _ratified(row: Mapping[str, Any], name: str, *, sealed: bool = True) -> Ratified:
    ref = BlobRef(row["manifest"], row["size"], row["sums"])
    new = Ratified(row["version"], row["epoch"], row["epoch_id"], row["txn"], ref, row["committed_at"])
    if sealed and "seal" in row:
        _check(row, name, *_plain(new))
    return new


def _plain(new: Ratified) -> tuple[Any, ...]:
    ref, at = new.ref, float(new.committed_at)
    return ("versions", new.version, new.epoch, new.epoch_id, new.txn, ref.name, ref.size, ref.sums, at)


def _seal(*values: Any) -> str:
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(values))


def _check(row: Mapping[str, Any], name: str, *values: Any) -> None:
    if row["seal"] != _seal(*values):
        raise _broken(name, values[0])


def _broken(name: str, table: str) -> Corrupt:
    return Corrupt(f"catalog {name} is damaged (a row of {table} is not what was written)")
