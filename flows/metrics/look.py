"""What one look at a home finds: the types. Times are seconds since 1970, spans seconds, sizes bytes."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """Something that somebody has to see to.

    `kind`: `index`, `writing`, `replica` (one is away), `replication` (one lacks something), `store` (a DR store that
    cannot be shipped to), `ship` (one is behind), `snapshot`, `drill`, `drill-failed`, `freshness`, `held`, `breaker`.
    `subject`: which replica, store or source, "" where it is about all. `step`: what to type. `patience`: seconds that
    it may last before somebody is called.
    """

    kind: str
    subject: str
    said: str
    step: str = "penstock status"
    patience: float = 0.0

    @property
    def key(self) -> str:
        """What tells it from others, look after look."""
        return f"{self.kind}:{self.subject}"


class ReplicaLook(msgspec.Struct, frozen=True):
    """One replica. `up`: it answered in time, and a writer would take it; `lacks`: bytes of the newest version."""

    up: bool
    version: int = 0
    lacks: int = 0
    problem: str = ""
    gone: bool = False
    """Its place is not there: it lacks everything."""
    measured: bool = True
    """Whether what it lacks is known."""


class BudgetLook(msgspec.Struct, frozen=True):
    """What is used of what a source allows: budget → 0 to 1; whether its breaker is open."""

    used: dict[str, float] = {}
    breaker_open: bool = False


class FreshLook(msgspec.Struct, frozen=True):
    """`age`: how old the state of the source is that is searchable for certain. None: nothing is known, or wanted."""

    age: float | None = None
    objective: float | None = None
    breached: bool = False


class StoreLook(msgspec.Struct, frozen=True):
    """One DR store. None: it did not say, or there is none."""

    up: bool
    lag_seconds: float | None = None
    lag_versions: int | None = None
    lag_bytes: int | None = None
    snapshot_age: float | None = None
    snapshots_known: bool = False
    """Whether it said which snapshots it has: then no age means that there is none."""
    drill_age: float | None = None
    passed_age: float | None = None
    """Since the last drill that passed."""
    drill: str = ""
    """What came of the last drill: `passed`, `failed`, `undone`; "" if there was none."""


class Look(msgspec.Struct, frozen=True):
    """All of it. `up`: the index could be read (or there is none yet). `late`: who did not answer in time."""

    home: str
    at: float
    seconds: float = 0.0
    up: bool = True
    version: int | None = None
    committed_at: float = 0.0
    chunks: int | None = None
    documents: dict[str, dict[str, int]] = {}
    """source → state → how many, in version `documents_version`."""
    documents_version: int = 0
    spool_shards: int = 0
    held: dict[str, str] = {}
    """source → why no run changes it, "" where nothing holds it."""
    replicas: dict[str, ReplicaLook] = {}
    under_replicated: int | None = None
    stores: dict[str, StoreLook] = {}
    budgets: dict[str, BudgetLook] = {}
    freshness: dict[str, FreshLook] = {}
    searches: tuple[float, ...] = ()
    late: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
