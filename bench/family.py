"""A process and all below it: what they cost, and that none of them outlives its measurement."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import machine

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KINDS = (
    ("penstock.embed.worker", "embedding"),
    ("penstock.connectors.parsing", "parsing"),
    ("resource_tracker", "tracker"),
    ("prefect.engine", "flow"),
    ("flow_runs", "flow"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """`own`: processor seconds of a process itself; `with_children`: and of those below it that ended. `rss`: bytes."""

    own: float
    with_children: float
    rss: int
    started: int


def cost(pid: int) -> Cost | None:
    """What a process has cost so far; None if it is gone, or nobody has asked yet what it ended with."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    user, system, child_user, child_system = (int(word) / _TICKS for word in fields[11:15])
    own = user + system
    return Cost(own, own + child_user + child_system, int(fields[21]) * _PAGE, int(fields[19]))


def members(root: int) -> dict[int, int]:
    """The process and all below it that are there: id → when it started, in ticks, so that no other is taken for it."""
    return {pid: found.started for pid in machine.tree(root) if (found := cost(pid)) is not None}


def left(family: Mapping[int, int]) -> list[int]:
    """Those that are still there."""
    return [pid for pid, started in family.items() if (found := cost(pid)) is not None and found.started == started]


def end(family: Mapping[int, int]) -> None:
    """SIGKILL to those that are still there."""
    for pid in left(family):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@dataclass
class Watch:
    """Looks at processes every `period` seconds, on a thread, while it is entered; costs a few files read each time.

    `roots`: by name, the process whose whole family counts. `peak`: bytes of memory that each family held at most
    (resident; what is shared counts in each); `first` and `last`: at the beginning and at the end.
    """

    roots: Mapping[str, int]
    period: float = 5.0
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)
    _roots_began: dict[str, float] = field(default_factory=dict)
    _seen: dict[tuple[str, int, int], tuple[str, float]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._look()
        self.first = dict(self.last)
        self._began = {name: self._total(name) for name in self.roots}
        self._roots_began = dict.fromkeys(self.roots, 0.0)
        self._roots_began = {name: self.itself(name) for name in self.roots}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def cpu(self, name: str) -> float:
        """Processor seconds of a family since the beginning; of those that ended, up to a period is not seen."""
        return self._total(name) - self._began[name]

    def itself(self, name: str) -> float:
        """Processor seconds of the root alone since the beginning."""
        root = self.roots[name]
        return (
            sum(spent for (family, pid, _), (_, spent) in self._seen.items() if (family, pid) == (name, root))
            - (self._roots_began[name])
        )

    def by_kind(self, name: str) -> dict[str, float]:
        """The same by what a process is: `itself`, `flow`, `embedding`, `parsing`, `other`; from when it started."""
        found: dict[str, float] = {}
        for (family, _, _), (kind, seconds) in self._seen.items():
            if family == name:
                found[kind] = found.get(kind, 0.0) + seconds
        return {kind: round(seconds, 1) for kind, seconds in found.items()}

    def _total(self, name: str) -> float:
        return sum(seconds for (family, _, _), (_, seconds) in self._seen.items() if family == name)

    def _run(self) -> None:
        while not self._over.wait(self.period):
            self._look()

    def _look(self) -> None:
        for name, root in self.roots.items():
            held = 0
            for pid in machine.tree(root):
                found = cost(pid)
                if found is not None:
                    held += found.rss
                    self._seen[name, pid, found.started] = ("itself" if pid == root else kind(pid), found.own)
            if held:
                self.last[name] = held
                self.peak[name] = max(held, self.peak.get(name, 0))


def kind(pid: int) -> str:
    """What a process is for, by its command."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "other"
    return next((name for part, name in _KINDS if part in said), "other")
