"""Replicas in memory: a disk that all processes share, and the store by which one process reaches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.index.errors import NoSpace, Unavailable
from penstock.index.stores.store import checked
from tests.sim.scheduler import Op, Process, Scheduler


@dataclass(eq=False)
class Disk:
    """What a replica holds. Outages are times at which they end; `late` are puts that will land some day."""

    name: str
    values: MutableMapping[str, bytes] = field(default_factory=dict)
    down_until: float = 0.0
    full_until: float = 0.0
    cut_off: set[str] = field(default_factory=set)
    """Names of processes that cannot reach it."""
    late: list[tuple[str, bytes]] = field(default_factory=list)
    copies: list[dict[str, bytes]] = field(default_factory=list)
    """Earlier states of the whole disk, oldest first: what an operator may put back by mistake."""

    def become(self, values: Mapping[str, bytes]) -> None:
        """Hold exactly this. Nothing at all is a disk, or a directory, that is gone."""
        self.values.clear()
        self.values.update(values)

    def keep(self, key: str, data: bytes) -> bool:
        with _keeping:
            if key in self.values:
                return False
            self.values[key] = data
            return True


_keeping = threading.Lock()
"""For the suite of all stores, which races threads; a schedule has only one."""


class SimStore:
    """The store contract, over a disk, as one process sees it. It is not local: readers fetch."""

    def __init__(self, disk: Disk, process: Process, scheduler: Scheduler, ever: dict[str, bytes]) -> None:
        self.name = f"disk-{disk.name}"
        self._disk, self._process, self._scheduler, self._ever = disk, process, scheduler, ever

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        value = data.read_bytes() if isinstance(data, Path) else bytes(data)
        if checked(key).startswith("tmp/"):
            raise ValueError(f"keys below tmp/ belong to the store: {key!r}")
        fate = self._point("put", key)
        if fate == "nospace":
            raise NoSpace(f"{self.name}: the disk is full; make room and run again")
        if fate == "late":
            self._disk.late.append((key, value))
            raise Unavailable(f"{self.name}: no answer")
        if key.startswith("blobs/"):
            self._ever.setdefault(key, value)
        made = self._disk.keep(key, value)
        self._reply(fate)
        return made

    def get(self, key: str) -> bytes:
        self._reply(self._point("get", checked(key)))
        return self._value(key)

    def get_range(self, key: str, start: int, end: int) -> bytes:
        if start < 0:
            raise ValueError(f"not a range: [{start}, {end})")
        self._reply(self._point("range", checked(key)))
        return self._value(key)[start : max(start, end)]

    def size(self, key: str) -> int | None:
        self._reply(self._point("size", checked(key)))
        value = self._disk.values.get(key)
        return None if value is None else len(value)

    def list(self, prefix: str) -> Iterator[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a prefix ends with a slash: {prefix!r}")
        self._reply(self._point("list", prefix))
        return iter(sorted(key for key in self._disk.values if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        fate = self._point("delete", checked(key))
        self._disk.values.pop(key, None)
        self._reply(fate)

    def local_path(self, key: str) -> Path | None:
        checked(key)
        return None

    def probe(self) -> None:
        if self._point("probe", "") == "nospace":
            raise NoSpace(f"{self.name}: the disk is full; make room and run again")

    def _value(self, key: str) -> bytes:
        try:
            return self._disk.values[key]
        except KeyError:
            raise FileNotFoundError(2, "no such key", key) from None

    def _point(self, kind: str, key: str) -> str:
        fate = self._scheduler.point(Op(kind, self.name, key))
        if fate == "unavailable":
            raise Unavailable(f"{self.name}: cannot be reached")
        if fate == "slow":
            self._scheduler.sleep(self._process.rng.uniform(1, 60), self.name)
        return fate

    def _reply(self, fate: str) -> None:
        if fate == "lost":
            raise Unavailable(f"{self.name}: the answer was lost")
