"""Manifests: their bytes, what they need, and the pure functions that change one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.index import decoding
from penstock.index.blobs import framed
from penstock.index.commits import delta as deltas
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.types import (
    FORMAT,
    BlobRef,
    Manifest,
    Membership,
    SegmentRef,
    SourceState,
    SpaceRef,
)

Dead = Mapping[str, Mapping[str, tuple[BlobRef, int]]]
"""By space, by segment id: the new bitmap of dead rows, and how many it holds."""
Join = Callable[[SpaceRef], SpaceRef]
"""`Delta.join`."""


def encode(manifest: Manifest) -> bytes:
    """Canonical JSON: fields in the order of the type, mapping keys sorted; equal manifests, equal bytes."""
    return msgspec.json.encode(manifest, order="deterministic")


def decode(data: bytes, where: str = "manifest") -> Manifest:
    """The manifest in `data` (UTF-8 JSON). Raises `Corrupt`, or `WrongIndex` for a newer format."""
    framed.check_format(data, where, FORMAT)
    try:
        return decoding.decode(data, Manifest)
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
            needed += blobs_of(part)
    return {ref.name: ref for ref in needed}


def blobs_of(segment: SegmentRef) -> list[BlobRef]:
    """Every blob that one segment needs."""
    optional = (segment.dead, segment.vectors, segment.quantizer, segment.facets)
    return [segment.index, segment.rows, segment.docs, *(ref for ref in optional if ref is not None)]


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


def sources(head: Manifest, changed: Mapping[str, SourceState | None]) -> dict[str, SourceState]:
    """The head's sources with these changed, or removed (None)."""
    after = {**head.sources, **changed}
    return {name: source for name, source in after.items() if source is not None}


def spaces(
    head: Manifest,
    dead: Dead,
    space: str,
    identity: Mapping[str, str],
    dim: int,
    segment: SegmentRef | None,
    join: Join = deltas.as_it_is,
) -> dict[str, SpaceRef]:
    """The head's spaces with rows buried, and `segment` added to `space`, which is made if it is new.

    Raises what `join` raises.
    """
    after = {name: bury(at, dead.get(name, {})) for name, at in head.spaces.items()}
    if segment is not None:
        at = after.get(space) or SpaceRef(dim, dict(identity))
        said = join(at)
        after[space] = msgspec.structs.replace(
            at, segments=(*at.segments, segment), canaries=said.canaries, baseline=said.baseline
        )
    return after


def bury(space: SpaceRef, dead: Mapping[str, tuple[BlobRef, int]]) -> SpaceRef:
    """The space with new dead bitmaps for some of its segments, by segment id."""
    segments = tuple(
        msgspec.structs.replace(at, dead=dead[at.id][0], dead_count=dead[at.id][1]) if at.id in dead else at
        for at in space.segments
    )
    return msgspec.structs.replace(space, segments=segments)
