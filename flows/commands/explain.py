"""Every fact about one document or one chunk, gathered from the served version. Looks only, never changes."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.index.types import DocState, DocText, SourceState

if TYPE_CHECKING:
    from penstock.index.commits.backlog import Backlog
    from penstock.index.reading.passages import Passage
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store


class ChunkFacts(msgspec.Struct, frozen=True):
    """One served chunk. `start` and `end` count characters of the parsed text; `segment` and `ordinal` say where its
    vector lies. `text` is there only where this chunk was asked for."""

    id: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    tokens: int
    segment: str
    ordinal: int
    text: str = ""


class Copy(msgspec.Struct, frozen=True):
    """One replica. `publishes`: it has the served version, whole. `lacks_bytes`: of the newest one, where it lags."""

    id: str
    path: str
    reachable: bool
    version: int
    publishes: bool
    lacks_bytes: int
    problem: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """One document. Times are seconds since 1970, 0 where they are not known; sizes bytes, -1 where not known.

    `served`: passages of it can be found. Of a failed document that is an older version: `content`, `parser` and the
    passages are of that one, the rest of the last try.
    `asked`: the id of the chunk that was asked for, "" where it was the document; then `chunks` holds that one only.
    `meaning` is that of `reason`, `next` what a person can do, "" where nothing needs to be done.
    """

    uri: str
    source: str
    status: str
    served: bool
    index_version: int
    asked: str = ""
    source_type: str = ""
    binding: str = ""
    orphaned: bool = False
    held: str = ""
    reason: str = ""
    meaning: str = ""
    detail: str = ""
    attempts: int = 0
    next_try: float = 0.0
    next: str = ""
    version: str = ""
    modified: float = 0.0
    fetched_at: float = 0.0
    changed_at: float = 0.0
    run: str = ""
    retries: int = 0
    content: str = ""
    size: int = -1
    kind: str = ""
    parser: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    characters: int = 0
    pages: int = 0
    tokens: int = 0
    identity: dict[str, str] = {}
    segments: dict[str, dict[str, str]] = {}
    """Segment id → provenance: what its vectors were made with."""
    chunk_count: int = 0
    chunks: list[ChunkFacts] = []
    replicas: list[Copy] = []


def explained(
    reader: Reader, state: DocState, replicas: list[Copy], orphans: Container[str], again: str, asked: str = ""
) -> Explanation:
    """All that version `reader.version` says of a document. `again`: the options that name this home.

    Raises as `Reader.search` does.
    """
    manifest, uri = reader.manifest, state.uri
    source = manifest.sources.get(state.source, SourceState(state.source, "", ""))
    space = manifest.spaces.get(manifest.live)
    passages = sorted(reader.passages([uri]), key=lambda each: (each.row.start, each.row.end))
    text = reader.texts([uri]).get(uri, DocText(uri, "", "")) if passages else DocText(uri, "", "")
    orphaned = state.source in orphans
    shown = [each for each in passages if asked in ("", each.row.chunk_id)]
    return Explanation(
        uri=uri,
        source=state.source,
        status=state.status,
        served=bool(passages),
        index_version=reader.version,
        asked=asked,
        source_type=source.type,
        binding=source.binding,
        orphaned=orphaned,
        held=source.held,
        reason=state.reason,
        meaning={**FAILURES, **REJECTIONS}.get(state.reason, ""),
        detail=state.detail,
        attempts=state.attempts,
        next_try=state.next_try,
        next=_remedy(state, source, orphaned, len(passages), again),
        version=state.version,
        modified=state.modified,
        fetched_at=state.fetched_at,
        changed_at=state.changed_at,
        run=state.run,
        retries=state.retries,
        content=state.content,
        size=state.size,
        kind=text.kind,
        parser=state.parser,
        title=text.title,
        labels=text.labels,
        metadata=text.metadata,
        characters=len(text.text),
        pages=len({page for _, _, page in text.pages}),
        tokens=sum(each.row.tokens for each in passages),
        identity=dict(space.identity) if space is not None and passages else {},
        segments={each.segment.id: each.segment.provenance for each in shown},
        chunk_count=len(passages),
        chunks=[_chunk(each, asked) for each in shown],
        replicas=replicas,
    )


def _chunk(found: Passage, asked: str) -> ChunkFacts:
    row = found.row
    return ChunkFacts(
        id=row.chunk_id,
        page=row.page,
        heading=row.heading,
        start=row.start,
        end=row.end,
        tokens=row.tokens,
        segment=found.segment.id,
        ordinal=found.ordinal,
        text=row.text if asked else "",
    )


def copies(stores: Mapping[str, Store], served: int, backlog: Mapping[str, Backlog]) -> list[Copy]:
    """Which replicas have version `served`, and how far the others are behind the newest one."""
    return [
        Copy(
            id=name,
            path=store.name,
            reachable=backlog[name].reachable,
            version=backlog[name].version,
            publishes=backlog[name].reachable and backlog[name].version >= served,
            lacks_bytes=backlog[name].bytes,
            problem=backlog[name].reason,
        )
        for name, store in stores.items()
    ]


_BY_ITSELF = "mend the file: the next ingest sees that it changed"
_MEND: dict[str, str] = {
    "empty": "nothing, unless it should hold something: the next ingest sees when it changes",
    "no_text": "make its text readable (OCR), or give such files to an OCR parser: [parse] route",
    "encrypted": "take the password off; the next ingest sees that it changed",
    "unsupported": "bring it as another kind of file, or install a parser for it",
    "too_large": "raise [parse] max_mb (or [sources.{source}] max_mb)",
    "too_slow": "raise [parse] seconds",
    "too_much_memory": "raise [parse] memory_mb",
    "plugin_failed": "look at the parser or transform that the detail names; an upgrade of it tries again by itself",
    "no_vector": "look at the passage that the detail names; smaller chunks or another device may do it",
}
_LIMITS = frozenset(
    ("no_text", "too_large", "too_slow", "too_much_memory", "unsupported", "plugin_failed", "no_vector")
)
"""Reasons that a person may mend without the file changing: then nothing tries again but `retry`."""


def _remedy(state: DocState, source: SourceState, orphaned: bool, passages: int, again: str) -> str:
    """What a person can do about it, with the command where there is one."""
    retry = f"penstock retry --uri {shlex.quote(state.uri)}{again}"
    if state.status == "indexed":
        whole = passages == state.chunks
        return "" if whole else f"{state.chunks - passages} of its chunks are missing: penstock verify{again}"
    if source.held and state.status == "failed":
        resume = f"penstock sources resume {shlex.quote(source.name)}{again}"
        return f"mend what was wrong with the source, then: {resume}"
    if orphaned and source.type not in ("files", "adhoc"):
        return f"describe [sources.{source.name}] in the configuration again: nothing is fetched from it as it is"
    if state.status == "rejected":
        mend = _MEND.get(state.reason, _BY_ITSELF).format(source=state.source)
        return f"{mend}; then: {retry}" if state.reason in _LIMITS else mend
    return retry if state.locator else f"penstock ingest {shlex.quote(source.name)}{again}"


def near(name: str, uris: Iterable[str], most: int = 4) -> list[str]:
    """A few of `uris` that may have been meant by `name`, the likeliest first: below it, or ending like it."""
    found: list[tuple[int, str]] = []
    for uri in uris:
        if rank := _alike(name, uri):
            found.append((-rank, uri))
            if len(found) > 50 * most:
                found = sorted(found)[:most]
    return [uri for _, uri in sorted(found)[:most]]


def _alike(name: str, uri: str) -> int:
    wanted, have = name.rstrip("/").casefold(), uri.casefold()
    last, its = wanted.rpartition("/")[2], have.rpartition("/")[2]
    if have == wanted or have.startswith(f"{wanted}/"):
        return 4
    if have.endswith(f"/{wanted}"):
        return 3
    if last == its:
        return 2
    stem = last.rpartition(".")[0] or last
    return 1 if stem and stem == (its.rpartition(".")[0] or its) else 0
