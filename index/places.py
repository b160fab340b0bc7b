"""Where a reader finds replicas, and the newest version that they publish. Only files, no configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from penstock.index import log, manifest, markers
from penstock.index.blob import open_blob
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.store import LocalStore, Store
from penstock.index.types import BlobRef, Manifest, Member, Membership

Report = Callable[[str], None]


class Published(msgspec.Struct, frozen=True):
    """One published version, read and verified. `epoch` is the one that it was published under."""

    epoch: int
    manifest: Manifest
    stores: tuple[Store, ...]
    """Where to read it: those that publish it come first."""


def replicas(places: Sequence[Path], report: Report) -> list[Store]:
    """Return the stores at `places`: replica directories, or homes with `replicas/*`. Nothing is created."""
    folders: list[Path] = []
    for place in places:
        inside = place / "replicas"
        if inside.is_dir() and not (place / markers.REPLICA).is_file():
            folders += sorted(path for path in inside.iterdir() if path.is_dir())
        elif place.is_dir():
            folders.append(place)
        elif len(places) > 1:
            report(f"{place}: is not there; reading another replica")
    return [LocalStore(folder, token=_never) for folder in folders]


def _never() -> str:
    raise AssertionError("a reader writes nothing")


def newest(stores: Sequence[Store], report: Report, *, lineage: str | None = None) -> Published | None:
    """Return the highest (version, epoch) that any store publishes and whose manifest can be read.

    Where replicas were made and nothing was committed yet, that is version 0, which holds nothing; None
    when there are no replicas. Damaged records and manifests are reported and passed over. Raises
    `WrongIndex` when the stores belong to different indexes (or not to `lineage`), or to a newer penstock;
    `Unavailable` or `Corrupt` when something is published and nothing of it can be read.
    """
    found = [(record, store) for store in stores for record in _first_good(store, report)]
    _same_lineage(stores, {record.lineage for record, _ in found} | ({lineage} if lineage else set()))
    fault: IndexFault | None = None
    tried: set[str] = set()
    for record, _ in sorted(found, key=lambda pair: (pair[0].version, pair[0].epoch), reverse=True):
        if record.manifest.name in tried:
            continue
        tried.add(record.manifest.name)
        holders = [store for other, store in found if other == record]
        ordered = (*holders, *(store for store in stores if store not in holders))
        try:
            return Published(record.epoch, read_manifest(ordered, record.manifest, report), ordered)
        except (Corrupt, Unavailable) as failed:
            fault = failed
            report(f"version {record.version}: {failed}")
    if fault is not None:
        raise fault
    return _nothing_yet(stores, report)


def _same_lineage(stores: Sequence[Store], lineages: set[str]) -> None:
    if len(lineages) > 1:
        names = ", ".join(store.name for store in stores)
        raise WrongIndex(f"{names}: these replicas belong to different indexes; name those of one only")


def _nothing_yet(stores: Sequence[Store], report: Report) -> Published | None:
    """Version 0, if replicas say that they are whole and none of them has published anything, ever."""
    marked = []
    for store in stores:
        try:
            marker = markers.replica(store)
            if marker is None:
                continue
            if log.entries(store):
                raise Corrupt(f"{store.name}: no record of its log can be read; run penstock verify")
            marked.append(marker)
        except Unavailable as fault:
            report(str(fault))
    if not marked:
        return None
    _same_lineage(stores, {marker.lineage for marker in marked})
    members = tuple(Member(marker.id, marker.incarnation) for marker in marked)
    return Published(0, manifest.empty(marked[0].lineage, 0, Membership(members, 0)), tuple(stores))


def _first_good(store: Store, report: Report) -> Iterator[log.LogRecord]:
    """Yield the newest record of one store that is whole; nothing when it has none."""
    try:
        for version, epoch in reversed(log.entries(store)):
            try:
                yield log.read(store, version, epoch, store.name)
                return
            except (Corrupt, FileNotFoundError) as fault:
                report(f"{fault}; reading another record, run penstock verify")
    except Unavailable as fault:
        report(f"{fault}; reading another replica")


def read_manifest(stores: Sequence[Store], ref: BlobRef, report: Report) -> Manifest:
    """Read a manifest, every byte verified. Raises as `open_blob`, and `WrongIndex` for a newer format."""
    blob = open_blob(stores, ref, report=report)
    try:
        return manifest.decode(blob.read(0, blob.size), f"manifest {ref.name}")
    finally:
        blob.close()
