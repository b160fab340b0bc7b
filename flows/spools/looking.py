"""What lies in the spool, for whoever only looks: which shards a run holds, and which an interrupted run left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.flows.config.names import ADHOC
from penstock.flows.spools.shard_writer import MARKER, Marker, ShardLock, alone
from penstock.flows.spools.spool import Shard, decoded


@dataclass(frozen=True, slots=True)
class Spooled:
    """`held`: shards that a living run works on. `left`: of the prepared shards that nobody holds, source →
    their documents' uris; those only of lone files, which a command has to name one by one."""

    held: int
    left: dict[str, list[str]]


def looked(spool: Path) -> Spooled:
    """Look at the spool and change nothing. A run never meets the locks that this takes for a moment."""
    held, left = 0, dict[str, list[str]]()
    for directory in sorted(spool.glob("shard-*")) if spool.is_dir() else ():
        try:
            marker = _unheld(directory)
        except (OSError, msgspec.MsgspecError):
            continue  # gone meanwhile, or not ours to read
        if isinstance(marker, Marker):
            left.setdefault(marker.source, []).extend(_uris(directory, marker) if marker.source == ADHOC else ())
        held += marker is True
    return Spooled(held, left)


def _unheld(directory: Path) -> Marker | bool | None:
    """The marker of a shard that nobody holds; True if a run holds it, None if it is not prepared."""
    with alone(directory.parent):  # whoever takes a shard over waits for this, and finds it free afterwards
        lock = ShardLock(directory)
        try:
            if not lock.acquire():
                return True
            return decoded((directory / MARKER).read_bytes())
        except FileNotFoundError:
            return None
        finally:
            lock.release()


def _uris(directory: Path, marker: Marker) -> list[str]:
    shard = Shard(directory, marker, ShardLock(directory))
    try:
        return [state.uri for state in shard.states() if state.status != "failed"]
    finally:
        shard.release()
