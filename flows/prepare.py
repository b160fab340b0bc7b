"""The first stage: fetch, parse, cut into chunks, and write to the spool until a shard is full.

The source is asked once: what is in the spool is never fetched again. Files are parsed in parallel, a
bounded few ahead, and written in order of uri.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.connectors.types import Document, Failed, Fetched, Rejected, RetryLater, Source, StopSource
from penstock.embed.types import Chunk
from penstock.flows.plan import Todo
from penstock.flows.spool import Shard, ShardWriter
from penstock.index.types import DocState, DocText, Row

_Prepared = tuple[DocState, DocText | None, Sequence[tuple[Row, Sequence[int]]]]


class Parse(Protocol):
    def __call__(self, fetched: Fetched) -> Document | Rejected | Failed: ...


class Cut(Protocol):
    """Cuts a document's text into chunks of the model's own tokens."""

    def __call__(self, document: Document) -> list[Chunk]: ...


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
        stretch = 1.5 ** (max(0, number - self.steady) // 10)
        device = int(self.seconds * stretch * tokens_per_second) if tokens_per_second else ramp
        return max(1, min(self.tokens, ramp, device))


@dataclass(frozen=True, slots=True)
class Feed:
    """One source with the items to take from it, and what its configuration adds to every document."""

    source: Source
    todo: Sequence[Todo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


class Preparer:
    """Makes shards out of feeds, one at a time. Not thread-safe; parses in threads of its own."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        parse: Parse,
        cut: Cut,
        spool: Path,
        fingerprint: str,
        limits: ShardLimits,
        ahead: int,
        clock: Callable[[], float],
        token: Callable[[], str],
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        closed: Callable[[Shard], object] = lambda shard: None,
    ) -> None:
        """`closed` is given each shard as soon as it is complete."""
        self._parse, self._cut, self._closed = parse, cut, closed
        self._spool, self._fingerprint, self._limits = spool, fingerprint, limits
        self._clock, self._token, self._stopped, self._note = clock, token, stopped, note
        self._threads = ThreadPoolExecutor(max_workers=ahead, thread_name_prefix="prepare")
        self._ahead = ahead
        self._feeds = deque(feeds)
        self._current: tuple[Feed, Iterator[_Prepared]] | None = None
        self.made: list[Shard] = []
        self.tokens_per_second = 0.0
        self.stopped_sources: dict[str, str] = {}
        """Sources that could not go on, with the reason: their remaining items are deferred."""

    def next_shard(self) -> Shard | None:
        """The next shard, complete in the spool; None when nothing is left, or a stop was requested."""
        while not self._stopped():
            if self._current is None:
                if not self._feeds:
                    return None
                feed = self._feeds.popleft()
                self._current = (feed, self._outcomes(feed))
            shard = self._fill(*self._current)
            if shard is not None:
                return shard
            self._current = None
        return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fill(self, feed: Feed, outcomes: Iterator[_Prepared]) -> Shard | None:
        budget = self._limits.token_budget(len(self.made), self.tokens_per_second)
        started, size = self._clock(), 0
        writer = ShardWriter(self._spool / f"shard-{int(started * 1000):014d}-{self._token()}")
        try:
            for state, text, rows in outcomes:
                writer.add(state, text, rows)
                size += max(state.size, 0)
                late = self._clock() - started > self._limits.wait_seconds
                if writer.tokens >= budget or size >= self._limits.bytes or late or self._stopped():
                    break
        except StopSource as stop:
            self.stopped_sources[feed.source.name] = str(stop)
            self._note(f"source {feed.source.name} stopped: {stop}")
        except BaseException:
            writer.abandon()
            raise
        if writer.documents == 0:
            writer.abandon()
            return None
        shard = writer.close(feed.source.name, self._fingerprint)
        self.made.append(shard)
        self._closed(shard)
        return shard

    def _outcomes(self, feed: Feed) -> Iterator[_Prepared]:
        """Prepared documents in order of uri, a bounded few worked on ahead."""
        window: deque[Future[_Prepared]] = deque()
        for todo in feed.todo:
            window.append(self._threads.submit(self._one, feed, todo))
            if len(window) > self._ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def _one(self, feed: Feed, todo: Todo) -> _Prepared:
        outcome: Document | Rejected | Failed
        try:
            outcome = self._parse(feed.source.fetch(todo.item))
        except FileNotFoundError:
            outcome = Failed("vanished", "it was listed and is gone now; the next run will know")
        except RetryLater as later:
            outcome = Failed("unreachable", str(later))
        match outcome:
            case Document():
                return self._indexed(feed, todo, outcome)
            case Rejected():
                return (
                    self._state(feed, todo, "rejected", outcome, outcome.version or todo.item.version),
                    None,
                    [],
                )
            case Failed():
                state = self._state(feed, todo, "failed", outcome, todo.item.version)
                return _still_served(state, todo.prior), None, []

    def _indexed(self, feed: Feed, todo: Todo, document: Document) -> _Prepared:
        prior = todo.prior
        if prior is not None and prior.chunks > 0 and prior.content == document.content:
            # The second gate: touched, not changed. Only the version token moves; its chunks stay.
            return _restamped(prior, document), None, []
        chunks = self._cut(document)
        metadata = {**document.metadata, **feed.metadata}
        labels = tuple(dict.fromkeys((*document.labels, *feed.labels)))
        uri = todo.item.uri
        rows = [(_row(uri, document.title, chunk, metadata, labels), chunk.ids) for chunk in chunks]
        text = DocText(
            uri=uri,
            content=document.content,
            text=document.text,
            kind=document.kind,
            title=document.title,
            pages=tuple((span.start, span.end, span.page) for span in document.pages),
            headings=tuple((span.start, span.end, span.path) for span in document.headings),
            metadata=metadata,
            labels=labels,
        )
        state = DocState(
            uri=uri,
            source=feed.source.name,
            status="indexed",
            version=document.version,
            content=document.content,
            parser=document.parser,
            size=todo.item.size,
            chunks=len(rows),
            tokens=sum(len(ids) for _, ids in rows),
            changed_at=self._clock(),
        )
        return state, text, rows

    def _state(self, feed: Feed, todo: Todo, status: str, why: Rejected | Failed, version: str) -> DocState:
        rejected = isinstance(why, Rejected)
        return DocState(
            uri=todo.item.uri,
            source=feed.source.name,
            status=status,
            version=version,
            content=why.content if isinstance(why, Rejected) else "",
            parser=why.parser if isinstance(why, Rejected) else "",
            size=todo.item.size,
            reason=why.reason,
            detail=why.detail,
            attempts=0 if rejected else (todo.prior.attempts if todo.prior else 0) + 1,
            changed_at=self._clock(),
        )


def chunk_id(uri: str, start: int, end: int, text: str) -> str:
    """128 bits in hex: the same chunk of the same document has the same id in every build of the index."""
    key = f"{uri}\0{start}\0{end}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(key).hexdigest()[:32]


def _row(uri: str, title: str, chunk: Chunk, metadata: Mapping[str, str], labels: tuple[str, ...]) -> Row:
    return Row(
        chunk_id=chunk_id(uri, chunk.start, chunk.end, chunk.text),
        uri=uri,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        tokens=len(chunk.ids),
        page=chunk.page,
        heading=chunk.heading,
        title=title,
        metadata=dict(metadata),
        labels=labels,
    )


def _restamped(prior: DocState, document: Document) -> DocState:
    return msgspec.structs.replace(
        prior, status="indexed", version=document.version, reason="", detail="", attempts=0, next_try=0.0
    )


def _still_served(state: DocState, prior: DocState | None) -> DocState:
    """A failure changes nothing that is served: what an older version put into the index stays."""
    if prior is None:
        return state
    return msgspec.structs.replace(
        state, chunks=prior.chunks, tokens=prior.tokens, content=prior.content, parser=prior.parser
    )
