"""Going back in place: what an older version holds becomes the next version, and the sources that differ are held.

Nothing is copied and nothing is embedded: the new manifest names the blobs of the old one, and those that are not
served now are read once before: what is damaged on every replica would be acknowledged, and missed when it is needed.

A version can be gone back to while it is retained. That it is still retained is decided in the same transaction as the
new version, so a collection beside it either comes first, and the rollback is refused, or finds the blobs needed again.

A source that is held stays as it is until somebody clears `SourceState.held`: else the next ingest would bring back
what was undone. What a writer planned before the rollback is dropped when it commits after it (`effects.held_since`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from penstock.index.blobs import scrub
from penstock.index.blobs.scrub import Copy, Rate
from penstock.index.care import survey
from penstock.index.catalog.catalog import Catalog, Ratified
from penstock.index.commits import manifest as manifests
from penstock.index.commits.attempt import Attempt
from penstock.index.commits.commit import Writer
from penstock.index.commits.state import StateView
from penstock.index.errors import Conflict, Corrupt, IndexFault, Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, DocState, Manifest, SourceState


class Changes(NamedTuple):
    """How many documents of a source come back, go away and change; all 0 for a source that has none."""

    back: int = 0
    away: int = 0
    changed: int = 0


class RolledBack(msgspec.Struct, frozen=True):
    """`version` holds now what version `to` held. `sources`: those that differed, and are held; empty if none did."""

    version: int
    to: int
    sources: dict[str, Changes]


def newest_before(versions: Sequence[Ratified], moment: float) -> Ratified | None:
    """The version that was the newest at that time (seconds since the epoch). `versions` ascend. Pure."""
    return next((version for version in reversed(versions) if version.committed_at <= moment), None)


def differences(writer: Writer, to: int) -> dict[str, Changes]:
    """What going back to version `to` would do now, by source. Streams both states. Raises as `rollback`."""
    head = writer.head()
    return _of(writer, head, _kept(writer, to))


def compared(head: Manifest, then: Manifest, now: Iterable[DocState], before: Iterable[DocState]) -> dict[str, Changes]:
    """What going back to `then` would do to `head`, by source, for who only reads. `now` and `before`: their document
    states, by uri, read once."""
    return _differences(head, then, iter(now), iter(before))


def kept(catalog: Catalog, stores: Sequence[Store]) -> list[Ratified]:
    """The versions that could be gone back to, oldest first: from the catalog, else from the logs. Changes nothing."""
    try:
        return catalog.since(0)
    except IndexFault:
        found = []
        for store in stores:
            with suppress(IndexFault, OSError):
                found.append(survey.look(store))
        truth, _ = survey.known(None, found)
        records = sorted(truth.records.values(), key=lambda each: each.version)
        return [
            Ratified(one.version, one.epoch, one.epoch_id, one.txn, one.manifest, one.committed_at)
            for one in records
            if one.version > truth.floor
        ]


def rollback(writer: Writer, to: int, *, expected: Mapping[str, Changes] | None = None) -> RolledBack:
    """Commit what version `to` holds as the next version. Where nothing differs there is none, and nothing changes.

    `expected`: what somebody has agreed to; if it is something else by now, nothing is done. Raises `Conflict` for
    that, and where the version is not retained (any more), `Corrupt` where something of it is damaged on every replica;
    else as `Writer.commit`.
    """
    back = _Back(writer, to, expected)
    try:
        version = writer.advance(back)
    except (Unavailable, Corrupt):
        _kept(writer, to)  # a collection came first, and took what was needed
        raise
    return RolledBack(version, to, back.changes)


class _Back:
    """The rollback as a change: all of it is looked at anew where another commit came first."""

    def __init__(self, writer: Writer, to: int, expected: Mapping[str, Changes] | None) -> None:
        self._writer, self._to, self._expected = writer, to, expected
        self.changes: dict[str, Changes] = {}
        self._read = set[str]()

    def __call__(self, attempt: Attempt) -> Manifest | None:
        head, then = attempt.head, _kept(self._writer, self._to)
        self.changes = _of(self._writer, head, then)
        if self._expected is not None and self.changes != self._expected:
            raise Conflict(f"the index went on to version {head.version} meanwhile; nothing was changed: look again")
        if not self.changes:
            return None
        attempt.reuses.add(self._to)
        self._whole(then, head)
        reason = f"rolled back to version {self._to} ({_time(then.committed_at)}) on {_time(attempt.now)}"
        return attempt.next(
            live=then.live,
            spaces=then.spaces,
            state=then.state,
            texts=then.texts,
            counts=then.counts,
            sources=_sources(head, then, self.changes, reason),
        )

    def _whole(self, then: Manifest, head: Manifest) -> None:
        """Read what the head does not name: nobody may have read it for long. Raises `Corrupt` for what is damaged on
        every replica; what is missing is the commit's to copy. With what both name nothing becomes worse."""
        served = manifests.closure(head).keys() | self._read
        for name, ref in manifests.closure(then).items():
            if name not in served:
                _check(ref, self._writer, self._to)
                self._read.add(name)


