"""Manifests: their bytes, what they need, and the pure function that makes version v+1 out of version v."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from penstock.index import framed
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.types import (
    FORMAT,
    BlobRef,
    Manifest,
    Membership,
    RunRef,
    SegmentRef,
    SourceState,
    SpaceRef,
)


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to the head. `dead`: by space, by segment id, the new bitmap and how many it holds."""

    epoch: int
    txn: str
    parent: str
    committed_at: float
    space: str
    identity: Mapping[str, str]
    dim: int
    segment: SegmentRef | None
    dead: Mapping[str, Mapping[str, tuple[BlobRef, int]]]
    state: tuple[RunRef, ...]
    texts: tuple[RunRef, ...]
    sources: Mapping[str, SourceState | None]
    counts: Mapping[str, int] = field(default_factory=dict)


def encode(manifest: Manifest) -> bytes:
    """Canonical JSON: fields in the order of the type, mapping keys sorted; equal manifests, equal bytes."""
    return msgspec.json.encode(manifest, order="deterministic")


def decode(data: bytes, where: str = "manifest") -> Manifest:
    """The manifest in `data` (UTF-8 JSON). Raises `Corrupt`, or `WrongIndex` for a newer format."""
    framed.check_format(data, where, FORMAT)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"{where} is not a manifest: {error}; run penstock verify") from error


def empty(lineage: str, epoch: int, membership: Membership) -> Manifest:
    """Version 0: what an index is before its first commit. It is never stored."""
    return Manifest(FORMAT, lineage, 0, epoch, "", "", 0.0, membership, counts=dict.fromkeys(COUNTS, 0))


COUNTS = ("documents", "chunks", "failed", "rejected")


def closure(manifest: Manifest) -> dict[str, BlobRef]:
    """Every blob that the manifest needs, by name; its own blob is not among them."""
    needed = [run.blob for run in (*manifest.state, *manifest.texts)]
    for space in manifest.spaces.values():
        needed += [space.quantizer] if space.quantizer else []
        for part in space.segments:
            needed += [part.index, part.rows, part.docs]
            needed += [ref for ref in (part.dead, part.vectors, part.quantizer, part.facets) if ref is not None]
    return {ref.name: ref for ref in needed}


def check_identity(head: Manifest, space: str, identity: Mapping[str, str], dim: int) -> None:
    """Raise `WrongIndex` if vectors of this identity may not join the space."""
    have = head.spaces.get(space)
    if have is None or (have.dim == dim and have.identity == dict(identity)):
        return
    keys = sorted(have.identity.keys() | identity.keys())
    differs = [k for k in keys if have.identity.get(k) != identity.get(k)] or ["dim"]
    was = ", ".join(f"{k} {have.identity.get(k, have.dim if k == 'dim' else 'not set')}" for k in differs)
    now = ", ".join(f"{k} {identity.get(k, dim if k == 'dim' else 'not set')}" for k in differs)
    raise WrongIndex(f"the index was made with {was}, not {now}; configure that model or start another home")


def apply(head: Manifest, change: Change) -> Manifest:
    """Version v+1: `head` with `change` applied. Pure; neither argument is changed."""
    sources = dict(head.sources)
    for name, source in change.sources.items():
        if source is None:
            sources.pop(name, None)
        else:
            sources[name] = source
    return Manifest(
        format=FORMAT,
        lineage=head.lineage,
        version=head.version + 1,
        epoch=change.epoch,
        txn=change.txn,
        parent=change.parent,
        committed_at=change.committed_at,
        membership=head.membership,
        live=head.live,
        spaces=_spaces(head, change),
        state=change.state,
        texts=change.texts,
        sources=sources,
        counts=dict(change.counts),
    )


def _spaces(head: Manifest, change: Change) -> dict[str, SpaceRef]:
    spaces = {
        name: msgspec.structs.replace(
            space, segments=tuple(_bury(s, change.dead.get(name, {})) for s in space.segments)
        )
        for name, space in head.spaces.items()
    }
    if change.segment is not None:
        at = spaces.get(change.space) or SpaceRef(change.dim, dict(change.identity))
        spaces[change.space] = msgspec.structs.replace(at, segments=(*at.segments, change.segment))
    return spaces


def _bury(segment: SegmentRef, dead: Mapping[str, tuple[BlobRef, int]]) -> SegmentRef:
    if segment.id not in dead:
        return segment
    ref, count = dead[segment.id]
    return msgspec.structs.replace(segment, dead=ref, dead_count=count)
