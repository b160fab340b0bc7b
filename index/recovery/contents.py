"""What a DR store holds, for people: its snapshots, its versions, and what is in one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from penstock.index.commits import manifest as manifests
from penstock.index.errors import Corrupt, IndexFault, WrongIndex
from penstock.index.recovery import inventory
from penstock.index.recovery.archive import Archive, Key, Named
from penstock.index.recovery.inventory import Inventory
from penstock.index.recovery.snapshots import find
from penstock.index.types import BlobRef, Manifest

MANY = 500
"""Versions of which each manifest is read to say what only one of them needs; with more, nothing is said."""


class Held(msgspec.Struct, frozen=True):
    """A snapshot as it is listed. Times are seconds since the epoch; `keep_until` 0: as long as the policy says.

    `bytes`: of all that it needs; `unique`: of what no other version there needs. None: not known, see `fault`.
    """

    name: str
    version: int
    epoch: int
    committed_at: float
    taken_at: float
    keep_until: float
    held: bool
    bytes: int | None = None
    unique: int | None = None
    fault: str = ""


class Span(msgspec.Struct, frozen=True):
    """The versions that are there, named or not: how many, from which to which, committed from when to when."""

    count: int = 0
    oldest: int = 0
    newest: int = 0
    since: float = 0.0
    until: float = 0.0


class Contents(msgspec.Struct, frozen=True):
    """What a DR store holds. `coming`: versions that are on their way. `faults`: what could not be read, and why;
    `broken`: the names of the snapshots among it.
    """

    store: str
    lineage: str
    snapshots: list[Held]
    versions: Span
    coming: list[int]
    faults: list[str]
    broken: list[str] = []


class Part(msgspec.Struct, frozen=True):
    """How many blobs of a kind, and of how many bytes."""

    blobs: int
    bytes: int


class Shown(msgspec.Struct, frozen=True):
    """One version, named or not, and what is in it."""

    store: str
    version: int
    epoch: int
    committed_at: float
    names: list[Held]
    counts: dict[str, int]
    sources: dict[str, str]
    """Name to where it was."""
    spaces: dict[str, dict[str, str]]
    """Name to the model's identity."""
    live: str
    segments: int
    bytes: int
    needs: dict[str, Part]


def contents(archive: Archive, report_progress: Callable[[str, int, int], None] = lambda *_: None) -> Contents:
    """Everything that has a name, and the rest in a line. Raises `WrongIndex` where nothing was ever shipped to."""
    lineage, wrong = archive.whose()
    found = inventory.read(archive, lineage=lineage)
    sizes, faults = _sizes(archive, found, report_progress)
    times = [found.records[key].committed_at for key in found.history if key in found.records]
    numbers = [version for version, _ in found.history]
    span = Span(len(numbers), numbers[0], numbers[-1], times[0], times[-1]) if times else Span(len(numbers))
    snapshots = [_held(found, named, sizes, faults) for named in found.names.values()]
    snapshots.sort(key=lambda one: (one.version, one.taken_at, one.name))
    coming = sorted({version for version, _ in found.coming})
    said = [*filter(None, [wrong]), *found.broken.values(), *found.damaged.values()]
    return Contents(archive.name, found.lineage, snapshots, span, coming, said, sorted(found.broken))


def show(archive: Archive, name: str = "", version: int | None = None) -> Shown:
    """What is in a snapshot, or in a version. Raises `WrongIndex` where there is none, `Corrupt`, `Unavailable`."""
    found = inventory.read(archive)
    key = pick(archive, found, name, version)
    ref = _refs(found, key)
    made = archive.manifest(ref)
    names = [_held(found, one, {}, {}) for one in found.names.values() if (one.version, one.epoch) == key]
    needs = _needs(made, ref)
    return Shown(
        archive.name,
        *key,
        made.committed_at,
        names,
        made.counts,
        {source.name: source.binding for source in made.sources.values()},
        {space: at.identity for space, at in made.spaces.items()},
        made.live,
        sum(len(space.segments) for space in made.spaces.values()),
        sum(part.bytes for part in needs.values()),
        needs,
    )


def pick(archive: Archive, found: Inventory, name: str = "", version: int | None = None) -> Key:
    """(version, epoch) of a snapshot, or of a version; else of the newest. Raises `WrongIndex`, `Corrupt`."""
    if name:
        if name in found.broken:
            raise Corrupt(found.broken[name])
        named = found.names.get(name) or find(archive, name)
        return named.version, named.epoch
    for key in reversed(found.history):
        if version in (None, key[0]):
            return key
    raise WrongIndex(f"{archive.name}: has no version {version}; `penstock snapshot list` says what there is")


def _refs(found: Inventory, key: Key) -> BlobRef:
    if key in found.records:
        return found.records[key].manifest
    for named in found.names.values():
        if (named.version, named.epoch) == key:
            return named.manifest
    raise Corrupt(found.damaged.get(key) or f"the record of version {key[0]} is missing")


def _needs(made: Manifest, ref: BlobRef) -> dict[str, Part]:
    """By kind, each blob once."""
    segments = {blob.name: blob for space in made.spaces.values() for at in space.segments
                for blob in manifests.blobs_of(at)}  # fmt: skip
    segments |= {space.quantizer.name: space.quantizer for space in made.spaces.values() if space.quantizer}
    kinds: Mapping[str, Mapping[str, BlobRef]] = {
        "manifest": {ref.name: ref},
        "segments": segments,
        "state": {run.blob.name: run.blob for run in made.state},
        "texts": {run.blob.name: run.blob for run in made.texts},
    }
    return {kind: Part(len(blobs), sum(blob.size for blob in blobs.values())) for kind, blobs in kinds.items()}


def _sizes(
    archive: Archive, found: Inventory, report_progress: Callable[[str, int, int], None]
) -> tuple[dict[str, tuple[int, int | None]], dict[str, str]]:
    """(bytes, bytes that nothing else needs) of what each named manifest needs, by the manifest's name; and faults."""
    named = {one.manifest.name: one.manifest for one in found.names.values()}
    few = len(found.records) <= MANY
    wanted = named | ({one.manifest.name: one.manifest for one in found.records.values()} if few and named else {})
    users: Counter[str] = Counter()
    needed: dict[str, dict[str, int]] = {}
    faults: dict[str, str] = {}
    for done, ref in enumerate(wanted.values(), start=1):
        report_progress(f"{archive.name}: manifests", done, len(wanted))
        try:
            closure = {ref.name: ref.size} | {n: b.size for n, b in manifests.closure(archive.manifest(ref)).items()}
        except IndexFault as fault:
            faults[ref.name], few = str(fault), False
            continue
        users.update(closure.keys())
        if ref.name in named:
            needed[ref.name] = closure
    return {
        name: (
            sum(closure.values()),
            sum(size for blob, size in closure.items() if users[blob] == 1) if few else None,
        )
        for name, closure in needed.items()
    }, faults


def _held(
    found: Inventory, named: Named, sizes: Mapping[str, tuple[int, int | None]], faults: Mapping[str, str]
) -> Held:
    there = (named.version, named.epoch) in found.keys
    bytes_, unique = sizes.get(named.manifest.name, (None, None))
    return Held(
        named.name,
        named.version,
        named.epoch,
        named.committed_at,
        named.taken_at,
        named.keep_until,
        named.name in found.held,
        bytes_,
        unique,
        faults.get(named.manifest.name, "") or ("" if there else f"the record of version {named.version} is missing"),
    )
