"""The writer: a change becomes version v+1, on at least W replicas, all of it or nothing.

The catalog ratifies, the replicas publish, readers read only what is published (FORMAT.md has the state table).
Whatever dies at whatever point, the next open finishes or discards the commit; the same delta may always be
committed again, and a delta that had landed already changes nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.index.blobs import blob
from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.catalog.locks import Locks
from penstock.index.commits import delta as deltas
from penstock.index.commits import effects, recover
from penstock.index.commits import manifest as manifests
from penstock.index.commits.attempt import Attempt, Files
from penstock.index.commits.crew import Crew, Threads
from penstock.index.commits.delta import Committed as Committed
from penstock.index.commits.delta import Delta as Delta
from penstock.index.commits.recover import Site
from penstock.index.commits.replicas import LeftOut, Reach, Replicas, Report
from penstock.index.commits.state import StateView
from penstock.index.errors import Conflict, Fenced, IndexFault, Unavailable, Unknown, of_local_disk
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest, Membership

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

Change = Callable[[Attempt], Manifest | None]
"""Makes the next version; called again on the new head after a race was lost. None: there is nothing to change."""


def _nothing(_: str) -> None:
    return


class Writer:
    """Commits to one index. Several may be open at once, in threads, processes or machines.

    `clock` gives seconds since the epoch, `token` random hex (32 characters or so), `report` takes one line
    for the operator. Raises what `IndexFault`'s kinds say; `ValueError` only for a delta that contradicts itself.
    """

    def __init__(
        self, site: Site, meta: Meta, membership: Membership, replicas: Replicas, clock: Callable[[], float]
    ) -> None:
        """Use `open` or `create`."""
        self.site, self.meta, self.replicas = site, meta, replicas
        self._catalog, self._clock, self._reach, self._report = site.catalog, clock, site.reach, site.report
        self._empty = manifests.empty(meta.lineage, meta.epoch, membership)
        self.memberships: tuple[Membership, ...] = (membership,)
        """Whom `replicas` was formed for: a head that says otherwise was not made for these quorums."""
        self._owner = site.token()
        self._alive = site.locks.take(f"writer.{self._owner}")
        self._folder = site.workdir / "writers" / self._owner
        self._one = threading.Lock()

    @classmethod
    def create(cls, catalog: str | Catalog, stores: Mapping[str, Store], **options: Any) -> Writer:
        """Make an index, or finish making it; one that is there is opened. Never replaces anything.

        Takes what `open` takes.
        """
        return cls._opened(catalog, stores, new=True, **options)

    @classmethod
    def open(cls, catalog: str | Catalog, stores: Mapping[str, Store], **options: Any) -> Writer:
        """Open an index for writing; recovers first. Raises `WrongIndex`, `Unavailable`, `Corrupt`.

        Options: `write_quorum`, `workdir` (a local folder that may be lost), `clock`, `token`, `report`; `reach`
        (called at each crash point), `crew` (how replicas are worked on; threads by default), `locks` (who is alive;
        the catalog's by default), `leaving` (ids of members that are being removed or replaced), `donors` (stores that
        are read, last of all, for what no replica has whole: `index/recovery/donor.py`), `left_out` (told which replica
        takes no part for now, and why, when that changes; must not raise).
        """
        return cls._opened(catalog, stores, new=False, **options)

    @classmethod
    def _opened(
        cls,
        catalog: str | Catalog,
        stores: Mapping[str, Store],
        *,
        new: bool,
        write_quorum: int,
        workdir: Path,
        clock: Callable[[], float],
        token: Callable[[], str],
        report: Report,
        reach: Reach = _nothing,
        crew: Crew | None = None,
        locks: Locks | None = None,
        leaving: frozenset[str] = frozenset(),
        donors: Sequence[Store] = (),
        left_out: LeftOut = lambda replica, problem: None,
    ) -> Writer:
        at = Catalog(catalog) if isinstance(catalog, str) else catalog
        try:
            site = Site(
                catalog=at,
                stores=stores,
                write_quorum=write_quorum,
                workdir=workdir,
                locks=locks or at.locks(workdir / "locks"),
                crew=crew or Threads(time.monotonic),
                token=token,
                report=report,
                reach=reach,
                leaving=leaving,
                donors=donors,
                left_out=left_out,
            )
            if new:
                recover.make(site)
            writer = cls(site, *recover.opened(site), clock)
            writer._begin_epoch()
            return writer
        except OSError as error:
            raise of_local_disk(error, workdir) from error

    def head(self) -> Manifest:
        """The newest decided version; version 0 (empty, never stored) before the first commit."""
        return self._manifest(self._catalog.head())

    def states(self, version: int | None = None) -> StateView:
        """Document state as the head has it now, or as that version had it. Raises `Conflict` where it is not here."""
        return self._view(self.head() if version is None else self._base(version))

    def commit(self, delta: Delta) -> Committed:
        """Make `delta` part of the index. When this returns, at least W replicas have it, durably.

        A delta that changes nothing makes no version. Raises `Conflict` (plan again), `WrongIndex` (vectors of
        another identity), `NoSpace` and `Unavailable` (run again later), `Fenced` (open anew), `Unknown`; what
        `delta.join` raises.
        """
        deltas.check(delta)
        if not delta:
            return Committed(self.head().version, made=False)
        base = self._base(delta.base_version)
        change = _DeltaChange(delta, base, self._view(base), self._reach)
        version = self.advance(change)
        return Committed(version, change.dropped, change.made)

    def advance(self, change: Change) -> int:
        """Make the next version as `change` says, and return it; the head's where there is nothing to change.

        What every commit goes through: deltas, compaction, repair, membership. Raises as `commit`.
        """
        with self._one, self._transaction() as (txn, folder):
            for _ in range(ATTEMPTS):
                decided = self._catalog.head()
                attempt = self._attempt(decided, txn, folder)
                if attempt.head.membership not in self.memberships:
                    raise Fenced("the replicas of the index were changed meanwhile: open the index anew")
                if decided is not None and not self.replicas.published(decided):
                    self.replicas.publish(self._catalog.since, decided)
                manifest = change(attempt)
                if manifest is None:
                    return attempt.head.version
                if self._land(manifest, attempt):
                    return manifest.version
        raise Conflict(f"{ATTEMPTS} other commits landed first: run again")

    def close(self) -> None:
        """Let go. May be repeated; a writer that was never closed is cleared away by the next open."""
        if self._alive is not None:
            self.site.crew.finish()
            with contextlib.suppress(IndexFault):
                self._catalog.note_progress(self.replicas.progress())
            shutil.rmtree(self._folder, ignore_errors=True)
            self._alive.release()
            self._alive = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_epoch(self) -> None:
        """The first version of a new epoch changes nothing: it outranks what an old one may have left at its number
        on a replica that did not answer."""
        head = self._catalog.head()
        if head is not None and head.epoch != self.meta.epoch:
            self.advance(lambda attempt: attempt.next() if attempt.head.epoch != self.meta.epoch else None)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[tuple[str, Path]]:
        """A transaction, and a folder for its blobs. Whatever was not ratified in the end never will be."""
        txn = self.site.token()
        self._catalog.begin(txn, self._owner, self._clock())
        self._reach("txn.open")
        folder = self._folder / txn
        try:
            folder.mkdir(parents=True)
            yield txn, folder
        except OSError as error:
            raise of_local_disk(error, folder) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(IndexFault):
                self._catalog.settle(txn)

    def _attempt(self, decided: Ratified | None, txn: str, folder: Path) -> Attempt:
        return Attempt(
            head=self._manifest(decided),
            parent=decided.ref.name if decided else "",
            epoch=self.meta.epoch,
            txn=txn,
            now=self._clock(),
            folder=folder,
            stores=self.replicas.readable,
            report=self._report,
        )

    def _land(self, manifest: Manifest, attempt: Attempt) -> bool:
        """Put, ratify, publish; False if another version was decided first."""
        needed = manifests.closure(manifest)
        files = {name: file for name, file in attempt.files.items() if name in needed}
        ref = _seal(manifest, attempt.folder, files)
        self._reach("blobs.built")
        self.replicas.put_blobs(list(files.values()))
        if attempt.reuses:
            there = {*manifests.closure(attempt.head), *files}
            self.replicas.keep_blobs([ref for name, ref in needed.items() if name not in there])
        self._reach("blobs.put")
        new = Ratified(manifest.version, manifest.epoch, self.meta.epoch_id, manifest.txn, ref, manifest.committed_at)
        if not self._ratify(new, min(attempt.reuses, default=None)):
            return False
        self._reach("ratified")
        self.replicas.publish(self._catalog.since, new)
        self._reach("published")
        return True

    def _ratify(self, new: Ratified, above: int | None) -> bool:
        """True if `new` is decided, False if another version was. An unknown outcome is read back, not guessed."""
        try:
            self._catalog.ratify(new, progress=self.replicas.progress(), above=above)
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
        return self._empty if decided is None else self.replicas.manifest(decided.ref)

    def _view(self, manifest: Manifest) -> StateView:
        return StateView(manifest.state, self.replicas.readable, self._report)


class _DeltaChange:
    """A delta as a change: its segment is built once, what it does to the head for each attempt."""

    def __init__(self, delta: Delta, base: Manifest, before: StateView, reach: Reach) -> None:
        self._delta, self._base, self._before, self._reach = delta, base, before, reach
        self._built: effects.Built | None = None
        self.dropped: tuple[str, ...] = ()
        self.made = False

    def __call__(self, attempt: Attempt) -> Manifest | None:
        """The next version on top of the head; None if there is nothing to change."""
        delta, head = self._delta, attempt.head
        if self._built is None:
            self._built = effects.build_segment(delta, attempt.folder, attempt.txn)
            self._reach("content.built")
        built, view = self._built, attempt.states
        attempt.files.update(built.files)
        if built.segment is not None:
            manifests.check_identity(head, delta.space, delta.identity, delta.dim)
        held = effects.held_since(self._base, head)
        fate = effects.decide(delta, None if self._base.version == head.version else self._before, view, held)
        self.dropped = fate.dropped
        effects.check_kept_rows(fate, built.places)
        sources = effects.sources(delta, self._base, head, view, attempt.report)
        self.made = bool(fate.kept or sources)
        if not self.made:
            return None
        dead = effects.bury(attempt, delta.space, fate, built.places)
        born = effects.born(built, fate, attempt)
        return attempt.next(
            spaces=manifests.spaces(head, dead, delta.space, delta.identity, delta.dim, born, delta.join),
            state=effects.state_runs(attempt, view, fate),
            texts=effects.text_runs(attempt, delta, fate),
            sources=manifests.sources(head, sources),
            counts=effects.counts(head, fate),
        )


def _seal(manifest: Manifest, folder: Path, files: Files) -> BlobRef:
    part = folder / "manifest.part"
    part.write_bytes(manifests.encode(manifest))
    ref = blob.seal(part, manifest.txn)
    files[ref.name] = ref, part.rename(folder / ref.name)
    return ref
