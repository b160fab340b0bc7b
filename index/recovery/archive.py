"""A DR store: versions of one index, shipped there one by one, and what is said of them.

    shipped.json                    marker: whose versions these are. Put before anything else
    coming/{version}.{epoch}        the record of a version whose blobs are on their way: they must not be swept
    blobs/{name[0:2]}/{name}        as on a replica: the same names, the same bytes
    log/{version}.{epoch}           as on a replica: put last, when the whole closure lies here
    snapshots/{name}                a version that has a name, and how long it is to be kept
    holds/{name}.{n}                whether that snapshot is held: the highest n counts
    fences/{lineage}                an index of this lineage was made from another, and goes on instead of that one
    expiring/{id}                   what an expiry is about to delete, for as long as it is at it

Unlike a replica's, its log may have gaps: what had expired before it could be shipped is not here. Who ships only
ever puts and reads; only expiry deletes, with the DR store's own credentials.

**Who ships and who lets expire never meet**, though neither waits for the other: who ships announces a version first,
and then looks whether anything that it needs is in a notice (`check_stays`); who lets expire puts its notice first,
and then looks what was announced, published and named. Whatever the order, one of the two sees the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from penstock.index.blobs import framed
from penstock.index.commits import log
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery import fencing
from penstock.index.recovery.fencing import FENCES as FENCES
from penstock.index.recovery.fencing import Fence
from penstock.index.recovery.remedy import damage_in, elsewhere
from penstock.index.stores.store import Store, is_key
from penstock.index.types import BlobRef, Manifest

SHIPPED = "shipped.json"
COMING, SNAPSHOTS, HOLDS, EXPIRING = "coming/", "snapshots/", "holds/", "expiring/"
ABANDONED = 3600.0
"""Seconds after which a notice is that of an expiry that died: nobody deletes under one for nearly so long."""
Key = tuple[int, int]
"""(version, epoch)."""


class Shipped(msgspec.Struct, frozen=True):
    """The versions below this prefix are those of index `lineage`."""

    format: int
    lineage: str


class Named(msgspec.Struct, frozen=True):
    """A version with a name. Times are seconds since the epoch; `keep_until` 0: as long as the policy says.

    `committed_at` is when the version was committed, `taken_at` when it was given this name.
    """

    format: int
    lineage: str
    name: str
    version: int
    epoch: int
    manifest: BlobRef
    committed_at: float
    taken_at: float
    keep_until: float = 0.0


class Hold(msgspec.Struct, frozen=True):
    """Whether the snapshot is held: a held one never expires."""

    format: int
    lineage: str
    name: str
    held: bool
    at: float


class Notice(msgspec.Struct, frozen=True):
    """What an expiry is about to delete: these snapshots, versions and blobs, by name. Put at `at`."""

    format: int
    lineage: str
    at: float
    snapshots: tuple[str, ...] = ()
    versions: tuple[Key, ...] = ()
    blobs: tuple[str, ...] = ()


class Archive:
    """One DR store. Its methods may be repeated; they raise what the store does, and `Corrupt`, `WrongIndex`."""

    def __init__(self, store: Store, report: Callable[[str], None]) -> None:
        self.store, self.name, self._report = store, store.name, report

    def marked(self) -> str | None:
        """Whose versions are here, as the marker says; None where there is no marker."""
        try:
            data = self.store.get(SHIPPED)
        except FileNotFoundError:
            return None
        try:
            return framed.decode(data, Shipped, f"{self.name}/{SHIPPED}").lineage
        except Corrupt as fault:
            raise Corrupt(f"{self.name}/{SHIPPED} is damaged; `penstock snapshot verify` says what helps") from fault

    def lineage(self) -> str | None:
        """Whose versions are here: as the marker says, where it is missing as the records do; None where there are
        neither."""
        return self.marked() or self.told()

    def told(self) -> str | None:
        """Whose versions are here, as the newest record says that can be read; None where none says it."""
        return next(self._owners(), None)

    def whose(self) -> tuple[str, str]:
        """(whose versions are here, what is wrong with the marker). Raises `WrongIndex` where there are none."""
        try:
            found, wrong = self.marked(), f"{self.name}/{SHIPPED} is missing"
        except Corrupt as damage:
            if (said := self.told()) is None:
                raise
            return said, str(damage)
        return (found, "") if found is not None else (self.require(), wrong)

    def require(self, lineage: str | None = None) -> str:
        """Whose versions are here. Raises `WrongIndex` where there are none, or they are not those of `lineage`;
        `Fenced` where they are those of an index that goes on instead of `lineage`."""
        found = self.lineage()
        if found is None:
            raise WrongIndex(f"{self.name}: nothing was ever shipped here; check the place, or run `penstock ship`")
        if lineage not in (None, found):
            self.check_not_fenced(lineage or "")
            raise WrongIndex(
                f"{self.name}: holds the versions of another index; give [snapshots] store an empty place for this one"
            )
        return found

    def claim(self, lineage: str) -> None:
        """Make this the DR store of `lineage`. Raises `WrongIndex` where it is another's, or holds something else.

        Where the marker is missing it is put again, if all records that can be read are of `lineage`.
        """
        if self.marked() is None:
            owners = set(self._owners())
            if owners - {lineage}:
                self.require(lineage)
                raise WrongIndex(f"{self.name}: holds records of several indexes, and {SHIPPED} is missing")
            if not owners and (stray := next(iter(self.store.list("")), None)):
                raise WrongIndex(f"{self.name}: is not empty ({stray}); give [snapshots] store an empty place")
            if self.store.put_if_absent(SHIPPED, framed.encode(Shipped(framed.FORMAT, lineage))) and owners:
                self._report(f"{self.name}: {SHIPPED} was missing, and is there again; its records say whose it is")
        self.require(lineage)

    def _owners(self) -> Iterator[str]:
        """The lineage of each record that can be read: of what is here whole, newest first, then of what is coming."""
        for coming, keys in ((False, self.versions()), (True, self.coming())):
            for key in reversed(keys):
                with contextlib.suppress(Corrupt, FileNotFoundError, WrongIndex):
                    yield self.record(*key, coming=coming).lineage

    def versions(self) -> list[tuple[int, int]]:
        """(version, epoch) of what is here whole, oldest first: one for each version, the true one."""
        return history(filter(None, map(log.parse, self.store.list(log.PREFIX))))

    def coming(self) -> list[tuple[int, int]]:
        """(version, epoch) of what was on its way at some time, oldest first; it may have arrived since."""
        keys = (key.replace(COMING, log.PREFIX, 1) for key in self.store.list(COMING))
        return sorted(filter(None, map(log.parse, keys)))

    def record(self, version: int, epoch: int, *, coming: bool = False) -> log.LogRecord:
        """The record of a version, checked against its name. Raises `FileNotFoundError`, `Corrupt`, `WrongIndex`."""
        with damage_in(self.name):
            if not coming:
                return log.read(self.store, version, epoch, self.name)
            key = coming_key(version, epoch)
            found = log.decode(self.store.get(key), f"{self.name}/{key}")
        if (found.version, found.epoch) != (version, epoch):
            raise Corrupt(f"{self.name}/{key} holds version {found.version}.{found.epoch}")
        return found

    def manifest(self, ref: BlobRef) -> Manifest:
        """A manifest, every byte verified. Raises `Corrupt`, `Unavailable`, `WrongIndex`."""
        with damage_in(self.name):
            return read_manifest([self.store], ref, lambda line: self._report(elsewhere(line, self.name)))

    def announce(self, record: log.LogRecord) -> None:
        """Say that the blobs of this version are about to be put: from now on no expiry sweeps them."""
        self._put(coming_key(record.version, record.epoch), record)

    def check_stays(
        self, now: float, *, blobs: Collection[str] = (), version: Key | None = None, snapshot: str = ""
    ) -> None:
        """Raise `Unavailable` if an expiry is about to delete any of these: try again when it is done.

        To be asked after `announce`, and before looking which blobs are there; of a version, and of its name, after
        the name was given.
        """
        wanted = frozenset(blobs)
        for key in self.store.list(EXPIRING):
            try:
                said = framed.decode(self.store.get(key), Notice, f"{self.name}/{key}")
            except FileNotFoundError:
                continue
            except Corrupt as fault:
                raise Unavailable(f"{fault}; `penstock snapshot expire` clears it away") from fault
            meets = version in said.versions or snapshot in said.snapshots or not wanted.isdisjoint(said.blobs)
            if meets and said.at > now - ABANDONED:
                raise Unavailable(f"{self.name}: an expiry is deleting what is needed here; try again when it is done")

    def publish(self, record: log.LogRecord) -> None:
        """Say that the whole closure of this version lies here."""
        self._put(log.key(record.version, record.epoch), record)

    def snapshots(self) -> dict[str, Named]:
        """The snapshots, by name. One that cannot be read is reported and left out."""
        found, damaged = self.names()
        for fault in damaged.values():
            self._report(fault)
        return found

    def names(self) -> tuple[dict[str, Named], dict[str, str]]:
        """The snapshots, by name; and what is wrong with those that cannot be read, by name."""
        found: dict[str, Named] = {}
        damaged: dict[str, str] = {}
        for key in self.store.list(SNAPSHOTS):
            name, where = key.removeprefix(SNAPSHOTS), f"{self.name}/{key}"
            try:
                found[name] = framed.decode(self.store.get(key), Named, where)
                if found[name].name != name:
                    raise Corrupt(f"{where} is that of snapshot {found.pop(name).name}")
            except FileNotFoundError:
                continue  # it expired meanwhile
            except Corrupt as fault:
                damaged[name] = elsewhere(str(fault), self.name)
        return found, damaged

    def name_version(self, named: Named) -> Named:
        """Give a version a name, and return what has that name now. Never changes one that is there."""
        key = SNAPSHOTS + named.name
        if not is_key(key) or named.name.count("/"):
            raise ValueError(f"{named.name!r}: a snapshot's name is made of letters, digits, _ . and -")
        if self.store.put_if_absent(key, framed.encode(named)):
            return named
        with damage_in(self.name):
            return framed.decode(self.store.get(key), Named, f"{self.name}/{key}")

    def held(self) -> frozenset[str]:
        """The names of the snapshots that are held. A hold that cannot be read counts as one."""
        newest: dict[str, str] = {}
        for key in self.store.list(HOLDS):
            newest[key.removeprefix(HOLDS).rpartition(".")[0]] = key
        return frozenset(name for name, key in newest.items() if self._says_held(key))

    def hold(self, name: str, held: bool, lineage: str, now: float) -> None:
        """Hold a snapshot, or let go of it."""
        while (name in self.held()) != held:
            keys = [key for key in self.store.list(HOLDS) if key.removeprefix(HOLDS).rpartition(".")[0] == name]
            number = int(keys[-1].rpartition(".")[2]) + 1 if keys else 1
            said = Hold(framed.FORMAT, lineage, name, held, now)
            self.store.put_if_absent(f"{HOLDS}{name}.{number:08d}", framed.encode(said))

    def fence(self, lineage: str, successor: str, version: int, now: float) -> bool:
        """Shut `lineage` out: `successor`, made from `version`, is written from now on. False: it was before."""
        return fencing.put(self.store, Fence(framed.FORMAT, lineage, successor, version, now))

    def check_not_fenced(self, lineage: str) -> None:
        """Raise `Fenced` if an index that was restored goes on instead of `lineage`, or nobody can read whether."""
        fencing.check(self.store, lineage)

    def _put(self, key: str, record: log.LogRecord) -> None:
        data = log.encode(record)
        if not self.store.put_if_absent(key, data) and self.store.get(key) != data:
            raise Corrupt(f"{self.name}/{key} is not what was published; run `penstock snapshot verify`")

    def _says_held(self, key: str) -> bool:
        try:
            return framed.decode(self.store.get(key), Hold, f"{self.name}/{key}").held
        except (Corrupt, FileNotFoundError) as fault:
            self._report(elsewhere(f"{fault}; it counts as held", self.name))
            return True


def coming_key(version: int, epoch: int) -> str:
    return log.key(version, epoch).replace(log.PREFIX, COMING, 1)


def history(keys: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The true (version, epoch) of each version, oldest first: pure.

    Those of the highest epoch, and before the first of these, by the same rule, those of the epochs below: what a
    lower epoch has at or beyond it was never acknowledged (`index/reading/places.py` says why).
    """
    found: list[tuple[int, int]] = []
    for version, epoch in sorted(keys, key=lambda key: (key[1], key[0]), reverse=True):
        if not found or version < found[-1][0]:
            found.append((version, epoch))
    return found[::-1]