def _check(ref: BlobRef, writer: Writer, to: int) -> None:
    hurt = []
    for store in writer.replicas.stores.values():
        found = scrub.examine(store, ref, Rate())
        if found is Copy.WHOLE:
            break
        if found is Copy.DAMAGED:
            hurt.append(store.name)
    else:
        if hurt:
            raise Corrupt(
                f"blob {ref.name}, which version {to} needs, is whole on no replica that answers; nothing was changed: "
                "run `penstock repair`, then look again"
            )
    for name in hurt:
        writer.site.report(f"{name}: blob {ref.name} is damaged; run `penstock repair`")


def _kept(writer: Writer, version: int) -> Manifest:
    found = writer.site.catalog.since(version - 1)
    if version < 1 or not found or found[0].version != version:
        raise Conflict(f"version {version} is not kept, or has expired meanwhile; nothing was changed")
    return writer.replicas.manifest(found[0].ref)


def _sources(head: Manifest, then: Manifest, changes: Mapping[str, Changes], reason: str) -> dict[str, SourceState]:
    """Where a source is, is a fact of today; how far it was read is part of the content, and goes back with it."""
    made = {}
    for name in sorted({*head.sources, *then.sources}):
        now, old = head.sources.get(name), then.sources.get(name)
        place = now or old
        assert place is not None
        same = old is not None and (old.type, old.binding) == (place.type, place.binding)
        made[name] = msgspec.structs.replace(
            place,
            held=reason if name in changes else place.held,
            cursor=old.cursor if old and same else "",
            listed_at=old.listed_at if old and same else 0.0,
            described=old.described if old and same else "",
        )
    return made


def _of(writer: Writer, head: Manifest, then: Manifest) -> dict[str, Changes]:
    return _differences(head, then, _view(writer, head), _view(writer, then))


def _differences(
    head: Manifest, then: Manifest, states: Iterator[DocState], before: Iterator[DocState]
) -> dict[str, Changes]:
    """By source; also one that only one of them knows: it is not to come, or go, by itself."""
    found = {name: Counter[str]() for name in then.sources if name not in head.sources}
    found |= {name: Counter() for name, now in head.sources.items() if name not in then.sources and not now.held}
    for old, now in _both(before, states):
        if now is None and old is not None:
            found.setdefault(old.source, Counter())["back"] += 1
        elif old is None and now is not None:
            found.setdefault(now.source, Counter())["away"] += 1
        elif old is not None and now is not None and _content(old) != _content(now):
            found.setdefault(now.source, Counter())["changed"] += 1
    return {name: Changes(**counts) for name, counts in sorted(found.items())}


def _view(writer: Writer, manifest: Manifest) -> Iterator[DocState]:
    return StateView(manifest.state, writer.replicas.readable, writer.site.report).scan()


def _both(one: Iterator[DocState], other: Iterator[DocState]) -> Iterator[tuple[DocState | None, DocState | None]]:
    """Pair two streams that ascend by uri; None where one of them has no such document."""
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.uri < right.uri):
            yield left, None
            left = next(one, None)
        elif left is None or right.uri < left.uri:
            yield None, right
            right = next(other, None)
        else:
            yield left, right
            left, right = next(one, None), next(other, None)


def _content(state: DocState) -> tuple[object, ...]:
    """What is served and said of a document; when it was fetched, and how often, is no content."""
    return state.source, state.status, state.content, state.parser, state.chunks, state.tokens, state.carried


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
