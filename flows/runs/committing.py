"""The third stage: one shard becomes one version of the index, or nothing does.

Of a shard that an interrupted run prepared, only the documents that this run still wants are committed. A document
with a passage that no vector can be made of is committed as rejected, without any of its text; the rest lands.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from penstock.connectors.reasons import NO_VECTOR
from penstock.embed.types import Refused
from penstock.flows.runs.gate import Gate, measured
from penstock.flows.spools.spool import Shard
from penstock.index.commits.commit import Delta, Writer
from penstock.index.commits.delta import as_it_is
from penstock.index.types import DocState, Row, SourceState


@dataclass(frozen=True, slots=True)
class Landed:
    """What one commit did. `states` are those that landed, `dropped` what somebody else changed meanwhile.

    `settled`: of what was dropped, the documents that another run has brought in at the very version that this one
    would have, indexed or rejected, as the index has them.
    """

    version: int
    states: list[DocState] = field(default_factory=list)
    dropped: tuple[str, ...] = ()
    settled: list[DocState] = field(default_factory=list)
    seconds: float = 0.0


class Committer:
    """Commits into one space. `base_version` is the head that the run was planned against.

    Where sources are concerned that this run works on `beside` another one, what is kept of the source is that one's to
    write. `acknowledged` is called after each commit, and must not raise.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        base_version: int,
        identity: Mapping[str, str],
        sources: Mapping[str, SourceState],
        gate: Gate | None = None,
        beside: Container[str] = (),
        acknowledged: Callable[[], object] = lambda: None,
    ) -> None:
        self._writer = writer
        self._base = base_version
        self._identity = dict(identity)
        self._sources = dict(sources)
        self._gate, self._beside = gate, beside
        self._acknowledged = acknowledged

    def commit(
        self, shard: Shard, dim: int, provenance: Mapping[str, str], wanted: Container[str] | None = None
    ) -> Landed:
        """Commit the shard's documents (`wanted`: only these uris), then discard the shard."""
        everything = list(shard.states())
        states = [state for state in everything if wanted is None or state.uri in wanted]
        if not states:
            shard.discard()
            return Landed(self._base)
        log = shard.vectors()
        vectors, done = log.load(dim)
        if log.refused:
            states = quarantined(states, _bad_passages(shard, log.refused))
        states = [_landing(state) for state in states]
        kept = {state.uri for state in states if state.status == "indexed"}
        everyone = len(kept) == sum(state.status == "indexed" for state in everything)
        if not everyone:
            mask = np.fromiter((row.uri in kept for row in shard.rows()), dtype=np.bool_, count=shard.marker.chunks)
            vectors, done = vectors[mask], done[mask]
        if not done.all():
            raise RuntimeError(
                f"{int((~done).sum())} vectors of {shard.directory.name} are missing; nothing was committed"
            )

        def rows() -> Iterator[Row]:
            return shard.rows() if everyone else (row for row in shard.rows() if row.uri in kept)

        lot = measured(vectors, rows()) if self._gate is not None and len(vectors) else None
        landed = self._commit(
            Delta(
                base_version=self._base,
                states=states,
                vectors=vectors if len(vectors) else None,
                rows=rows,
                texts=lambda: (text for text in shard.texts() if text.uri in kept),
                sources=self._source_of(shard.marker.source),
                identity=self._identity,
                dim=dim,
                provenance=provenance,
                join=as_it_is if lot is None or self._gate is None else self._gate.join(lot),
            ),
            states,
        )
        if lot is not None and self._gate is not None and landed.states:
            self._gate.landed(lot)
        shard.discard()
        return landed

    def commit_states(self, source: str, states: Sequence[DocState]) -> Landed:
        """Commit states alone: deletions and failures."""
        delta = Delta(
            base_version=self._base,
            states=list(states),
            vectors=None,
            rows=lambda: iter(()),
            texts=lambda: iter(()),
            sources=self._source_of(source),
        )
        return self._commit(delta, states)

    def commit_sources(self, sources: Mapping[str, SourceState | None]) -> Landed:
        """Commit what is now known of sources themselves: their cursors."""
        head = self._writer.head()
        ours = all(head.sources.get(name) == self._sources.get(name) for name in sources)
        self._sources.update({name: state for name, state in sources.items() if state is not None})
        # As we left them: then nobody else's change is lost, although the plan was made against an older version.
        return self._commit(Delta(head.version if ours else self._base, states=[], sources=sources), [])

    def _commit(self, delta: Delta, states: Sequence[DocState]) -> Landed:
        committed = self._writer.commit(delta)
        self._acknowledged()
        if committed.made and committed.version == self._base + 1:
            # Only our own commit lies between: the plan holds against the new head as well. With somebody
            # else's in between, the old base stays, so that a clash on one of our documents is still seen.
            self._base = committed.version
        dropped = set(committed.dropped)
        landed = [state for state in states if state.uri not in dropped]
        settled = self._settled([state for state in states if state.uri in dropped])
        return Landed(committed.version, landed, committed.dropped, settled)

    def _settled(self, dropped: Sequence[DocState]) -> list[DocState]:
        found = self._writer.states().find([state.uri for state in dropped]) if dropped else {}
        return [found[mine.uri] for mine in dropped if mine.uri in found and _same(mine, found[mine.uri])]

    def _source_of(self, name: str) -> dict[str, SourceState | None]:
        head = self._writer.head()
        mine = self._sources[name]
        known = head.sources.get(name)
        return {} if known == mine or (known is not None and name in self._beside) else {name: mine}


def _same(mine: DocState, theirs: DocState) -> bool:
    """Whether theirs is what ours would have become: the same version, under what is configured of it now."""
    if mine.status == "deleted" or theirs.status not in ("indexed", "rejected"):
        return False
    return (mine.version, mine.carried.partition(".")[0]) == (theirs.version, theirs.carried.partition(".")[0])


def quarantined(states: Sequence[DocState], bad: Mapping[str, tuple[Row, Refused]]) -> list[DocState]:
    """The states, those of the documents in `bad` as rejected: uri → the first passage that has no vector, and why."""
    return [_rejected(state, *bad[state.uri]) if state.uri in bad else state for state in states]


def _rejected(state: DocState, row: Row, refused: Refused) -> DocState:
    page = f" (page {row.page})" if row.page is not None else ""
    detail = f"characters {row.start} to {row.end}{page}: {refused.reason}: {refused.detail}"
    return msgspec.structs.replace(
        state, status="rejected", chunks=0, tokens=0, reason=NO_VECTOR, detail=" ".join(detail.split())
    )


def _bad_passages(shard: Shard, refused: Mapping[int, Refused]) -> dict[str, tuple[Row, Refused]]:
    found: dict[str, tuple[Row, Refused]] = {}
    for position, row in enumerate(shard.rows()):
        if position in refused:
            found.setdefault(row.uri, (row, refused[position]))
    return found


def _landing(state: DocState) -> DocState:
    """The state as the index keeps it: of an indexed document nobody asks where it was fetched, the listing says it."""
    return msgspec.structs.replace(state, locator="") if state.status == "indexed" else state
