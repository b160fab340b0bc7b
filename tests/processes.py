"""Processes as the system shows them. They and their threads may end between two looks, and so while one looks."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")


def children(parent: int | str = "self") -> set[int]:
    """The ids of the processes that any living thread of `parent` started, zombies included."""
    found: set[int] = set()
    for task in (PROC / str(parent) / "task").glob("*"):
        found |= {int(word) for word in read(task / "children").split()}
    return found


def gone(pid: int) -> bool:
    """Whether the process is no more, or is nothing but a status that nobody asked for yet."""
    fields = read(PROC / str(pid) / "stat").rpartition(b")")[2].split()
    return not fields or fields[0] in b"ZX"


def read(file: Path) -> bytes:
    """What a file of /proc says; nothing if what it tells of has ended."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
