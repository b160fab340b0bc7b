"""How many CPU cores this process may really use: what it is pinned to, or what its container was given."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """At least 1. A quota of two and a half cores counts as three: threads beyond a quota are only put to sleep."""
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _version2(cgroup) or _version1(cgroup)
    return max(1, min(pinned, -(-quota[0] // quota[1]) if quota else pinned))


def _version2(cgroup: Path) -> tuple[int, int] | None:
    words = _text(cgroup / "cpu.max").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and words[0].isdecimal() else None


def _version1(cgroup: Path) -> tuple[int, int] | None:
    quota, period = (_text(cgroup / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return (int(quota), int(period)) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
