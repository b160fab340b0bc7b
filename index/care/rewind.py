"""Going on from the newest version that can be read, where the manifest of the head is good on no replica."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree

import msgspec

from penstock.index.blobs import blob, copying
from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.commits import manifest
from penstock.index.commits.log import LogRecord
from penstock.index.commits.replicas import publish_one
from penstock.index.stores.store import Store
from penstock.index.types import FORMAT, Manifest


def rewind(
    catalog: Catalog,
    meta: Meta,
    head: LogRecord,
    newest: Manifest,
    stores: Sequence[Store],
    scratch: Path,
    txn: str,
    now: float,
    reach: Callable[[str], None],
) -> int:
    """Commit what `newest` was as the version after `head`, on all `stores`; return that version.

    No writer can be open meanwhile that would do harm: none can read the head. Nothing is rewound: the version
    only grows. Raises what the catalog and the stores do; until it is ratified nothing has changed.
    """
    again = msgspec.structs.replace(
        newest,
        format=FORMAT,
        version=head.version + 1,
        epoch=meta.epoch,
        txn=txn,
        parent=head.manifest.name,
        committed_at=max(now, head.committed_at + 1e-6),
    )
    catalog.begin(txn, "repair", now)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        part = scratch / "manifest.part"
        part.write_bytes(manifest.encode(again))
        ref = blob.seal(part, txn)
        for store in stores:
            copying.put_blob(store, ref, part)
    finally:
        rmtree(scratch, ignore_errors=True)
    decided = Ratified(again.version, meta.epoch, meta.epoch_id, txn, ref, again.committed_at)
    catalog.ratify(decided)
    reach("repair.rewound")
    for store in stores:
        publish_one(store, decided, meta.lineage)
        reach("repair.put")
    return again.version
