"""The loop that follows the published log: each version, in order, handed to somebody who keeps it elsewhere.

It reads the replicas' files alone, and knows nothing of where the versions go: a DR store is one target, another
vector database could be one. A target says which version it has whole, and is given what came after, one by one:

- only what is acknowledged, so that nothing is handed over that could yet be decided otherwise;
- along the true history: where a later epoch has a version's number, the target is given the one of that epoch too;
- what expired before it could be handed over, or is whole nowhere, is passed over as long as something newer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.index.commits import manifest as manifests
from penstock.index.commits.log import LogRecord
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, Unavailable
from penstock.index.recovery.carrying import Unreadable
from penstock.index.recovery.publishedlog import Key, PublishedLog, after
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest, Membership


@dataclass(frozen=True, slots=True)
class Version:
    """One published version, read and verified. `added`: the blobs of its closure that the target's version before it
    did not have (all of them, where that one cannot be read any more); the manifest's own is not among them."""

    record: LogRecord
    manifest: Manifest
    added: tuple[BlobRef, ...]


class Target(Protocol):
    """Where versions go. Both methods may raise any `IndexFault`; what was applied stays applied."""

    def at(self) -> tuple[int, int] | None:
        """(version, epoch) of the newest version that it has whole, None before the first. Asked at each turn."""
        ...

    def apply(self, version: Version, stores: Sequence[Store]) -> None:
        """Take over all of this version, durably, its marker last; may be repeated. `stores`: where its blobs are,
        the best first. Raises `Unreadable` (`index/recovery/carrying.py`) where none of these has a blob whole."""
        ...


def published(stores: Sequence[Store], report: Callable[[str], None], lineage: str | None = None) -> list[LogRecord]:
    """The true history that the replicas which answer publish, oldest first.

    Records that are whole nowhere are reported and left out. Raises `Unavailable` when no replica answers, `WrongIndex`
    for another index than `lineage`, or several.
    """
    said = PublishedLog(stores, report, lineage)
    return [record for key in said.look() if (record := said.record(key)) is not None]


class Follower:
    """Brings one target up to what is published; a turn without news costs a listing of each replica's log.

    `lineage` None: of whatever index the replicas are. Not for several threads at once.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        target: Target,
        report: Callable[[str], None],
        lineage: str | None = None,
    ) -> None:
        self._log = PublishedLog(stores, report, lineage)
        self._target, self._report = target, report
        self._had: tuple[Key, frozenset[str]] | None = None
        self._members: dict[Key, Membership] = {}
        self._waited: dict[Key, int] = {}
        self._passed: dict[Key, str] = {}

    def catch_up(self, stopped: Callable[[], bool] = lambda: False) -> list[Version]:
        """Hand over what the target lacks of what is published now, in order; what was handed over.

        Raises what the target does; `Unavailable` or `Corrupt` when the newest version is whole on no replica, or no
        replica answers; `WrongIndex`. May be called again after any of these: it goes on where the target is.
        """
        done: list[Version] = []
        at = self._target.at()
        pending = after(self._log.look(), at)
        while pending and not stopped():
            key = pending.pop(0)
            try:
                version = self._read(key, at)
                if not pending and not self._stands(version):
                    break
                self._target.apply(version, self._log.sources(version.record))
            except Unreadable as fault:
                pending = self._beyond(key, fault)
                continue
            self._had = key, frozenset(manifests.closure(version.manifest))
            at = key
            done.append(version)
        return done

    def _read(self, key: Key, at: Key | None) -> Version:
        record, manifest = self._manifest(key)
        before = self._closure(at)
        needed = manifests.closure(manifest).items()
        return Version(record, manifest, tuple(ref for name, ref in needed if name not in before))

    def _manifest(self, key: Key) -> tuple[LogRecord, Manifest]:
        record = self._log.record(key)
        if record is None:
            raise Unreadable(Unavailable(f"version {key[0]}: no replica at hand has its record; run penstock verify"))
        ref = record.manifest
        try:
            found = read_manifest(self._log.sources(record), ref, lambda _: None)
        except (Corrupt, Unavailable) as fault:
            raise Unreadable(fault) from fault
        if (found.lineage, found.version, found.txn) != (record.lineage, record.version, record.txn):
            raise Unreadable(
                Corrupt(f"manifest {ref.name} is not that of version {record.version}; run penstock verify")
            )
        self._members = {**dict(list(self._members.items())[-1:]), key: found.membership}
        return record, found

    def _closure(self, at: Key | None) -> frozenset[str]:
        """What the target has by its version `at`, as far as that can still be read."""
        if self._had is None or self._had[0] != at:
            try:
                names = manifests.closure(self._manifest(at)[1]) if at is not None and self._log.there(at) else ()
            except Unreadable:
                names = ()
            self._had = (at, frozenset(names)) if at is not None else None
        return self._had[1] if self._had is not None else frozenset()

    def _stands(self, newest: Version) -> bool:
        """Whether the newest version is acknowledged; those before it are, because it is there."""
        key, members = (newest.record.version, newest.record.epoch), newest.manifest.membership
        if self._log.acknowledged(newest.record, members, self._before(key, members)):
            return True
        looks = self._waited.get(key, 0)
        self._waited = {key: looks + 1}
        if looks == 1:  # at the first look it may be on its way
            self._report(
                f"version {key[0]} waits: fewer than {members.write_quorum} replicas that can be seen publish it, or a "
                "later epoch has begun; it is copied when it is acknowledged"
            )
        return False

    def _before(self, key: Key, members: Membership) -> Membership | None:
        """The members at the version before this one; where that cannot be read, as if all members had to have it."""
        before = self._log.before(key)
        if before is None:
            return None
        try:
            return self._members.get(before) or self._manifest(before)[1].membership
        except Unreadable:
            return Membership(members.replicas, len(members.replicas))

    def _beyond(self, key: Key, fault: Unreadable) -> list[Key]:
        """What comes after a version that cannot be read. Raises what is wrong with it where nothing does."""
        pending = after(self._log.look(), key)
        if not pending:
            raise fault.fault
        why = str(fault) if self._log.there(key) else "it expired before it could be copied"
        if self._passed.get(key) != why:
            self._passed[key] = why
            self._report(f"version {key[0]} is passed over: {why}; going on with version {pending[0][0]}")
        return pending
