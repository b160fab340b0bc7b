"""What happens in a run, told to whoever listens: metrics, structured logs, Prefect's pages and events.

    run ──▶ Bus ──▶ each listener

A listener never raises into the run and never slows it: it counts and hands on, and does what takes time on a thread of
its own. Events come from any thread of the run; of one document or one shard they come in order. Times are seconds
since 1970 by the run's clock, durations seconds. Secrets are gone from every text before it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.flows.runs.accounting import Accounting


@dataclass(frozen=True, slots=True)
class RunStarted:
    """First of all. `run` names the run in document state; `priority` as on the command line.

    `targets`: what was asked for, in the words of whoever asked; none: everything that is configured.
    """

    run: str
    home: str
    priority: str
    at: float
    targets: tuple[str, ...] = ()
    dry_run: bool = False
    budget_tokens: int | None = None
    budget_minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One source was compared with the index. `problem`: why it could not be listed, "" if it was."""

    source: str
    listed: int
    todo: int
    gone: int
    withheld: int
    gaps: int
    problem: str = ""
    complete: bool = True
    """Whether the whole source was looked at, by a listing or by its changes feed, and not a part of it."""
    began: float = 0.0
    """When: each change before it is in the listing."""
    states: dict[str, int] = field(default_factory=dict)
    """Documents that the listing alone settled, by where they stand in the account: `unchanged`, `rejected`, …"""


@dataclass(frozen=True, slots=True)
class DocumentPrepared:
    """One document was fetched, parsed and cut, or was not: `status` as in document state, `reason` "" if indexed."""

    source: str
    uri: str
    status: str
    reason: str
    detail: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardPrepared:
    """A shard lies complete in the spool."""

    shard: str
    source: str
    documents: int
    chunks: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardEmbedded:
    """A shard has its vectors (or has not, where the run is stopped). Tokens exclude padding, `padded` counts it."""

    shard: str
    source: str
    device: str
    complete: bool
    tokens: int
    padded: int
    reused_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class GaveWay:
    """The device was given to something more urgent for `seconds`; `lent`: our model made its vectors meanwhile."""

    device: str
    seconds: float
    lent: bool


@dataclass(frozen=True, slots=True)
class CommitLanded:
    """A version is acknowledged. `fresh`: seconds from each document's change at its source to now, where it says."""

    shard: str
    source: str
    version: int
    documents: dict[str, int] = field(default_factory=dict)
    """Status → documents. `unchanged` are those that another run brought in meanwhile, at the same version."""
    unchanged: int = 0
    """Of those `indexed`, the ones whose content was in the index: the account calls them unchanged."""
    chunks: int = 0
    seconds: float = 0.0
    fresh: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceWaits:
    """Nothing is asked of a source for a while. `breaker`: because it only failed, and is probed now and then."""

    source: str
    why: str
    seconds: float
    breaker: bool


@dataclass(frozen=True, slots=True)
class RequestsRepeated:
    """So many requests to a source had to be repeated so far in this run: reason → count, since it began."""

    source: str
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class ReplicaLeftOut:
    """A replica did not take a commit, and why; the next one that succeeds brings it in step again."""

    replica: str
    problem: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A line that a person should read, as the observer has it."""

    message: str


@dataclass(frozen=True, slots=True)
class Accounted:
    """The account of a run that could finish, before its end is told. It adds up; nobody changes it any more."""

    account: Accounting


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Last of all. `state`: `complete`, `incomplete`, `stopped` or `failed`; `problem` is "" unless it failed."""

    run: str
    state: str
    seconds: float
    problem: str = ""


Event = (
    RunStarted
    | Listed
    | DocumentPrepared
    | ShardPrepared
    | ShardEmbedded
    | GaveWay
    | CommitLanded
    | SourceWaits
    | RequestsRepeated
    | ReplicaLeftOut
    | Noted
    | Accounted
    | RunEnded
)
Listener = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Listens to nothing."""


class Bus:
    """Tells every listener. A listener that raises is told nothing more, and `note` says so once. Thread-safe.

    A listener may have a `name`: the key of the configuration that it is there for, in the words of who wrote it.
    """

    def __init__(self, listeners: Iterable[Listener], note: Callable[[str], None]) -> None:
        self._listeners, self._note = list(listeners), note
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:
                self._drop(listener, error)

    def _drop(self, listener: Listener, error: Exception) -> None:
        with self._lock:
            if listener not in self._listeners:
                return
            self._listeners.remove(listener)
        name = getattr(listener, "name", "") or getattr(listener, "__qualname__", type(listener).__name__)
        self._note(f"{name}: {_plainly(error)}; it is told nothing more of this run, documents are not affected")


def _plainly(error: Exception) -> str:
    """Without the number that the system has for it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
