"""Whether what was shipped could be restored: every byte of it, against its name. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import msgspec

from penstock.index.blobs import blob, framed, scrub
from penstock.index.blobs.scrub import Copy, Rate
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.errors import Corrupt, Unavailable
from penstock.index.recovery import contents, inventory
from penstock.index.recovery.archive import HOLDS, SHIPPED, SNAPSHOTS, Archive, Hold, Key
from penstock.index.recovery.carrying import in_parallel
from penstock.index.recovery.fencing import FENCES, Fence
from penstock.index.recovery.inventory import Inventory
from penstock.index.recovery.remedy import bare
from penstock.index.types import BlobRef, Manifest

Progress = Callable[[str, int, int], None]


class Flaw(msgspec.Struct, frozen=True):
    """One thing that is wrong: which key, what with it, the versions and snapshots that it spoils, what to do."""

    key: str
    what: str
    remedy: str
    versions: list[int] = []
    snapshots: list[str] = []


class Audit(msgspec.Struct, frozen=True):
    """What was looked at in one DR store, and what is wrong. `whole`: the newest version of which every byte is right;
    None if there is none."""

    store: str
    versions: list[int]
    blobs: int
    bytes: int
    flaws: list[Flaw]
    whole: int | None


def audit(
    archive: Archive,
    *,
    name: str = "",
    version: int | None = None,
    every: bool = False,
    rate: Rate | None = None,
    threads: int = 1,
    report_progress: Progress = lambda *_: None,
) -> Audit:
    """Verify one snapshot or version; else the newest version and all that have a name; with `every`, all there are.

    Each blob is read once, whole. Where something is wrong, older versions are looked at until one is whole. With a
    `rate`, one after the other. Raises `WrongIndex` where there is no such thing, `Unavailable` for a store that is
    away.
    """
    flaws: list[Flaw] = []
    found = inventory.read(archive, lineage=_lineage(archive, flaws))
    walk = _Walk(archive, found, rate or Rate(), 1 if rate else threads, report_progress)
    if name or version is not None:
        wanted = [contents.pick(archive, found, name, version)]
    else:
        named = {(one.version, one.epoch) for one in found.names.values()}
        wanted = sorted(named.union(found.history if every else found.history[-1:]))
        flaws += _markers(archive, found, wanted)
    flaws += walk.flaws(wanted)
    checked, read = len(walk.copies), sum(walk.sizes.values())
    numbers = sorted({number for number, _ in wanted})
    flaws = [msgspec.structs.replace(flaw, what=bare(flaw.what)) for flaw in flaws]
    return Audit(archive.name, numbers, checked, read, flaws, walk.newest_whole(wanted, bool(flaws)))


class _Walk:
    """What each blob is like, looked at once. `sizes`: what it should have, by name."""

    def __init__(self, archive: Archive, found: Inventory, rate: Rate, threads: int, progress: Progress) -> None:
        self._archive, self._found, self._rate, self._threads = archive, found, rate, threads
        self._progress = progress
        self.copies: dict[str, Copy] = {}
        self.sizes: dict[str, int] = {}
        self._needs: dict[Key, dict[str, BlobRef]] = {}
        self._wrong: dict[Key, list[Flaw]] = {}

    def flaws(self, wanted: Sequence[Key]) -> list[Flaw]:
        """What is wrong with these versions."""
        for key in wanted:
            self._read(key)
        self._examine(ref for key in wanted for ref in self._needs[key].values())
        flaws = [flaw for key in wanted for flaw in self._wrong[key]]
        users: dict[str, list[Key]] = {}
        for key in wanted:
            for name in self._needs[key]:
                if self.copies[name] is not Copy.WHOLE:
                    users.setdefault(name, []).append(key)
        for name, keys in users.items():
            if self._still(keys):
                flaws.append(self._of_blob(self._needs[keys[0]][name], keys))
        return flaws

    def newest_whole(self, wanted: Sequence[Key], doubtful: bool) -> int | None:
        """The newest version that is whole: of those that were looked at, or of all if something was wrong."""
        for key in reversed(self._found.history):
            if key not in self._needs:
                if not doubtful:
                    continue
                self._read(key)
                self._examine(self._needs[key].values())
            if not self._wrong[key] and all(self.copies[name] is Copy.WHOLE for name in self._needs[key]):
                return key[0]
        return None if doubtful or not wanted else wanted[-1][0]

    def _read(self, key: Key) -> None:
        """Find out what a version needs; what is wrong with its record, its manifest, its names."""
        found, wrong = self._found, self._wrong.setdefault(key, [])
        record, names = found.records.get(key), self._names([key])
        refs = {record.manifest.name: record.manifest} if record else {}
        if record is None:
            what = found.damaged.get(key, f"the record of version {key[0]} is missing")
            wrong.append(self._flaw(log.key(*key), what, [key], self._again(key, damaged=key in found.damaged)))
        for name in names:
            named = found.names[name]
            refs[named.manifest.name] = named.manifest
            if record and (named.manifest, named.committed_at) != (record.manifest, record.committed_at):
                what = f"it is not the version {key[0]} that lies there"
                wrong.append(self._flaw(SNAPSHOTS + name, what, [key], _RENAME))
        needs = self._needs[key] = dict(refs)
        for ref in refs.values():
            made = self._manifest(ref)
            if made is None:
                continue
            if (made.lineage, made.version, made.epoch) != (found.lineage, *key):
                what = f"it is the manifest of version {made.version}, not of {key[0]}"
                wrong.append(self._flaw(blob.key(ref), what, [key], _LOST))
            needs |= manifests.closure(made)

    def _manifest(self, ref: BlobRef) -> Manifest | None:
        try:
            return self._archive.manifest(ref)
        except Corrupt:
            return None  # that shows when all of its bytes are looked at
        except Unavailable:
            self._archive.store.size(SHIPPED)  # is it the store, or only this blob?
            return None

    def _examine(self, refs: Iterable[BlobRef]) -> None:
        todo = list({ref.name: ref for ref in refs if ref.name not in self.copies}.values())
        done = count(1)

        def one(ref: BlobRef) -> tuple[BlobRef, Copy]:
            copy = scrub.examine(self._archive.store, ref, self._rate)
            self._progress(self._archive.name, next(done), len(todo))
            return ref, copy

        for ref, copy in in_parallel(one, todo, self._threads):
            self.copies[ref.name], self.sizes[ref.name] = copy, ref.size
            if copy is Copy.UNREADABLE:
                self._archive.store.size(SHIPPED)  # a store that is away says so

    def _still(self, keys: Sequence[Key]) -> bool:
        """Whether any of these versions is still there: what expired meanwhile is not missed."""
        published = set(self._archive.versions())
        named = {(one.version, one.epoch) for one in self._archive.snapshots().values()}
        return any(key in published | named or key in self._found.damaged for key in keys)

    def _of_blob(self, ref: BlobRef, keys: Sequence[Key]) -> Flaw:
        copy, manifest = self.copies[ref.name], any(ref.name == self._ref(key) for key in keys)
        newest = self._found.history[-1:]
        again = bool(newest) and ref.name in self._needs.get(newest[0], {})
        remedy = (_SHIP if copy is Copy.MISSING else _DELETE) if again else _LOST
        return self._flaw(blob.key(ref), f"{'manifest' if manifest else 'blob'} {copy.value}", keys, remedy)

    def _ref(self, key: Key) -> str:
        record = self._found.records.get(key)
        return record.manifest.name if record else ""

    def _again(self, key: Key, *, damaged: bool) -> str:
        if not damaged:
            return _LOST
        return _DELETE if key in self._found.history[-1:] else "delete it there: that version is lost"

    def _names(self, keys: Iterable[Key]) -> list[str]:
        wanted = set(keys)
        return sorted(one.name for one in self._found.names.values() if (one.version, one.epoch) in wanted)

    def _flaw(self, key: str, what: str, keys: Sequence[Key], remedy: str) -> Flaw:
        return Flaw(key, what, remedy, sorted({version for version, _ in keys}), self._names(keys))


_SHIP = "`penstock ship` puts it back, from the replicas"
_DELETE = "delete it there, then `penstock ship` puts it back, from the replicas"
_LOST = "that version is lost there; restore another"
_MARK = "`penstock ship` puts it again; restoring from there goes on to work, and nothing expires meanwhile"
_FENCE = (
    "it shuts out all but the restored index that its name says: see that the old one is stopped, delete the file, and "
    "run `penstock ship` with the restored index, which puts it again"
)
_RENAME = "delete it there, and name the version again"


def _lineage(archive: Archive, flaws: list[Flaw]) -> str:
    """Whose versions these are: as the place says, else as its records do."""
    found, wrong = archive.whose()
    if wrong:
        missing = archive.store.size(SHIPPED) is None
        flaws.append(Flaw(SHIPPED, wrong, _MARK if missing else f"delete it there: {_MARK}"))
    return found


def _markers(archive: Archive, found: Inventory, wanted: Sequence[Key]) -> Iterator[Flaw]:
    """The small files that cannot be read, besides the records of what is `wanted`."""
    for name, fault in found.broken.items():
        yield Flaw(SNAPSHOTS + name, fault, _RENAME, snapshots=[name])
    for key, fault in found.damaged.items():
        if key not in wanted:
            yield Flaw(log.key(*key), fault, "delete it there: that version is lost", [key[0]])
    kinds: tuple[tuple[str, type[msgspec.Struct], str], ...] = (
        (HOLDS, Hold, "delete it there, and say it again"),
        (FENCES, Fence, _FENCE),
    )
    for prefix, kind, remedy in kinds:
        for marker in list(archive.store.list(prefix)):
            try:
                framed.decode(archive.store.get(marker), kind, f"{archive.name}/{marker}")
            except FileNotFoundError:
                continue
            except Corrupt as fault:
                yield Flaw(marker, str(fault), remedy)
