"""Whether parsers can feed the device: each kind of file parsed and cut for a moment, and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from penstock.connectors.types import Document, Failed, Fetched, Rejected
from penstock.embed.types import Chunk
from penstock.flows.answers.doctor import Feed, Finding, sentence

SECONDS = 0.5
"""For each kind of file, for parsing as for cutting."""


class Pool(Protocol):
    """What parses."""

    def parse(self, fetched: Fetched) -> Document | Rejected | Failed: ...


def measured(
    files: Mapping[str, Sequence[Path]],
    pool: Pool,
    cut: Callable[[Document], list[Chunk]],
    clock: Callable[[], float],
    workers: int,
) -> Iterator[Feed | Finding]:
    """A `Feed` for each kind, or why there is none. The first file of each kind only starts the process."""
    for kind, paths in files.items():
        first = pool.parse(Fetched(paths[0], paths[0].name))
        if not isinstance(first, Document):
            yield Finding("warning", f"a sample of {kind} could not be parsed: {first.reason} ({first.detail})")
            continue
        documents, parsing = [first], 0.0
        while parsing < SECONDS and len(documents) < 500:
            path = paths[len(documents) % len(paths)]
            began = clock()
            outcome = pool.parse(Fetched(path, path.name))
            parsing += clock() - began
            if isinstance(outcome, Document):
                documents.append(outcome)
        tokens, cutting = _cut(documents, cut, clock)
        share = (len(documents) - 1) / len(documents)
        yield Feed(kind, tokens * share / max(parsing, 1e-9), tokens / max(cutting, 1e-9), workers)


def compared(feed: Feed, device: float) -> Feed:
    """The same, against what the device takes (tokens/s)."""
    rate = min(feed.parse_tokens_per_second * feed.workers, feed.cut_tokens_per_second)
    needed = max(1, math.ceil(device / feed.parse_tokens_per_second)) if feed.parse_tokens_per_second else None
    enough = needed if feed.cut_tokens_per_second >= device else None
    return Feed(
        feed.kind, feed.parse_tokens_per_second, feed.cut_tokens_per_second, feed.workers, rate / device, enough
    )


def findings(feeds: Sequence[Feed], cores: int) -> Iterator[Finding]:
    """What keeps the device waiting."""
    for feed in feeds:
        if feed.times is None or feed.times >= 1:
            continue
        fix = ""
        if feed.enough is not None and feed.enough > feed.workers:
            fix = f"[parse] workers = {feed.enough}" if feed.enough <= cores else f"parse on more than {cores} cores"
        yield Finding("note", sentence(feed).rstrip("."), fix)


def _cut(
    documents: Sequence[Document], cut: Callable[[Document], list[Chunk]], clock: Callable[[], float]
) -> tuple[int, float]:
    """(tokens of all, estimated from those that there was time for; seconds, estimated likewise)."""
    cut(documents[0])  # the tokenizer is loaded, and its threads are there
    tokens, characters, spent = 0, 0, 0.0
    for document in documents:
        began = clock()
        tokens += sum(len(chunk.ids) for chunk in cut(document))
        spent += clock() - began
        characters += len(document.text)
        if spent > SECONDS:
            break
    scale = sum(len(document.text) for document in documents) / max(characters, 1)
    return round(tokens * scale), spent * scale
