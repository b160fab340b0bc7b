"""What the measurements say of the machine that they ran on, and of the memory that was used there."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

LIBRARIES = ("torch", "sentence-transformers", "transformers", "tokenizers", "faiss-cpu", "numpy")
_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def described(libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Date, processor and what of it this process may use, memory, versions."""
    cpuinfo = _fields("/proc/cpuinfo")
    flags = cpuinfo.get("flags", "").split()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": cpuinfo.get("model name", platform.machine()),
        "cores": str(len(os.sched_getaffinity(0))),
        "flags": " ".join(flag for flag in _FLAGS if flag in flags),
        "memory_gb": str(round(int(_fields("/proc/meminfo").get("MemTotal", "0 kB").split()[0]) / 1e6)),
        "python": platform.python_version(),
        **{library: _version(library) for library in libraries},
    }


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def say(line: str) -> None:
    """Progress, for who waits: on stderr, so that stdout is the result alone."""
    print(line, file=sys.stderr, flush=True)


def show(found: Mapping[str, object], prefix: str = "") -> None:
    """One figure a line on stdout: its name, dots between the levels, and its value."""
    for key, value in found.items():
        if isinstance(value, dict):
            show(value, f"{prefix}{key}.")
        else:
            print(f"{prefix + str(key):55} {value}")


class Memory:
    """While it is entered: the most memory that process `root` and all below it have held together.

    `peak`: bytes, the sum of proportional set sizes (a page that several share is counted once), looked at every
    `period` seconds; what comes and goes in between is not seen. `largest`: bytes by the name of the process, at the
    time of the peak. `peak_anonymous`: without what is mapped from files, which the kernel may drop. The last look is
    on leaving: a process that is still there then has been seen, however short it was.
    """

    def __init__(self, root: int, period: float = 1.0) -> None:
        self.peak, self.peak_anonymous, self.largest = 0, 0, dict[str, int]()
        self._root, self._period, self._over = root, period, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(self._period):
            self._look()

    def _look(self) -> None:
        seen = {pid: _pss(pid) for pid in tree(self._root)}
        held = {pid: whole for pid, (whole, _) in seen.items()}
        self.peak_anonymous = max(self.peak_anonymous, sum(anonymous for _, anonymous in seen.values()))
        if (total := sum(held.values())) > self.peak:
            self.peak, self.largest = total, _by_name(held)


def tree(root: int) -> list[int]:
    """The process and all its descendants that are there now."""
    found, at = [root], 0
    while at < len(found):
        for tasks in Path(f"/proc/{found[at]}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                pass
        at += 1
    return found


def _pss(pid: int) -> tuple[int, int]:
    """Bytes: all, and without what is mapped from files."""
    fields = _fields(f"/proc/{pid}/smaps_rollup")
    whole, anonymous, shared = (int(fields.get(key, "0").split()[0]) for key in ("Pss", "Pss_Anon", "Pss_Shmem"))
    return whole * 1024, (anonymous + shared) * 1024


def _by_name(held: dict[int, int]) -> dict[str, int]:
    named: dict[str, int] = {}
    for pid, size in held.items():
        name = _name(pid)
        named[name] = named.get(name, 0) + size
    return named


def _name(pid: int) -> str:
    """What the process is for, where its command says so."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "gone"
    known = (("penstock.embed.worker", "embedding"), ("penstock.connectors.parsing", "parsing"))
    return next((name for part, name in known if part in said), _fields(f"/proc/{pid}/status").get("Name", "gone"))


def _fields(file: str) -> dict[str, str]:
    """`name: value` lines of a file in /proc; {} if it is not there, or its process is gone. The first of a name."""
    found: dict[str, str] = {}
    try:
        for line in Path(file).read_text(errors="replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return found


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
