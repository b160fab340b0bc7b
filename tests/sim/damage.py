"""Damage to what is stored, and the budget that keeps it within what the index promises to survive."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.errors import IndexFault
from tests.sim.catalog import CatalogFile
from tests.sim.disk import Disk
from tests.sim.oracle import Oracle
from tests.sim.scheduler import Scheduler

KINDS = ("flip", "truncate", "delete", "swap", "rollback", "empty")
CATALOG_KINDS = ("catalog.delete", "catalog.rollback", "catalog.garbage", "catalog.flip")


@dataclass
class Damage:
    """Harms replicas and the catalog. `limit()` replicas at a time, until they are as they were; None: all."""

    seed: int
    scheduler: Scheduler
    disks: Mapping[str, Disk]
    catalog: CatalogFile
    oracle: Oracle
    limit: Callable[[], int | None]
    harmed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """What each damaged replica held when it was damaged."""
    catalog_harmed: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(f"damage {self.seed}")
        self.kinds = [kind for kind in KINDS if self.rng.random() < 0.5]
        self.catalog_kinds = [kind for kind in CATALOG_KINDS if self.rng.random() < 0.4]

    def replicas(self) -> set[str]:
        """The ids of those that are not as they were."""
        return set(self.harmed)

    def both(self) -> bool:
        """Catalog and a replica at once: then nothing else may be missing."""
        return self.catalog_harmed and bool(self.harmed)

    def harm_replica(self) -> None:
        self.look()
        name = self.rng.choice(sorted(self.disks))
        disk = self.disks[name]
        most = self.limit()
        within = most is None or (most > 0 and name in self.harmed) or len(self.harmed) < most
        if not (self.kinds and within and disk.values):
            return
        kind = self.rng.choice(self.kinds)
        before = dict(disk.values)
        getattr(self, f"_{kind}")(disk)
        after = dict(disk.values)
        if after != before:
            self.harmed[name] = before | self.harmed.get(name, {})
            self.scheduler.count(kind)
            self.scheduler.say(f"DAMAGE {kind} {disk.name}: {_changed(before, after)}")

    def harm_catalog(self) -> None:
        if not (self.catalog_kinds and self.catalog.exists()):
            return
        kind = self.rng.choice(self.catalog_kinds)
        now = self.catalog.path.read_bytes()
        match kind:
            case "catalog.delete":
                data: bytes | None = None
            case "catalog.rollback" if self.catalog.copies:
                data = self.rng.choice(self.catalog.copies)
            case "catalog.garbage":
                data = self.rng.randbytes(100) + now[100:]
            case "catalog.flip":
                data = _flipped(now, self.rng)
            case _:
                return
        if data != now:
            self.catalog.replace(data)
            self.catalog_harmed = True
            self.scheduler.count(kind)
            self.scheduler.say(f"DAMAGE {kind}")

    def look(self) -> None:
        """Forget the damage that has been undone."""
        self.harmed = {name: before for name, before in self.harmed.items() if not self._as_before(name, before)}
        self.catalog_harmed = self.catalog_harmed and not self._catalog_right()

    def heal(self, name: str) -> None:
        """What an operator with a good copy would do: put back what was there."""
        self.disks[name].values.update(self.harmed.pop(name))

    def _as_before(self, name: str, before: Mapping[str, bytes]) -> bool:
        now = self.disks[name].values
        return all(now.get(key) == before[key] for key in self._needed(before))

    def _needed(self, held: Mapping[str, bytes]) -> set[str]:
        """Which of these keys the history rests on: what was acknowledged, and what was decided after that."""
        acked, floor = self.oracle.acked, self.oracle.floor()
        newest = max(acked, default=0)
        names = set(self.oracle.ancestry(acked[newest]).values()) if acked else set[str]()
        epochs = sorted(key for key in held if key.startswith(markers.EPOCHS))
        keys = {markers.REPLICA, *epochs[-1:]}
        for key in held:
            at = log.parse(key)
            if at is None or at[0] <= floor:
                continue
            try:
                record = log.decode(held[key], key)
            except IndexFault:
                continue
            name = record.manifest.name
            if name in names or record.version > newest:
                blobs = {name, *manifests.closure(self.oracle.manifest(name))}
                keys |= {key} | {f"blobs/{blob[:2]}/{blob}" for blob in blobs}
        return keys & held.keys()

    def _catalog_right(self) -> bool:
        if not self.catalog.exists():
            return False
        try:
            catalog = Catalog(f"sqlite:///{self.catalog.path}")
            meta = catalog.meta()
            rows = {row.version: row.ref.name for row in catalog.since(0)}
        except (IndexFault, ValueError):
            return False
        epoch = max((int(k[7:]) for d in self.disks.values() for k in d.values if k.startswith("epochs/")), default=0)
        floor = self.oracle.floor()
        acked = {version: name for version, name in self.oracle.acked.items() if version > floor}
        return meta is not None and meta.epoch >= epoch and acked.items() <= rows.items()

    def _flip(self, disk: Disk) -> None:
        key = self._key(disk)
        disk.values[key] = _flipped(disk.values[key], self.rng)

    def _truncate(self, disk: Disk) -> None:
        key = self._key(disk)
        disk.values[key] = disk.values[key][: self.rng.randrange(max(1, len(disk.values[key])))]

    def _delete(self, disk: Disk) -> None:
        del disk.values[self._key(disk)]

    def _swap(self, disk: Disk) -> None:
        one, two = self._key(disk), self._key(disk)
        disk.values[one], disk.values[two] = disk.values[two], disk.values[one]

    def _rollback(self, disk: Disk) -> None:
        if disk.copies:
            disk.become(self.rng.choice(disk.copies))

    def _empty(self, disk: Disk) -> None:
        disk.become({})

    def _key(self, disk: Disk) -> str:
        """Any key; the few small files that say what a replica is as often as the many blobs."""
        kinds: dict[str, list[str]] = {}
        for key in sorted(disk.values):
            kinds.setdefault(key.split("/")[0], []).append(key)
        return self.rng.choice(kinds[self.rng.choice(sorted(kinds))])


def _flipped(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return f"{len(changed)} keys, {changed[0][:48]}"
