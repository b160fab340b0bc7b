"""The first stage: fetch, parse, cut into chunks, and write to the spool until a shard is full.

The source is asked once: what is in the spool is never fetched again. Files are parsed in parallel, a
bounded few ahead, and written as they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from penstock.connectors.types import Document, Failed, Fetched, Rejected, RejectItem, RetryLater, StopSource
from penstock.flows.plans.plan import Todo
from penstock.flows.runs.events import DocumentPrepared, Listener, nobody
from penstock.flows.runs.shaping import Cut, Feed, Prepared, Shaper
from penstock.flows.runs.stop import Halted
from penstock.flows.runs.threads import Threads
from penstock.flows.spools.spool import Shard, ShardWriter, closed


class Parse(Protocol):
    def __call__(self, fetched: Fetched) -> Document | Rejected | Failed: ...


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """A shard closes at the first of these. The first ones of a run are small: something is searchable soon.

    From shard `steady` on, they grow by half every ten: Prefect sees three tasks for each shard, and a run of
    days must not bring it down. The spool keeps what a larger shard would lose.
    """

    seconds: float = 60.0
    tokens: int = 8_000_000
    bytes: int = 256 << 20
    wait_seconds: float = 300.0
    first_tokens: int = 20_000
    growth: int = 16
    steady: int = 40

    def token_budget(self, number: int, tokens_per_second: float) -> int:
        """Tokens for shard `number` (from 0) on a device that does `tokens_per_second` (0: unknown)."""
        ramp = self.first_tokens * int(self.growth ** min(number, 20))
        stretch = 1.5 ** min(max(0, number - self.steady) // 10, 100)  # beyond that it is no number any more
        device = int(self.seconds * stretch * tokens_per_second) if tokens_per_second else ramp
        return max(1, min(self.tokens, ramp, device))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run may spend: tokens in all, and until when (a time of the run's clock). None: as much as it takes."""

    tokens: int | None = None
    until: float | None = None


@dataclass(slots=True)
class _Stream:
    """What a feed still gives. The source may end it before its time."""

    feed: Feed
    outcomes: Iterator[Prepared]


