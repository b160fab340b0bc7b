"""Replicas that are real directories, with the same faults: what makes absent ones again works on these only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TypeVar

from penstock.index.errors import NoSpace, Unavailable
from penstock.index.stores.store import LocalStore
from tests.sim.disk import Disk
from tests.sim.scheduler import Op, Process, Scheduler

_T = TypeVar("_T")


class Folder(MutableMapping[str, bytes]):
    """What lies in a directory, by key; what belongs to the store itself is not shown."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a reader that holds the file open keeps what it had
        path.write_bytes(value)

    def __delitem__(self, key: str) -> None:
        (self.root / key).unlink()

    def __iter__(self) -> Iterator[str]:
        keys = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return iter(sorted(key for key in keys if not key.startswith("tmp/")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """The directory itself is gone."""
        shutil.rmtree(self.root, ignore_errors=True)


class SimLocal(LocalStore):
    """The real local store, as one process reaches it: each call waits for its turn and may fail."""

    def __init__(self, disk: Disk, process: Process, scheduler: Scheduler, ever: dict[str, bytes]) -> None:
        assert isinstance(disk.values, Folder)
        self._numbers = iter(range(1 << 60))
        super().__init__(disk.values.root, token=lambda: f"{process.name}.{id(self)}.{next(self._numbers)}")
        self.name = f"disk-{disk.name}"
        self._disk, self._process, self._scheduler, self._ever = disk, process, scheduler, ever

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        value = data.read_bytes() if isinstance(data, Path) else bytes(data)
        fate = self._point("put", key)
        if fate in ("nospace", "late"):  # a local disk does nothing late
            raise NoSpace(f"{self.name}: the disk is full; make room and run again")
        if key.startswith("blobs/"):
            self._ever.setdefault(key, value)
        return self._replied(fate, super().put_if_absent(key, value))

    def get(self, key: str) -> bytes:
        return self._replied(self._point("get", key), super().get(key))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._replied(self._point("range", key), super().get_range(key, start, end))

    def size(self, key: str) -> int | None:
        return self._replied(self._point("size", key), super().size(key))

    def list(self, prefix: str) -> Iterator[str]:
        return self._replied(self._point("list", prefix), super().list(prefix))

    def delete(self, key: str) -> None:
        self._replied(self._point("delete", key), super().delete(key))

    def local_path(self, key: str) -> Path | None:
        return self._replied(self._point("path", key), super().local_path(key))

    def probe(self) -> None:
        if self._point("probe", "") == "nospace":
            raise NoSpace(f"{self.name}: the disk is full; make room and run again")

    def _point(self, kind: str, key: str) -> str:
        fate = self._scheduler.point(Op(kind, self.name, key))
        if fate == "unavailable":
            raise Unavailable(f"{self.name}: cannot be reached")
        if fate == "slow":
            self._scheduler.sleep(self._process.rng.uniform(1, 60), self.name)
        return fate

    def _replied(self, fate: str, answer: _T) -> _T:
        if fate == "lost":
            raise Unavailable(f"{self.name}: the answer was lost")
        return answer
