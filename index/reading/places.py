"""Where a reader finds replicas, and the newest version that they publish. Only files, no configuration.

**Which version is the newest.** Each record of the log carries an epoch, the life of the catalog that decided it.
A new epoch begins by adopting what N-W+1 replicas published, which is everything that was ever acknowledged,
with its records as they are; what it decides itself carries the new epoch. So the history of the index is: the
records of the highest epoch that has any, and before the first of these, by the same rule, those of the epochs
below. A record of a lower epoch at or beyond that first version was published by a writer that the new epoch had
shut out, on replicas that it could not ask: it was never acknowledged, and another version has its number. It is
passed over wherever the new epoch's record can be seen, even when its own number is higher.

While the new epoch has decided nothing, such a record cannot be told from one that was adopted, and is served: it
was ratified, and all that it needs is there. A reader that serves it stays with it until the new epoch has come
to the same number, and then goes over, because at equal version the higher epoch is the true one: the number
that a reader shows never falls. What is chosen depends on the files that can be seen, never on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from penstock.index.blobs.blob import open_blob
from penstock.index.blobs.deadline import Late, gather
from penstock.index.blobs.watched import LONGEST, Errand, Watched
from penstock.index.commits import log, manifest, markers
from penstock.index.errors import Corrupt, IndexFault, NotRetained, Unavailable, WrongIndex
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest, Member, Membership

Report = Callable[[str], None]
Entry = tuple[int, int]
"""(epoch, version)."""
GRACE = 1.0
"""Seconds that a replica may be slower than the first one that has something to show."""


class Published(msgspec.Struct, frozen=True):
    """One published version, read and verified. `epoch` is the one that it was published under."""

    epoch: int
    manifest: Manifest
    stores: tuple[Store, ...]
    """Where to read it: those that publish it come first."""


class Seen(msgspec.Struct, frozen=True):
    """What one replica shows. `record`: its newest one that is whole."""

    store: Store
    entries: frozenset[Entry]
    record: log.LogRecord | None
    marker: markers.Marker | None

    @property
    def lineage(self) -> str | None:
        """Whose it is, None if it cannot say."""
        if self.record is not None:
            return self.record.lineage
        return self.marker.lineage if self.marker is not None else None


def newest(
    stores: Sequence[Watched],
    report: Report,
    *,
    clock: Callable[[], float],
    lineage: str | None = None,
    version: int | None = None,
) -> Published | None:
    """Return the newest version that any store publishes and whose manifest can be read: see above.

    All stores are looked at together, and none is waited for longer than `GRACE` once another has something. Where
    replicas were made and nothing was committed yet, that is version 0, which holds nothing; None when there
    are no replicas. What is late, damaged or missing is reported and passed over, and so is a replica of another index
    than `lineage`. Raises `WrongIndex` when the stores belong to different indexes (or none to `lineage`), or
    to a newer penstock; `Unavailable` or `Corrupt` when nothing can be read where something may be published.

    With `version`: that one of the history, and no other. Raises `NotRetained` where no store publishes it.
    """
    seen, unknown = _look(stores, report, clock)
    mine = _of_one_index(seen, lineage, report)
    history = _history(mine, report)
    fault: IndexFault | None = None
    for record in history:
        if version not in (None, record.version):
            continue
        holders = [one.store for one in mine if (record.epoch, record.version) in one.entries]
        ordered = (*holders, *(one.store for one in mine if one.store not in holders))
        ordered += tuple(store for store in stores if store in unknown)
        try:
            return Published(record.epoch, _manifest(ordered, record, report), ordered)
        except (Corrupt, Unavailable) as failed:
            fault = failed
            report(f"version {record.version}: {failed}; looking for an older one")
    if fault is not None:
        raise fault
    if version is not None and not unknown:
        raise NotRetained(f"version {version} is not kept here any more, or never was; run penstock status")
    if version is not None:
        raise Unavailable(f"version {version} cannot be read: {'; '.join(unknown.values())}")
    return _nothing_yet(mine, unknown)


def _look(stores: Sequence[Watched], report: Report, clock: Callable[[], float]) -> tuple[list[Seen], dict[Store, str]]:
    """Look at all stores at once: what those show that answered, and what is wrong with the others."""
    errands: dict[Watched, Errand[Seen]] = {}
    unknown: dict[Store, str] = {}
    for store in stores:
        try:
            errands[store] = store.errand(_Look(store, report))
        except Late as fault:
            unknown[store] = str(fault)
    found = gather(errands, _shows_something, grace=GRACE, limit=LONGEST, clock=clock)
    for store, errand in errands.items():
        answer = found.get(store)
        if answer is None:
            errand.abandon()
            unknown[store] = f"{store.name}: did not answer in time"
        elif isinstance(answer, (OSError, Corrupt, Unavailable)):
            unknown[store] = str(answer)
        elif isinstance(answer, Exception):
            raise answer
    if len(unknown) < len(stores):  # else this is why nothing can be read, which is raised
        for line in unknown.values():
            report(f"{line}; reading another replica")
    return [answer for store in stores if isinstance(answer := found.get(store), Seen)], unknown


class _Look:
    """Looks at one replica: its newest whole record, and its marker where it has none."""

    def __init__(self, store: Watched, report: Report) -> None:
        self._watched, self._report = store, report

    def __call__(self) -> Seen:
        store = self._watched.store
        keys = [parsed for name in store.list(log.PREFIX) if (parsed := log.parse(name)) is not None]
        entries = frozenset((epoch, version) for version, epoch in keys)
        for epoch, version in sorted(entries, reverse=True):
            record = _record(store, version, epoch, self._report)
            if record is not None:
                return Seen(self._watched, entries, record, None)
        return Seen(self._watched, entries, None, markers.replica(store))


def _shows_something(seen: Seen) -> bool:
    return seen.record is not None


def _record(store: Store, version: int, epoch: int, report: Report) -> log.LogRecord | None:
    """One record; None, and a line, if it is not whole."""
    try:
        return log.read(store, version, epoch, store.name)
    except (Corrupt, FileNotFoundError) as fault:
        report(f"{fault}; reading another record, run penstock verify")
        return None


def _of_one_index(seen: Sequence[Seen], lineage: str | None, report: Report) -> list[Seen]:
    lineages = Counter(one.lineage for one in seen if one.lineage is not None)
    if lineage is None and len(lineages) > 1:
        most, count = lineages.most_common(1)[0]
        if 2 * count > lineages.total():
            return _of_one_index(seen, most, report)
        said = ", ".join(f"{one.store.name} to {one.lineage}" for one in seen if one.lineage is not None)
        raise WrongIndex(f"these replicas belong to different indexes; name those of one only: {said}")
    if lineage is not None and lineages and lineage not in lineages:
        names = ", ".join(one.store.name for one in seen)
        raise WrongIndex(f"{names}: holds another index than the one that was opened")
    strangers = [one for one in seen if lineage is not None and one.lineage not in (None, lineage)]
    for one in strangers:
        report(f"{one.store.name}: holds another index; reading another replica")
    return [one for one in seen if one not in strangers]


def _history(seen: Sequence[Seen], report: Report) -> Iterator[log.LogRecord]:
    """Yield the records of the history, newest first, those that are whole on some replica."""
    holders: dict[Entry, list[Seen]] = {}
    for one in seen:
        for entry in one.entries:
            holders.setdefault(entry, []).append(one)
    ceiling: int | None = None
    for epoch in sorted({epoch for epoch, _ in holders}, reverse=True):
        versions = sorted((version for of, version in holders if of == epoch), reverse=True)
        known = False
        for version in versions:
            if ceiling is not None and version >= ceiling:
                report(f"version {version} of epoch {epoch} was never acknowledged: a later epoch has that number")
                continue
            record = _agreed(holders[epoch, version], version, epoch, report)
            if record is not None:
                known = True
                yield record
        if known:
            ceiling = min(versions[-1], versions[-1] if ceiling is None else ceiling)


def _agreed(holders: Sequence[Seen], version: int, epoch: int, report: Report) -> log.LogRecord | None:
    """The record that most of its holders have; should two have as many, the one whose manifest's name is lower."""
    found: Counter[log.LogRecord] = Counter()
    for one in holders:
        record = one.record
        if record is None or (record.version, record.epoch) != (version, epoch):
            try:
                record = _record(one.store, version, epoch, report)
            except Unavailable as fault:
                report(f"{fault}; reading another replica")
                continue
        if record is not None:
            found[record] += 1
    if len(found) > 1:
        names = ", ".join(one.store.name for one in holders)
        report(f"{names}: do not agree on version {version} of epoch {epoch}; run penstock verify")
    return min(found, key=lambda record: (-found[record], record.manifest.name), default=None)


