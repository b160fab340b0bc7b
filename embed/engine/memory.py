"""How much memory this process may still take: the machine's, or what its container was given, whichever is less.

Read from `/proc` and the cgroup files each time, because other processes come and go. Elsewhere than on Linux nothing
is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

HOST_SHARE = 0.25
"""Of free memory, for a batch on the CPU: parsers, the spool's pages and other programs live there too."""
DEVICE_SHARE = 0.8
"""Of a GPU's free memory: its allocator cuts it into blocks, and not every block can be used."""
_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Bytes. cgroup v1 has no word for "no limit": it says a number of about this size."""


class Memory(msgspec.Struct, frozen=True):
    """Bytes. `free`: what can be taken without anybody being swapped out or killed. `limit`: who says so."""

    free: int
    total: int
    limit: str = "machine"

    def cap(self, share: float) -> int:
        """So many bytes may one batch take."""
        return int(self.free * share)


def host(proc: Path = _PROC, cgroup: Path = _CGROUP) -> Memory | None:
    """This machine's memory as this process may use it; None where the system does not say."""
    machine = _machine(proc / "meminfo")
    limits = [limit for limit in (*_version2(proc, cgroup), *_version1(proc, cgroup)) if limit is not None]
    if machine is None:
        return min(limits, key=lambda each: each.free, default=None)
    found = min([machine, *limits], key=lambda each: each.free)
    return Memory(found.free, min([machine.total, *(limit.total for limit in limits)]), found.limit)


def _machine(meminfo: Path) -> Memory | None:
    said = _table(meminfo, ":")
    if "MemTotal" not in said:
        return None
    kib = said.get("MemAvailable", said.get("MemFree", 0) + said.get("Cached", 0))
    return Memory(kib << 10, said["MemTotal"] << 10)


def _version2(proc: Path, root: Path) -> Iterator[Memory | None]:
    path = next((path for controllers, path in _groups(proc) if controllers == ""), None)
    for folder in _upwards(root, path):
        most = min((_number(folder / name) for name in ("memory.max", "memory.high")), default=_UNLIMITED)
        cache = _table(folder / "memory.stat", " ")
        yield _within(most, _number(folder / "memory.current", 0), cache.get("inactive_file", 0), "cgroup v2")


def _version1(proc: Path, root: Path) -> Iterator[Memory | None]:
    path = next((path for controllers, path in _groups(proc) if "memory" in controllers.split(",")), None)
    for folder in _upwards(root / "memory", path):
        cache = _table(folder / "memory.stat", " ")
        most = min(_number(folder / "memory.limit_in_bytes"), cache.get("hierarchical_memory_limit", _UNLIMITED))
        used = _number(folder / "memory.usage_in_bytes", 0)
        yield _within(most, used, cache.get("total_inactive_file", 0), "cgroup v1")


def _within(most: int, used: int, reclaimable: int, who: str) -> Memory | None:
    """File pages that nobody touched lately are dropped before anybody is killed: they count as free."""
    if most >= _UNLIMITED:
        return None
    return Memory(max(0, min(most, most - used + reclaimable)), most, who)


def _groups(proc: Path) -> list[tuple[str, str]]:
    """(controllers, path) of each line of `/proc/self/cgroup`; version 2's line names no controller."""
    lines = [line.split(":", 2) for line in _text(proc / "self" / "cgroup").splitlines()]
    return [(parts[1], parts[2]) for parts in lines if len(parts) == 3]


def _upwards(root: Path, path: str | None) -> Iterator[Path]:
    """The group's folder and all above it: the tightest limit counts, and any of them may have one.

    In a container the path may be one of the host's, which is not there: its own group is then the root.
    """
    parts = [part for part in (path or "").split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        if (folder := root.joinpath(*parts[:length])).is_dir():
            yield folder


def _number(path: Path, missing: int = _UNLIMITED) -> int:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else missing


def _table(path: Path, separator: str) -> dict[str, int]:
    pairs = (line.partition(separator) for line in _text(path).splitlines())
    words = ((key.strip(), value.split()) for key, _, value in pairs)
    return {key: int(value[0]) for key, value in words if value and value[0].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
