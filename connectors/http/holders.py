"""Who holds a place in a budget, and whether it still lives.

A holder is named `HOST/PID/START`: the machine since it was booted and its space of process numbers (containers have
their own), the process, and when that was started, as numbers are used again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")


class Holders:
    """Names this process, also after a fork, and looks for others of the same machine in `proc` (proc(5)).

    Where there is no such folder, hosts are told apart by `token`, and nobody is known to be dead.
    """

    def __init__(self, token: Callable[[], str], *, proc: Path = PROC, pid: Callable[[], int] = os.getpid) -> None:
        self._proc, self._pid = proc, pid
        self.host = _host(proc) or token()
        self._me = (-1, "")

    def me(self) -> str:
        """The name of this process."""
        pid = self._pid()
        if self._me[0] != pid:
            self._me = (pid, f"{self.host}/{pid}/{_started(self._proc, pid) or ''}")
        return self._me[1]

    def alive(self, holder: str) -> bool | None:
        """Whether that process lives; None if nobody here can know."""
        if holder == self.me():
            return True
        host, _, rest = holder.partition("/")
        pid, _, started = rest.partition("/")
        if host != self.host or not started or not pid.isascii() or not pid.isdigit():
            return None
        try:
            now = _started(self._proc, int(pid))
        except OSError:
            return None
        return now == started


def _host(proc: Path) -> str:
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        space = (proc / "self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:16]


def _started(proc: Path, pid: int) -> str | None:
    """When the process was started, in the kernel's ticks since the boot; None if there is none, or a zombie."""
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything: the fields are counted from its end.
    fields = stat[stat.rfind(b")") + 2 :].split()
    return None if len(fields) < 20 or fields[0] in (b"Z", b"X") else fields[19].decode()
