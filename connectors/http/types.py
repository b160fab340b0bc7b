"""What goes through the door and comes back, and what a source's budget promises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from penstock.connectors.types import RetryLater

T = TypeVar("T")

MOST_VALUES = 2_000_000
"""In one JSON answer: an empty list takes three bytes there and sixty here."""
_VALUE = re.compile(rb'(?:[^"\[{,]|"(?:[^"\\]|\\.)*+")*+[\[{,]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What one source allows all tasks, runs and processes together. None: no limit of that kind.

    `requests_per_second`: a fraction is fine (0.2 is one every five seconds). `concurrency` is the ceiling; the
    budget itself finds out how much of it the source takes. `per_day` counts requests from midnight UTC.
    `patience`: seconds that a caller waits for a source that throttles or is down before it gives up.
    """

    requests_per_second: float | None = None
    concurrency: int = 4
    per_day: int | None = None
    patience: float = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended, for the budget to learn from. `verdict`: `ok`, `throttled` (429, 503), `failed` (5xx,
    connection, time-out: the breaker counts it) or `cancelled` (says nothing about the source).

    `seconds`: until the answer's head. `cooldown`: seconds that the source asked *everyone* to wait, 0 if it did not.
    """

    verdict: str
    seconds: float = 0.0
    cooldown: float = 0.0


class Permit(Protocol):
    """One request's place in the budget. Exactly one `done` is expected; leaving the block without it means
    `cancelled`."""

    def done(self, outcome: Outcome) -> None: ...


class Budget(Protocol):
    """One source's budget, shared by everybody who opens it at the same place. Thread-safe."""

    def request(self) -> AbstractContextManager[Permit]:
        """Wait for a place: rate, concurrency, cooldown, breaker.

        Raises `StopSource` (with `after`) when the quota of the day is spent, or when the breaker stays open or the
        cooldown lasts beyond patience.
        """
        ...


class Ledger(Protocol):
    """Where budgets are kept: one small value per name, changed atomically by any process that shares the place."""

    def change(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        """Replace the value of `name` (b"" if it has none) by what `act` makes of it, and return the rest of its
        answer. `act` is quick and may be called again; nobody else changes the value meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """Where requests may go, and how long and how large an answer may be.

    `allow`: networks in CIDR form, or host names, that may be private or link-local; everything else that is not
    a public address is refused, after DNS and on every redirect. `ca_file`: certificates to trust besides the
    system's. Verification itself cannot be turned off.
    """

    allow: tuple[str, ...] = ()
    ca_file: Path | None = None
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 300.0
    """For one answer's head and body, buffered; a download's total grows with its size (see `slowest`)."""
    slowest: int = 1024
    """Bytes a second, averaged over `read_seconds`: a body that drips slower than that is stalled."""
    attempts: int = 10
    retry_seconds: float = 300.0
    """Retries of one request end at the first of both."""
    max_page_bytes: int = 64 << 20
    """For an answer that is held in memory, decompressed."""
    max_ratio: int = 200
    """Decompressed to compressed, beyond the first MiB."""
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer held in memory. `headers` have lower-case names; `url` is where it came from after redirects.

    Its `repr` shows the status only: the rest may hold what no log should.
    """

    status: int
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    retries: int = 0

    def json(self) -> Any:
        """The body as JSON. Raises `RetryLater` (reason `garbled`), also for more than `MOST_VALUES` values."""
        if crowded(self.body):
            raise RetryLater(f"the answer holds more than {MOST_VALUES:,} values", reason="garbled")
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise RetryLater("the answer is not the JSON that was asked for", reason="garbled") from None


def crowded(body: bytes) -> bool:
    """Whether JSON has so many values that it would take far more memory than its text."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= MOST_VALUES:
        return False
    found, at = 0, 0  # only now is it worth the time to leave out what stands within strings
    while found <= MOST_VALUES and (match := _VALUE.match(body, at)):
        found, at = found + 1, match.end()
    return found > MOST_VALUES


@dataclass(frozen=True, slots=True)
class Download:
    """A body on disk. `path` was made for this call, below the folder that the door was given; the caller deletes
    it. `etag` and `last_modified` are "" where the server sent none."""

    path: Path
    size: int
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    etag: str = ""
    last_modified: str = ""
    retries: int = 0


class NotModified(Exception):
    """A download that was asked for with If-None-Match or If-Modified-Since is as it was."""


class Door(Protocol):
    """HTTP for one source: budgeted, retried, bounded. Thread-safe. Never follows a redirect to a place that is not
    allowed, never sends credentials or cookies to another origin, never writes a secret into a message.

    `auth` in `open_door` decides what is added to each request. Errors by what to do next: `RetryLater` (attempts or
    time spent; `reason` says which way), `RejectItem` (`too_large`), `StopSource` (401 that a renewed token did not
    mend, quota, breaker, TLS), `FileNotFoundError` (404, 410). 403 is `RetryLater(reason="forbidden")`.
    Other 4xx: `StopSource` from `request`, as the contract is broken; `RetryLater(reason="refused")` from `download`.
    """

    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        accept_statuses: tuple[int, ...] = (),
        valid: Callable[[Reply], object] | None = None,
        cookies: bool = False,
    ) -> Reply:
        """One answer, in memory. 2xx, and those of `accept_statuses` (such as 304), are returned.

        `valid` is called with each answer and may raise `RetryLater(reason=...)`: then it is retried like any other
        fault (an API that answers 200 with an error of its own, a page that is no JSON). Only safe or idempotent
        requests are made here: retrying is always allowed. It runs while the request's place in the budget is
        held: it asks nobody anything.

        `cookies`: leave `set-cookie` in the reply's headers (several joined by ", "), if it came from one of the
        door's own origins: for a login that gives a session. The door itself keeps and sends none.
        """
        ...

    def download(
        self,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int,
    ) -> Download:
        """The body, streamed to disk; resumed by Range and If-Range where the server can, else from the start.

        Raises `NotModified` if `headers` ask for that (If-None-Match, If-Modified-Since), and never otherwise.
        """
        ...

    @property
    def retries(self) -> Mapping[str, int]:
        """Repeated requests so far by reason, a word of `reasons.RETRIES`."""
        ...

    def close(self) -> None: ...
