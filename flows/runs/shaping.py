"""What a fetched document becomes: its state, its text, its rows; or why it is none of that, and when to try again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from penstock.connectors.types import Document, Failed, Fetched, Rejected, RetryLater, Source
from penstock.embed.types import Chunk
from penstock.flows.plans.plan import Todo
from penstock.flows.plans.schedule import next_try
from penstock.index.types import DocState, DocText, Row

Prepared = tuple[DocState, DocText | None, Sequence[tuple[Row, Sequence[int]]]]


@dataclass(frozen=True, slots=True)
class Feed:
    """One source with the items to take from it, and what its configuration adds to every document.

    `ahead`: how many items are worked on at once, beside those that the parsers need. `fingerprint`: what its
    shards depend on. `carried` digests `metadata` and `labels`.
    """

    source: Source
    todo: Sequence[Todo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    fingerprint: str = ""
    carried: str = ""
    ahead: int = 0


class Cut(Protocol):
    """Cuts a document's text into chunks of the model's own tokens."""

    def __call__(self, document: Document) -> list[Chunk]: ...


class Shaper:
    """Shapes the documents of one run, which `run` names. Thread-safe."""

    def __init__(self, cut: Cut, clock: Callable[[], float], run: str) -> None:
        self._cut, self._clock, self._run = cut, clock, run

    def shaped(
        self, feed: Feed, todo: Todo, outcome: Document | Rejected | Failed, fetched: Fetched | None
    ) -> Prepared:
        """What is written into the spool for one item."""
        match outcome:
            case Document():
                return self._indexed(feed, todo, outcome, fetched)
            case Rejected():
                state = self._state(todo, feed, "rejected", fetched)
                state = msgspec.structs.replace(
                    state,
                    version=outcome.version or todo.item.version,
                    content=outcome.content,
                    parser=outcome.parser,
                    reason=outcome.reason,
                    detail=outcome.detail,
                    locator=todo.item.locator,
                )
                return state, None, []
            case Failed():
                return self.failed(feed, todo, RetryLater(outcome.detail, reason=outcome.reason))

    def failed(self, feed: Feed, todo: Todo, later: RetryLater) -> Prepared:
        """A hole: what an older version put into the index stays, and the next try is written down."""
        prior, now = todo.prior, self._clock()
        attempts = (prior.attempts if prior else 0) + 1
        state = msgspec.structs.replace(
            self._state(todo, feed, "failed", None),
            reason=later.reason,
            detail=str(later),
            attempts=attempts,
            next_try=next_try(now, attempts, later.after),
            locator=todo.item.locator,
            retries=later.retries,
        )
        if prior is not None:
            served = {name: getattr(prior, name) for name in ("chunks", "tokens", "content", "parser", "carried")}
            state = msgspec.structs.replace(state, **served)
        return state, None, []

    def _indexed(self, feed: Feed, todo: Todo, document: Document, fetched: Fetched | None) -> Prepared:
        prior = todo.prior
        state = msgspec.structs.replace(
            self._state(todo, feed, "indexed", fetched),
            version=document.version,
            content=document.content,
            parser=document.parser,
            locator=todo.item.locator,  # for the case that no vector can be made of it; else it is not committed
        )
        if prior is not None and prior.chunks > 0 and (prior.content, prior.carried) == (state.content, state.carried):
            # The second gate: touched, not changed. Only the version token moves; its chunks stay.
            kept = {name: getattr(prior, name) for name in ("chunks", "tokens", "parser", "size", "changed_at", "run")}
            return msgspec.structs.replace(state, **kept), None, []
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
        tokens = sum(len(ids) for _, ids in rows)
        return msgspec.structs.replace(state, chunks=len(rows), tokens=tokens), text, rows

    def _state(self, todo: Todo, feed: Feed, status: str, fetched: Fetched | None) -> DocState:
        return DocState(
            uri=todo.item.uri,
            source=feed.source.name,
            status=status,
            version=todo.item.version,
            size=todo.item.size,
            changed_at=self._clock(),
            modified=todo.item.modified or 0.0,
            fetched_at=self._clock() if fetched is not None else 0.0,
            run=self._run,
            retries=fetched.retries if fetched is not None else 0,
            carried=_carried(feed.carried, fetched),
        )


def chunk_id(uri: str, start: int, end: int, text: str) -> str:
    """128 bits in hex: the same chunk of the same document has the same id in every build of the index."""
    key = f"{uri}\0{start}\0{end}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(key).hexdigest()[:32]


def _carried(feed: str, fetched: Fetched | None) -> str:
    """What configuration and source add to each chunk, in short: where it changes, the chunks are made again."""
    added = [] if fetched is None else [fetched.title, fetched.url, sorted(fetched.metadata.items()), fetched.labels]
    if not any(added):
        return f"{feed}." if feed else ""
    return f"{feed}.{hashlib.sha256(msgspec.json.encode(added)).hexdigest()[:8]}"


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
