"""The writer: a delta becomes version v+1, on at least W replicas, all of it or nothing.

The catalog ratifies, the replicas publish, readers read only what is published (FORMAT.md has the state table).
Whatever dies at whatever point, the next open finishes or discards the commit; the same delta may always be
committed again, and a delta that had landed already changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.index import blob, effects, recover
from penstock.index import delta as deltas
from penstock.index import manifest as manifests
from penstock.index.catalog import Catalog, Meta, Ratified
from penstock.index.delta import Committed as Committed
from penstock.index.delta import Delta as Delta
from penstock.index.errors import Conflict, IndexFault, NoSpace, Unavailable, Unknown
from penstock.index.liveness import FileLock
from penstock.index.replicas import Reach, Replicas, Report
from penstock.index.state import StateView
from penstock.index.store import Store
from penstock.index.types import BlobRef, Manifest, Membership, SegmentRef

CRASH_POINTS = (
    *recover.CRASH_POINTS,
    "txn.open",
    "content.built",
    "blobs.built",
    "blobs.put.one",
    "blobs.put",
    "ratified",
    "published.one",
    "published",
)
"""Where `reach` is called, in the order of a life: a test kills the process at each."""

ATTEMPTS = 16
"""Races that one commit may lose before it gives up with `Conflict`."""


def _nothing(_: str) -> None:
    return


class Writer:
    """Commits to one index. Several may be open at once, in threads, processes or machines.

    `clock` gives seconds since the epoch, `token` random hex (32 characters or so), `report` takes one line
    for the operator. Raises what `IndexFault`'s kinds say; `ValueError` only for a delta that contradicts itself.
    """

    def __init__(
        self,
        catalog: Catalog,
        meta: Meta,
        membership: Membership,
        replicas: Replicas,
        workdir: Path,
        clock: Callable[[], float],
        token: Callable[[], str],
        report: Report,
        reach: Reach,
    ) -> None:
        self._catalog, self._meta, self._replicas = catalog, meta, replicas
        self._empty = manifests.empty(meta.lineage, meta.epoch, membership)
        self._clock, self._token, self._report, self._reach = clock, token, report, reach
        self._owner = token()
        self._alive = FileLock.take(workdir / "writers" / f"{self._owner}.lock")
        self._folder = workdir / "writers" / self._owner
        self._one = threading.Lock()

    @classmethod
    def create(
        cls,
        catalog: str,
        stores: Mapping[str, Store],
        *,
        write_quorum: int,
        workdir: Path,
        clock: Callable[[], float],
        token: Callable[[], str],
        report: Report,
        reach: Reach = _nothing,
    ) -> Writer:
        """Make an index, or finish making it; one that is there is opened. Never replaces anything."""
        recover.make(Catalog(catalog), stores, write_quorum, token, reach)
        return cls.open(
            catalog,
            stores,
            write_quorum=write_quorum,
            workdir=workdir,
            clock=clock,
            token=token,
            report=report,
            reach=reach,
        )

    @classmethod
    def open(
        cls,
        catalog: str,
        stores: Mapping[str, Store],
        *,
        write_quorum: int,
        workdir: Path,
        clock: Callable[[], float],
        token: Callable[[], str],
        report: Report,
        reach: Reach = _nothing,
    ) -> Writer:
        """Open an index for writing; recovers first. Raises `WrongIndex`, `Unavailable`, `Corrupt`."""
        at = Catalog(catalog)
        try:
            meta, membership, replicas = recover.opened(
                at, stores, write_quorum, workdir, token=token, report=report, reach=reach
            )
            return cls(at, meta, membership, replicas, workdir, clock, token, report, reach)
        except OSError as error:
            raise _said(error, workdir) from error

    def head(self) -> Manifest:
        """The newest decided version; version 0 (empty, never stored) before the first commit."""
        decided = self._catalog.head()
        return self._manifest(decided)

    def states(self) -> StateView:
        """Document state as the head has it now."""
        return self._view(self.head())

    def commit(self, delta: Delta) -> Committed:
        """Make `delta` part of the index. When this returns, at least W replicas have it, durably.

        A delta that changes nothing makes no version. Raises `Conflict` (plan again), `WrongIndex` (vectors of
        another identity), `NoSpace` and `Unavailable` (run again later), `Fenced` (open anew), `Unknown`.
        """
        deltas.check(delta)
        if not delta:
            return Committed(self.head().version)
        with self._one:
            txn = self._token()
            self._catalog.begin(txn, self._owner, self._clock())
            self._reach("txn.open")
            folder = self._folder / txn
            try:
                folder.mkdir(parents=True)
                return self._land(delta, txn, folder)
            except OSError as error:
                raise _said(error, folder) from error
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(IndexFault):
                    self._catalog.settle(txn)

    def close(self) -> None:
        """Let go. May be repeated; a writer that was never closed is cleared away by the next open."""
        if self._alive is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._alive.release(remove=True)
            self._alive = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _land(self, delta: Delta, txn: str, folder: Path) -> Committed:
        base = self._base(delta.base_version)
        built = effects.build_segment(delta, folder, txn)
        self._reach("content.built")
        for _ in range(ATTEMPTS):
            decided = self._catalog.head()
            if decided is not None and not self._replicas.published(decided):
                self._replicas.publish(self._catalog.since, decided)
            head = self._manifest(decided)
            manifest, fate, files = self._plan(delta, txn, folder, base, head, decided, built)
            if manifest is None:
                return Committed(head.version, fate.dropped)
            ref = self._seal(manifest, folder, files)
            self._reach("blobs.built")
            self._replicas.put_blobs(list(files.values()))
            self._reach("blobs.put")
            new = Ratified(manifest.version, manifest.epoch, self._meta.epoch_id, txn, ref, manifest.committed_at)
            if self._ratify(new):
                self._reach("ratified")
                self._replicas.publish(self._catalog.since, new)
                self._reach("published")
                return Committed(new.version, fate.dropped)
        raise Conflict(f"{ATTEMPTS} other commits landed first: run again")

    def _plan(
        self,
        delta: Delta,
        txn: str,
        folder: Path,
        base: Manifest,
        head: Manifest,
        decided: Ratified | None,
        built: tuple[SegmentRef | None, effects.Places, effects.Files],
    ) -> tuple[Manifest | None, effects.Fate, effects.Files]:
        """The next version on top of `head` and the files that it adds; None if there is nothing to change."""
        segment, places, files = built[0], built[1], dict(built[2])
        if segment is not None:
            manifests.check_identity(head, delta.space, delta.identity, delta.dim)
        view = self._view(head)
        fate = effects.decide(delta, None if base.version == head.version else self._view(base), view)
        effects.check_kept_rows(fate, places)
        sources = effects.sources(delta, base, head, view, self._report)
        if not fate.kept and not sources:
            return None, fate, files
        stores = list(self._replicas.stores.values())
        change = manifests.Change(
            epoch=self._meta.epoch,
            txn=txn,
            parent=decided.ref.name if decided else "",
            committed_at=max(self._clock(), head.committed_at + 1e-6),
            space=delta.space,
            identity=delta.identity,
            dim=delta.dim,
            segment=effects.born(segment, places, fate, folder, txn, files),
            dead=effects.bury(head, delta.space, fate, places, folder, txn, stores, self._report, files),
            state=effects.state_runs(head, view, fate, folder, txn, files),
            texts=effects.text_runs(head, delta, fate, folder, txn, files),
            sources=sources,
            counts=effects.counts(head, fate),
        )
        manifest = manifests.apply(head, change)
        needed = manifests.closure(manifest)
        return manifest, fate, {name: file for name, file in files.items() if name in needed}

    def _seal(self, manifest: Manifest, folder: Path, files: effects.Files) -> BlobRef:
        part = folder / "manifest.part"
        part.write_bytes(manifests.encode(manifest))
        ref = blob.seal(part, manifest.txn)
        files[ref.name] = ref, part.rename(folder / ref.name)
        return ref

    def _ratify(self, new: Ratified) -> bool:
        """True if `new` is decided, False if another version was. An unknown outcome is read back, not guessed."""
        try:
            self._catalog.ratify(new)
            return True
        except Conflict:
            head = self._catalog.head()
            if head is not None and head.version >= new.version:
                return False
            raise
        except Unavailable as error:
            try:
                committed = self._catalog.settle(new.txn)
            except IndexFault as silence:
                raise Unknown(
                    f"whether version {new.version} was decided is not known ({error}); the next run reads it back"
                ) from silence
            if committed:
                return True
            raise

    def _base(self, version: int) -> Manifest:
        if version == 0:
            return self._empty
        decided = self._catalog.since(version - 1)
        if not decided or decided[0].version != version:
            raise Conflict(f"version {version}, which this was planned against, is not here: plan again")
        return self._manifest(decided[0])

    def _manifest(self, decided: Ratified | None) -> Manifest:
        return self._empty if decided is None else self._replicas.manifest(decided.ref)

    def _view(self, manifest: Manifest) -> StateView:
        return StateView(manifest.state, list(self._replicas.stores.values()), self._report)


def _said(error: OSError, where: Path) -> IndexFault:
    """A fault of the local disk, in one line that says what to do."""
    at = error.filename or where
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{at}: the disk is full; nothing is damaged: make room and run again")
    return Unavailable(f"{at}: {error.strerror or error}; mend that and run again")
