"""Which version to restore: what several DR stores of one index hold together, and which of it is whole.

A version is taken for whole when its record and its manifest can be read, every byte verified, and every blob that it
needs is there in one of the stores. Whether those blobs are what their names say shows when they are copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from penstock.index.blobs import blob, framed
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.recovery import gaps
from penstock.index.recovery.archive import SHIPPED, SNAPSHOTS, Archive, Named, history
from penstock.index.recovery.remedy import damage_in, elsewhere
from penstock.index.stores.store import LocalStore, Store, is_key
from penstock.index.stores.stores import is_remote
from penstock.index.types import BlobRef, Manifest


class Wish(msgspec.Struct, frozen=True):
    """What somebody asked for; nothing said: the newest that is whole. `at`: seconds since the epoch."""

    snapshot: str = ""
    version: int | None = None
    at: float | None = None

    @property
    def exact(self) -> bool:
        """Whether one certain version is meant, and no other will do."""
        return bool(self.snapshot) or self.version is not None or self.at is not None


class Whole(msgspec.Struct, frozen=True):
    """A version that can be restored."""

    record: log.LogRecord
    manifest: Manifest


class Holdings:
    """The versions that DR stores of one index hold together. What one of them lacks, or has damaged, another may have.

    Everything raises `Unavailable` where no store answers that could have what is looked for.
    """

    def __init__(self, archives: Sequence[Archive], lineage: str, report: Callable[[str], None]) -> None:
        """Use `of`."""
        self.archives, self.lineage, self._report = tuple(archives), lineage, report
        self.stores: tuple[Store, ...] = tuple(archive.store for archive in archives)
        self._keys: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, archives: Sequence[Archive], report: Callable[[str], None]) -> Holdings:
        """Those of `archives` that answer. Raises `WrongIndex` unless they hold versions, and of one index."""
        lineages: dict[str, list[Archive]] = {}
        silent: IndexFault | None = None
        for archive in archives:
            try:
                lineages.setdefault(_lineage(archive, report), []).append(archive)
            except Unavailable as fault:
                silent = fault
                if len(archives) > 1:
                    report(f"{fault}; going on with the others")
        if len(lineages) > 1:
            said = ", ".join(f"{of[0].name} of {lineage}" for lineage, of in lineages.items())
            raise WrongIndex(f"these DR stores hold versions of different indexes ({said}); name those of one")
        for lineage, of in lineages.items():
            return cls(of, lineage, report)
        raise silent or WrongIndex("no DR store was named; give --from STORE")

    @property
    def named(self) -> str:
        """The stores, for a message."""
        return ", ".join(store.name for store in self.stores)

    def versions(self) -> list[tuple[int, int]]:
        """(version, epoch) of what any of them holds, oldest first. Raises `WrongIndex` where there is nothing."""
        found = history(key for archive in self.archives for key in archive.versions())
        if not found:
            raise WrongIndex(f"{self.named}: holds no version; nothing was ever shipped there whole")
        return found

    def pick(self, wish: Wish, bad: Collection[str] = ()) -> tuple[Whole, list[str]]:
        """The version to restore, and what was passed over for it, a line each.

        `bad`: names of blobs that proved damaged in all stores. Raises `WrongIndex` for a wish that names nothing,
        `Corrupt` where the version that was wished for is damaged, naming the newest whole one, or none is whole.
        """
        if not wish.exact:
            whole, passed = self._newest(bad)
            return whole, [*gaps.gaps(self.archives), *passed]
        version, epoch = self._meant(wish)
        try:
            return self._whole(version, epoch, bad), []
        except Corrupt as fault:
            raise Corrupt(f"version {version} cannot be restored: {fault}; {self._other(bad)}") from fault

    def resolve(self, wish: Wish) -> int:
        """The number of the version that an exact wish means, whole or not."""
        return self._meant(wish)[0]

    def _other(self, bad: Collection[str]) -> str:
        """What can be restored instead, for a message."""
        try:
            other = self._newest(bad)[0].record.version
        except Corrupt:
            return "and no other version there is whole"
        return f"the newest version that is whole is {other}: --version {other}"

    def _newest(self, bad: Collection[str]) -> tuple[Whole, list[str]]:
        passed: list[str] = []
        for version, epoch in reversed(self.versions()):
            try:
                return self._whole(version, epoch, bad), passed
            except Corrupt as fault:
                passed.append(f"version {version} is passed over: {fault}")
        raise Corrupt(f"{self.named}: no version is whole; the newest: {passed[0]}")

    def _whole(self, version: int, epoch: int, bad: Collection[str]) -> Whole:
        """Raises `Corrupt`, saying what of this version is damaged or missing, and which command looks there."""
        try:
            return self._looked_at(version, epoch, bad)
        except Corrupt as fault:
            raise Corrupt(elsewhere(str(fault), *(store.name for store in self.stores))) from fault

    def _looked_at(self, version: int, epoch: int, bad: Collection[str]) -> Whole:
        record = self._record(version, epoch)
        if wrong := self._wanting(record.manifest):
            raise Corrupt(f"its manifest {record.manifest.name} {wrong}")
        found = read_manifest(self.stores, record.manifest, lambda _: None)
        if (found.lineage, found.version) != (self.lineage, version):
            raise Corrupt(f"manifest {record.manifest.name} in {self.named} is that of another version")
        needed = manifests.closure(found)
        if hurt := sorted(needed.keys() & set(bad)):
            raise Corrupt(f"blob {hurt[0]} that it needs is damaged in {self.named}")
        for ref in needed.values():
            if wrong := self._wanting(ref):
                raise Corrupt(f"blob {ref.name} that it needs {wrong}")
        return Whole(record, found)

    def _record(self, version: int, epoch: int) -> log.LogRecord:
        silent: Unavailable | None = None
        wrong = ""
        for archive in self.archives:
            try:
                found = archive.record(version, epoch)
            except FileNotFoundError:
                continue
            except Unavailable as fault:
                silent = fault
            except Corrupt as fault:
                wrong = str(fault)
            else:
                if found.lineage == self.lineage:
                    return found
                wrong = f"{archive.name}: the record of version {version} is that of another index"
        if silent is not None and not wrong:
            raise silent
        raise Corrupt(wrong or f"{self.named}: the record of version {version} is gone")

    def _wanting(self, ref: BlobRef) -> str:
        """What is wrong with this blob in every store, as far as can be told without reading it; "" if nothing."""
        key, sizes = blob.key(ref), []
        for store in self.stores:
            if is_remote(store):
                if key in self._listed(store):
                    return ""
                continue
            size = store.size(key)
            if size == ref.size:
                return ""
            sizes += [] if size is None else [size]
        return f"has {sizes[0]} bytes in {self.named}, not {ref.size}" if sizes else f"is missing in {self.named}"

    def _listed(self, store: Store) -> frozenset[str]:
        """The keys of its blobs: one listing, where asking for each would be a request each."""
        if store.name not in self._keys:
            self._keys[store.name] = frozenset(store.list("blobs/"))
        return self._keys[store.name]

    def _meant(self, wish: Wish) -> tuple[int, int]:
        there = self.versions()
        if wish.at is not None:
            return self._before(there, wish.at)
        named = self._snapshot(wish.snapshot) if wish.snapshot else None
        version = named.version if named is not None else wish.version
        for known, epoch in there:
            if known == version:
                return known, epoch
        if named is not None:
            raise Corrupt(
                f"{self.named}: snapshot {named.name} is version {version}, and that is not there; {self._other(())}"
            )
        coming = [f"; {line}" for known, line in gaps.announced(self.archives) if known == version]
        raise WrongIndex(
            f"{self.named}: has no version {version}; there are {len(there)}, from {there[0][0]} to {there[-1][0]}"
            + "".join(coming)
        )

    def _before(self, there: Sequence[tuple[int, int]], at: float) -> tuple[int, int]:
        """The newest version that was committed by then. One whose time cannot be read counts as old as the one before:
        so it is never left out in silence."""
        low, high = 0, len(there)
        while low < high:
            middle = (low + high) // 2
            if self._committed(there, middle) <= at:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            raise WrongIndex(f"{self.named}: its oldest version, {there[0][0]}, was committed after that time")
        return there[low - 1]

    def _committed(self, there: Sequence[tuple[int, int]], number: int) -> float:
        for version, epoch in reversed(there[: number + 1]):
            try:
                return self._record(version, epoch).committed_at
            except Corrupt:
                continue
        return float("-inf")

    def _snapshot(self, name: str) -> Named:
        if not is_key(name) or "/" in name:
            raise WrongIndex(f"{name!r} is no name of a snapshot; `penstock snapshot list` shows them")
        wrong: IndexFault | None = None
        for archive in self.archives:
            try:
                with damage_in(archive.name):
                    data, where = archive.store.get(SNAPSHOTS + name), f"{archive.name}/{SNAPSHOTS}{name}"
                    found = framed.decode(data, Named, where)
            except FileNotFoundError:
                continue
            except (Corrupt, Unavailable) as fault:
                wrong = fault
            else:
                if (found.name, found.lineage) == (name, self.lineage):
                    return found
                wrong = Corrupt(f"{archive.name}/{SNAPSHOTS}{name} is another snapshot's file")
        if wrong is not None:
            raise type(wrong)(f"{wrong}; to restore without it: {_by_version(self.versions())}")
        known = ", ".join(sorted(_names(self.archives))[-10:]) or "none"
        raise WrongIndex(f"{self.named}: has no snapshot {name}; there are: {known}")


def _by_version(there: Sequence[tuple[int, int]]) -> str:
    return f"--version V, from {there[0][0]} to {there[-1][0]}, or no choice at all for the newest"


def _instead(store: Store) -> str:
    """What is in a place to which nothing was ever shipped."""
    there = next(iter(store.list("")), None)
    if there is None and isinstance(store, LocalStore):
        there = min((each.name for each in store.root.iterdir()), default=None)
    return "is empty" if there is None else f"nothing was ever shipped here, and it holds other things ({there})"


def _names(archives: Iterable[Archive]) -> set[str]:
    return {key.removeprefix(SNAPSHOTS) for archive in archives for key in archive.store.list(SNAPSHOTS)}


def _lineage(archive: Archive, report: Callable[[str], None]) -> str:
    """Whose versions these are: as the store says, else as its records do."""
    with contextlib.suppress(Corrupt):
        if archive.lineage() is None:
            raise WrongIndex(
                f"{archive.name}: {_instead(archive.store)}; check the place: a DR store is the folder, or the prefix, "
                f"in which {SHIPPED} lies"
            )
    found, wrong = archive.whose()
    if wrong:
        report(f"{wrong}; its records say whose it is")
    return found