class Preparer:
    """Makes shards out of feeds, one at a time. Not thread-safe; fetches and parses in threads of its own.

    Feeds take turns, a shard each, so that a slow source does not hold up the others.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        parse: Parse,
        cut: Cut,
        spool: Path,
        limits: ShardLimits,
        ahead: int,
        clock: Callable[[], float],
        token: Callable[[], str],
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        ready: Callable[[Shard], object] = lambda shard: None,
        run: str = "",
        allowance: Allowance = Allowance(),
        tell: Listener = nobody,
    ) -> None:
        """`ready` is given each shard as soon as it is complete. `run` names this run in document state."""
        self._parse, self._ready, self._tell = parse, ready, tell
        self._spool, self._limits, self._allowance = spool, limits, allowance
        self._clock, self._token, self._stopped, self._note = clock, token, stopped, note
        most = max((feed.ahead for feed in feeds), default=0)
        self._threads = Threads(ahead + most, "prepare")
        self._ahead = ahead
        self._streams = deque(_Stream(feed, self._outcomes(feed)) for feed in feeds)
        self._shaper = Shaper(cut, clock, run)
        self.made: list[Shard] = []
        self.tokens_per_second = 0.0
        self.embedded_tokens = 0
        """How far the device is: what was prepared and not embedded yet counts against the time that is left."""
        self.prepared_tokens = 0
        self.spent = ""
        """Which allowance ended the run early, in words; "" if none did."""
        self.fetched = 0
        self.pages, self.page_seconds = 0, 0.0
        """Of documents that have pages: how many, and the processor seconds that reading them took."""
        self._counting = Lock()
        self._draining = False
        self.stopped_sources: dict[str, StopSource] = {}
        """Sources that could not go on, with the reason: their remaining items are deferred."""

    def next_shard(self) -> Shard | None:
        """The next shard, complete in the spool; None when nothing is left, or a stop was requested."""
        while self._streams and not self._stopped():
            budget = self._budget()
            if budget <= 0:
                break
            stream = self._streams.popleft()
            shard, over = self._fill(stream, budget)
            if not over:
                self._streams.append(stream)
            if shard is not None:
                self.prepared_tokens += shard.marker.tokens
                self.made.append(shard)
                self._ready(shard)
                return shard
        self._leave_the_rest()
        return None

    def _leave_the_rest(self) -> None:
        """What is under way would have to be fetched again: it is left in the spool, where the next run finds it."""
        self._draining = True
        while self._streams:
            shard, _ = self._fill(self._streams.popleft(), self._limits.tokens)
            if shard is not None:
                self._ready(shard)
                shard.release()

    def close(self) -> None:
        """End the threads. One that hangs in a fetch is left behind: nobody waits for it, nor does the process."""
        self._threads.close()

    def _budget(self) -> int:
        """Tokens for the next shard; 0 when the allowance is spent, which is noted."""
        budget = self._limits.token_budget(len(self.made), self.tokens_per_second)
        allowed = self._allowance
        if allowed.tokens is not None:
            budget = min(budget, allowed.tokens - self.prepared_tokens)
            self.spent = "tokens" if budget <= 0 else ""
        if allowed.until is not None and not self.spent:
            left = allowed.until - self._clock()
            waiting = max(0, self.prepared_tokens - self.embedded_tokens)
            if self.tokens_per_second:
                budget = min(budget, int(left * self.tokens_per_second) - waiting)
            self.spent = "minutes" if left <= 0 or budget <= 0 else ""
        return 0 if self.spent else budget

    def _fill(self, stream: _Stream, budget: int) -> tuple[Shard | None, bool]:
        """A shard of this stream's documents, None if there were none; and whether the stream is over."""
        started, size, over = self._clock(), 0, True
        name = f"shard-{int(started * 1000):014d}-{self._token()}"
        writer = ShardWriter(self._spool / name, stream.feed.source.name, stream.feed.fingerprint)
        try:
            for state, text, rows in stream.outcomes:
                writer.add(state, text, rows)
                size += max(state.size, 0)
                late = self._clock() - started > self._limits.wait_seconds
                past = self._allowance.until is not None and self._clock() >= self._allowance.until
                if writer.tokens >= budget or size >= self._limits.bytes or late or (past and not self._draining):
                    over = False
                    break
        except BaseException:
            writer.abandon()
            raise
        if writer.documents == 0:
            writer.abandon()
            return None, over
        return closed(writer), over

    def _outcomes(self, feed: Feed) -> Iterator[Prepared]:
        """Prepared documents as they come, a bounded few worked on at once.

        Whoever is asked for again and again holds up nobody. When the source or the run is stopped, nothing more is
        asked for, and what was under way is still given: it need not be fetched again.
        """
        under_way: set[Future[Prepared | _Ended]] = set()
        todo, ended = iter(feed.todo), False
        while True:
            ended = ended or self._draining or self._stopped()
            while not ended and len(under_way) <= self._ahead + feed.ahead and (each := next(todo, None)) is not None:
                under_way.add(self._threads.submit(self._timed, feed, each))
            if not under_way:
                return
            come, under_way = wait(under_way, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in come:
                outcome = future.result()
                if not isinstance(outcome, _Ended):
                    yield outcome
                    continue
                ended = True
                if outcome.stop is not None and feed.source.name not in self.stopped_sources:
                    self.stopped_sources[feed.source.name] = outcome.stop
                    self._note(f"source {feed.source.name} stopped: {outcome.stop}")
            if not come and (self._stopped() or (self._draining and self.spent == "minutes")):
                return  # a person waits, or the time is up: what is still on its way is left

    def _timed(self, feed: Feed, todo: Todo) -> Prepared | _Ended:
        started = self._clock()
        outcome = self._one(feed, todo)
        if not isinstance(outcome, _Ended):
            state = outcome[0]
            said = (state.source, state.uri, state.status, state.reason, state.detail, max(state.size, 0))
            self._tell(DocumentPrepared(*said, self._clock() - started))
        return outcome

    def _one(self, feed: Feed, todo: Todo) -> Prepared | _Ended:
        fetched: Fetched | None = None
        outcome: Document | Rejected | Failed
        if feed.source.name in self.stopped_sources:
            return _Ended(None)
        try:
            fetched = feed.source.fetch(todo.item)
            with self._counting:
                self.fetched += 1
            outcome = self._parse(fetched)
            if isinstance(outcome, Document) and outcome.pages:
                with self._counting:
                    self.pages += len({span.page for span in outcome.pages})
                    self.page_seconds += outcome.cpu
        except FileNotFoundError:
            outcome = Failed("vanished", "it was listed and is gone now; the next run will know")
        except RetryLater as later:
            return self._shaper.failed(feed, todo, later)
        except RejectItem as reject:
            outcome = Rejected(reject.reason, str(reject))
        except StopSource as stop:
            return _Ended(stop)
        except Halted:
            return _Ended(None)
        finally:
            if fetched is not None and fetched.temporary:
                fetched.path.unlink(missing_ok=True)
        return self._shaper.shaped(feed, todo, outcome, fetched)


@dataclass(frozen=True, slots=True)
class _Ended:
    """No document: the source stopped, or the run is being stopped (None)."""

    stop: StopSource | None
