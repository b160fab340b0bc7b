"""A run in this process that dies as a killed one does: from one moment on nothing more reaches the disk.

What unwinds afterwards only lets go of locks, which a kernel would do too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.embed.cache import VectorCache
from penstock.flows.spools import scratch, shard_writer, spool
from penstock.index.commits import commit
from penstock.index.commits.commit import Writer

OURS = (
    "shard.begun",
    "shard.torn",
    "shard.added",
    "shard.closed",
    "vectors.appended",
    "cache.put",
    "shard.committed",
    "shard.unmarked",
    "source.asked",
)
POINTS = (
    *OURS,
    *(point for point in commit.CRASH_POINTS if point.startswith(("txn", "content", "blobs", "ratified", "published"))),
)


class Death(BaseException):
    """The process is no more."""


class Reaper:
    """Lets the process die at `point` when it is reached for the `left`-th time. `arm` before each run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.point, self.left, self.dead = "", 0, False
        self._locks: list[shard_writer.ShardLock] = []
        self._patch(monkeypatch)

    def arm(self, point: str = "", times: int = 1) -> None:
        self.point, self.left, self.dead = point, times, False

    def bury(self) -> None:
        """What the kernel does for the dead: every lock is free."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    def reach(self, point: str) -> None:
        """Die here if it is the moment, and everywhere once dead."""
        if point and point == self.point:
            self.left -= 1
            self.dead = self.dead or self.left == 0
        if self.dead:
            raise Death(self.point)

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("create", "open"):
            patch.setattr(Writer, name, partial(getattr(Writer, name), reach=self.reach))
        patch.setattr(shard_writer.ShardLock, "__init__", self._noted(shard_writer.ShardLock.__init__))
        writer, shard = shard_writer.ShardWriter, spool.Shard
        patch.setattr(writer, "__init__", self._around(writer.__init__, "shard.begun"))
        patch.setattr(writer, "add", self._torn(writer.add))
        patch.setattr(writer, "close", self._around(writer.close, "shard.closed"))
        patch.setattr(writer, "abandon", self._unless_dead(writer.abandon))
        patch.setattr(spool.VectorLog, "append", self._around(spool.VectorLog.append, "vectors.appended"))
        patch.setattr(VectorCache, "put", self._around(VectorCache.put, "cache.put"))
        patch.setattr(scratch, "give_up", self._unless_dead(scratch.give_up))
        patch.setattr(shard, "discard", self._discarding(shard.discard))

    def _around(self, method: Callable[..., Any], point: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.reach("")
            result = method(*args, **options)
            self.reach(point)
            return result

        return call

    def _unless_dead(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: None if self.dead else method(*args)

    def _noted(self, make: Callable[..., None]) -> Callable[..., None]:
        def call(lock: shard_writer.ShardLock, directory: Path) -> None:
            make(lock, directory)
            self._locks.append(lock)

        return call

    def _torn(self, add: Callable[..., Any]) -> Callable[..., Any]:
        """Half of a document is in the files, or all of it but its record."""

        def call(writer: Any, *args: Any) -> None:
            self.reach("")
            before = {path: path.stat().st_size for path in writer.directory.iterdir()}
            add(writer, *args)
            try:
                self.reach("shard.torn")
            except Death:
                for path, size in before.items():
                    os.truncate(path, (size + path.stat().st_size) // 2)
                raise
            self.reach("shard.added")

        return call

    def _discarding(self, discard: Callable[..., Any]) -> Callable[..., Any]:
        def call(shard: Any) -> None:
            self.reach("shard.committed")
            (shard.directory / shard_writer.MARKER).unlink(missing_ok=True)
            self.reach("shard.unmarked")
            discard(shard)

        return call
