"""Where a reader finds replicas, and the newest version that they publish. Only files, no configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from penstock.index import log, manifest, markers
from penstock.index.blob import open_blob
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.store import LocalStore, Store
from penstock.index.types import BlobRef, Manifest

Report = Callable[[str], None]


class Published(msgspec.Struct, frozen=True):
    """One published version, read and verified."""

    record: log.LogRecord
    manifest: Manifest


def replicas(places: Sequence[Path]) -> list[Store]:
    """Return the stores at `places`: replica directories, or homes with `replicas/*`. Nothing is created."""
    folders: list[Path] = []
    for place in places:
        inside = place / "replicas"
        if inside.is_dir() and not (place / markers.REPLICA).is_file():
            folders += sorted(path for path in inside.iterdir() if path.is_dir())
        elif place.is_dir():
            folders.append(place)
    return [LocalStore(folder, token=_never) for folder in folders]


def _never() -> str:
    raise AssertionError("a reader writes nothing")


def newest(stores: Sequence[Store], report: Report, *, lineage: str | None = None) -> Published | None:
    """Return the highest (version, epoch) that any store publishes and whose manifest can be read.

    None when no store publishes anything. Damaged records and manifests are reported and passed over.
    Raises `WrongIndex` when the stores belong to different indexes (or not to `lineage`), or to a newer
    penstock; `Unavailable` or `Corrupt` when something is published and nothing of it can be read.
    """
    found = [record for store in stores for record in _first_good(store, report)]
    lineages = {record.lineage for record in found} | ({lineage} if lineage else set())
    if len(lineages) > 1:
        names = ", ".join(store.name for store in stores)
        raise WrongIndex(f"{names}: these replicas belong to different indexes; name those of one only")
    fault: IndexFault | None = None
    tried: set[str] = set()
    for record in sorted(found, key=lambda record: (record.version, record.epoch), reverse=True):
        if record.manifest.name in tried:
            continue
        tried.add(record.manifest.name)
        try:
            return Published(record, read_manifest(stores, record.manifest, report))
        except (Corrupt, Unavailable) as failed:
            fault = failed
            report(f"version {record.version}: {failed}")
    if fault is not None:
        raise fault
    return None


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
