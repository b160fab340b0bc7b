"""Making one replica agree with what is known: blobs from good copies, then records, its own marker last.

Every step may be repeated and may be cut short anywhere. A damaged file goes only when a verified copy of what
belongs there is at hand; what is put is read back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.index.blobs import blob, framed, scrub
from penstock.index.blobs.scrub import Copy, Rate
from penstock.index.care.survey import Replica, Truth
from penstock.index.commits import log, markers
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Corrupt, IndexFault
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Member

CRASH_POINTS = ("repair.removed", "repair.put", "repair.blobs", "repair.marked", "repair.named")
Reach = Callable[[str], None]


@dataclass(slots=True)
class Healed:
    """What was put on one replica. `bytes` are those of blobs; `fault`: why it could not be finished.

    `donated`: how many of the blobs no replica had whole, so that a DR store gave them.
    """

    blobs: int = 0
    bytes: int = 0
    donated: int = 0
    records: int = 0
    markers: int = 0
    fault: str = ""

    def __bool__(self) -> bool:
        return bool(self.blobs or self.records or self.markers)


@dataclass(slots=True)
class Patient:
    """A replica that is being made whole. `store` is where its files are put; `member` is who it is."""

    replica: Replica
    member: Member | None
    done: Healed = field(default_factory=Healed)
    lacks: set[str] = field(default_factory=set)
    """Names of blobs of which it has no whole copy, and got none."""

    @property
    def store(self) -> Store:
        return self.replica.store

    @property
    def shown(self) -> bool:
        """Whether what was found there was this replica, and not the empty folder of a disk that is not mounted."""
        found = self.replica
        return found.marker is not None or markers.REPLICA in found.damaged or bool(found.records)

    @property
    def well(self) -> bool:
        """Whether it answers, and takes what is put."""
        return not self.done.fault

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """A store that fails is left out from then on; the others are healed."""
        try:
            yield
        except IndexFault as error:
            self.done.fault = str(error)


def heal_blob(
    ref: BlobRef,
    patients: Mapping[str, Patient],
    scratch: Path,
    rate: Rate,
    reach: Reach,
    report: Callable[[str], None],
    donors: Sequence[Store] = (),
) -> bool:
    """Read every replica's copy of one blob, and replace those that are not whole. False if none can be made whole.

    `donors` are asked where the replicas together do not have it.
    """
    copies = {name: scrub.examine(patient.store, ref, rate) for name, patient in patients.items() if patient.well}
    for name, copy in copies.items():
        if copy is Copy.UNREADABLE and _is_away(patients[name], ref):
            patients[name].done.fault = f"{patients[name].store.name}: stopped answering"
    copies = {name: copy for name, copy in copies.items() if patients[name].well}
    bad = {name: copy for name, copy in copies.items() if copy is not Copy.WHOLE}
    if not bad:
        return True
    good = [patients[name].store for name, copy in copies.items() if copy is Copy.WHOLE]
    damaged = [patients[name].store for name, copy in copies.items() if copy not in (Copy.WHOLE, Copy.MISSING)]
    try:
        with _source(ref, good, damaged, donors, scratch, rate) as (source, donated):
            for name, copy in sorted(bad.items()):
                with patients[name].trying():
                    if _replace(patients[name], ref, copy, source, rate, reach):
                        patients[name].done.donated += donated
                        whence = ", which no replica had whole, from a DR store" if donated else ""
                        report(f"replica {name}: blob {ref.name} {copy.value}; put again{whence}, {ref.size} bytes")
    except Corrupt:
        for name in bad:
            patients[name].lacks.add(ref.name)
        return False
    return True


def _is_away(patient: Patient, ref: BlobRef) -> bool:
    """Whether it is the store that gives nothing, and not only this file of a local disk."""
    try:
        return patient.store.local_path(blob.key(ref)) is None
    except IndexFault:
        return True


@contextlib.contextmanager
def _source(
    ref: BlobRef, good: list[Store], damaged: list[Store], donors: Sequence[Store], scratch: Path, rate: Rate
) -> Iterator[tuple[Path, bool]]:
    """A local file that is the blob: a good copy itself, or one put together; and whether a donor had to help.

    Raises `Corrupt` if there is none.
    """
    path = next((path for store in good if (path := store.local_path(blob.key(ref))) is not None), None)
    if path is not None:
        yield path, False
        return
    scratch.mkdir(parents=True, exist_ok=True)
    out = scratch / ref.name
    try:
        yield out, _assembled([*good, *damaged], donors, ref, out, rate)
    finally:
        out.unlink(missing_ok=True)


def _assembled(copies: list[Store], donors: Sequence[Store], ref: BlobRef, out: Path, rate: Rate) -> bool:
    try:
        scrub.assemble(copies, ref, out, rate)
        return False
    except Corrupt:
        if not donors:
            raise
    scrub.assemble([*copies, *donors], ref, out, rate)
    return True


def _replace(patient: Patient, ref: BlobRef, copy: Copy, source: Path, rate: Rate, reach: Reach) -> bool:
    """Put the blob; False if it turns out to be whole."""
    key = blob.key(ref)
    if copy is Copy.UNREADABLE and scrub.examine(patient.store, ref, rate) is Copy.WHOLE:
        return False  # it failed once: to remove a good copy of a disk that may be full would lose it
    if copy is not Copy.MISSING:
        patient.store.delete(key)
        reach("repair.removed")
    patient.store.put_if_absent(key, source)
    if scrub.examine(patient.store, ref, rate) is not Copy.WHOLE:
        raise Corrupt(f"{patient.store.name}: blob {ref.name} is not whole right after it was put: mend that disk")
    patient.done.blobs += 1
    patient.done.bytes += ref.size
    reach("repair.put")
    return True


def heal_log(patient: Patient, truth: Truth, span: range, disproved: bool, reach: Reach) -> None:
    """Put every record of the versions in `span` that the replica lacks, oldest first: it has all that they need, or
    nobody has.

    A damaged record of a version that nobody knows goes only if `disproved`: it cannot have been acknowledged.
    """
    wanted = {log.key(version, it.epoch): it for version, it in truth.records.items() if version in span}
    damaged = {key: at for key in patient.replica.damaged if (at := log.parse(key))}
    have = {log.key(*at) for at in patient.replica.records}
    for key in sorted((wanted.keys() - have) | damaged.keys()):
        if key in damaged and span.stop <= damaged[key][0] <= truth.head:
            continue
        if key in damaged and key not in wanted and damaged[key][0] > truth.head and not disproved:
            raise Corrupt(
                f"{patient.store.name}: {key} is damaged and no other replica has it: bring another replica back"
            )
        _rewrite(patient.store, key, wanted.get(key), key in damaged, reach)
        patient.done.records += 1


def heal_markers(patient: Patient, truth: Truth, token: Callable[[], str], reach: Reach) -> None:
    """Put the markers that the replica lacks, who it is last of all."""
    have = patient.replica
    wanted: dict[str, markers.Epoch | markers.Floor | markers.Marker] = {}
    if truth.epoch is not None and have.epochs.get(truth.epoch.epoch) != truth.epoch:
        wanted[markers.epoch_key(truth.epoch.epoch)] = truth.epoch
    if truth.floor > have.floor or markers.floor_key(truth.floor) in have.damaged:
        wanted[markers.floor_key(truth.floor)] = markers.Floor(framed.FORMAT, truth.lineage, truth.floor)
    damaged = {key for key in have.damaged if key.startswith((markers.EPOCHS, markers.FLOORS))}
    for key in damaged - wanted.keys():
        number = key.removeprefix(markers.EPOCHS)
        if number.isdigit() and (truth.epoch is None or int(number) > truth.epoch.epoch):
            # Nobody knows that epoch's id. An id that nobody has makes the next opening begin a later one.
            wanted[key] = markers.Epoch(framed.FORMAT, truth.lineage, int(number), token())
    for key in sorted(wanted.keys() | damaged):
        _rewrite(patient.store, key, wanted.get(key), key in have.damaged, reach)
        patient.done.markers += 1
    if have.marker is None and patient.member is not None:
        mine = markers.Marker(framed.FORMAT, truth.lineage, patient.member.id, patient.member.incarnation)
        _rewrite(patient.store, markers.REPLICA, mine, markers.REPLICA in have.damaged, reach)
        patient.done.markers += 1
        reach("repair.marked")


Framed = LogRecord | markers.Epoch | markers.Floor | markers.Marker


def _rewrite(store: Store, key: str, struct: Framed | None, damaged: bool, reach: Reach) -> None:
    """Replace a framed file, or only remove a damaged one that nothing needs. Raises `Corrupt` if it does not keep."""
    if damaged:
        store.delete(key)
        reach("repair.removed")
    if struct is None:
        return
    data = framed.encode(struct)
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise Corrupt(f"{store.name}: {key} is not what it should be, and came back after it was removed")
    reach("repair.put")