def _manifest(stores: Sequence[Store], record: log.LogRecord, report: Report) -> Manifest:
    """The manifest of a record. Raises `Corrupt` for one that is another version's."""
    made = read_manifest(stores, record.manifest, report)
    if (made.lineage, made.version) != (record.lineage, record.version):
        raise Corrupt(f"manifest {record.manifest.name} is not that of version {record.version}; run penstock verify")
    return made


def _nothing_yet(seen: Sequence[Seen], unknown: Mapping[Store, str]) -> Published | None:
    """Version 0, if replicas say that they are whole and none of them has published anything, ever."""
    for one in seen:
        if one.entries and one.record is None:
            raise Corrupt(f"{one.store.name}: no record of its log can be read; run penstock verify")
    marked = [one.marker for one in seen if one.marker is not None]
    if unknown:
        raise Unavailable(f"nothing is published that can be read: {'; '.join(unknown.values())}")
    if not marked:
        return None
    members = tuple(Member(marker.id, marker.incarnation) for marker in marked)
    empty = manifest.empty(marked[0].lineage, 0, Membership(members, 0))
    return Published(0, empty, tuple(one.store for one in seen))


def read_manifest(stores: Sequence[Store], ref: BlobRef, report: Report) -> Manifest:
    """Read a manifest, every byte verified. Raises as `open_blob`, and `WrongIndex` for a newer format."""
    blob = open_blob(stores, ref, report=report)
    try:
        return manifest.decode(blob.read(0, blob.size), f"manifest {ref.name}")
    finally:
        blob.close()
