"""A run's folder for what it fetches: gone with the run, and where the run was killed, gone with the next one."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock.flows.spools.shard_writer import ShardLock, alone


def take(folder: Path, name: str) -> tuple[Path, ShardLock]:
    """A new folder in `folder`, locked; the folders of runs that are dead are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        for left in [path for path in folder.iterdir() if path.is_dir()]:
            lock = ShardLock(left)
            if lock.acquire():
                shutil.rmtree(left, ignore_errors=True)
            lock.release()
        mine = folder / name
        mine.mkdir(mode=0o700)  # what is fetched may be for few people, and the home open to many
        lock = ShardLock(mine)
        lock.acquire()
    return mine, lock


def give_up(folder: Path, lock: ShardLock) -> None:
    """Remove the folder with all that is left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
