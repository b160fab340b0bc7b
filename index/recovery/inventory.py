"""What a DR store holds, read once: its records, names and holds, and what is on its way."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

from penstock.index.commits import log
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Corrupt
from penstock.index.recovery.archive import Archive, Key, Named, history


@dataclass(frozen=True, slots=True)
class Inventory:
    """`records`: all that can be read, superseded ones too, by (version, epoch); `damaged`: why others cannot be.

    `coming`: what was announced and is newer than the newest version that is here whole. `broken`: snapshots whose
    marker cannot be read, by name.
    """

    lineage: str
    records: dict[Key, LogRecord]
    damaged: dict[Key, str]
    coming: list[Key]
    names: dict[str, Named]
    broken: dict[str, str]
    held: frozenset[str]

    @property
    def keys(self) -> list[Key]:
        """Every record that lies here, readable or not."""
        return sorted(self.records.keys() | self.damaged.keys())

    @property
    def history(self) -> list[Key]:
        """The true ones, oldest first: one for each version."""
        return history(self.keys)

    def at(self, moment: float) -> Key | None:
        """The version that was the newest at `moment`, of those that are here; None before the oldest."""
        past = [key for key in self.history if key in self.records and self.records[key].committed_at <= moment]
        return past[-1] if past else None


def read(
    archive: Archive, known: MutableMapping[Key, LogRecord] | None = None, lineage: str | None = None
) -> Inventory:
    """Look at everything but blobs. `known` keeps records, which never change, for the next time. `lineage`: whose the
    versions are, where the place itself is not to be asked.

    What is on its way is listed before what has arrived, so that nothing is missed that arrives in between.
    Raises `WrongIndex` where nothing was ever shipped to.
    """
    lineage = lineage or archive.whose()[0]
    known = {} if known is None else known
    announced = archive.coming()
    records: dict[Key, LogRecord] = {}
    damaged: dict[Key, str] = {}
    for key in filter(None, map(log.parse, list(archive.store.list(log.PREFIX)))):
        try:
            records[key] = known[key] = known.get(key) or _of(lineage, archive.record(*key), archive.name)
        except FileNotFoundError:
            continue  # it expired meanwhile
        except Corrupt as fault:
            damaged[key] = str(fault)
    there = records.keys() | damaged.keys()
    newest = history(there)[-1] if there else (0, 0)
    coming = [key for key in announced if (key[1], key[0]) > (newest[1], newest[0])]
    names, broken = archive.names()
    return Inventory(lineage, records, damaged, coming, names, broken, archive.held())


def _of(lineage: str, record: LogRecord, where: str) -> LogRecord:
    if record.lineage != lineage:
        raise Corrupt(f"{where}: {log.key(record.version, record.epoch)} is of another index")
    return record
