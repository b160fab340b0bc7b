"""Making replicas whole again, from one another; and an index whole again without what is good on none of them.

Repair may be killed anywhere and run again. What it does, in order: it looks at every replica and the catalog;
refuses those that are none of this index, untouched; reads every blob of every retained version on every replica and
replaces those that are not whole; puts records and markers that are missing or damaged; opens the index, which makes
its catalog again if it must; and, if every replica was there, makes a version without what could not be saved, with
the documents that were in it marked, so that the next ingest embeds exactly those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.index.blobs import framed
from penstock.index.blobs.scrub import Rate
from penstock.index.care import audit, survey, verify
from penstock.index.care.healing import Healed, Patient, heal_blob, heal_log, heal_markers
from penstock.index.care.intake import Intake
from penstock.index.care.losses import Mend
from penstock.index.care.rewind import rewind
from penstock.index.catalog.catalog import Catalog
from penstock.index.catalog.locks import Locks
from penstock.index.commits import epochs, manifest, markers
from penstock.index.commits.commit import Writer
from penstock.index.commits.crew import Crew, Sequential
from penstock.index.errors import Corrupt, Unavailable, of_local_disk
from penstock.index.recovery.donor import Donor
from penstock.index.stores.rename import rename_noreplace
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef

Report = Callable[[str], None]


@dataclass(slots=True)
class Repaired:
    """What a repair did.

    `refused`: replicas that are none of this index, and why; `away`: those that did not answer, or failed. Neither
    was made whole, and nothing was given up while there is one. `unsaved`: blobs that are good nowhere that answered;
    `silent`: donors that did not, and may have them: nothing was given up while there is one. `documents`: those that
    were marked, to be embedded again; `lost`: in words, what went with them.
    `given_up`: the last of the old versions that are not kept any more because they cannot be whole; 0 for none.
    """

    version: int = 0
    replicas: dict[str, Healed] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)
    unsaved: list[str] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    given_up: int = 0

    def __bool__(self) -> bool:
        """Whether anything was changed."""
        return bool(any(self.replicas.values()) or self.lost or self.documents or self.given_up)

    @property
    def whole(self) -> bool:
        """Whether every replica is whole now."""
        return not (self.refused or self.away or self.silent)


def repair(
    catalog: str | Catalog,
    stores: Mapping[str, Store],
    *,
    workdir: Path,
    clock: Callable[[], float],
    token: Callable[[], str],
    report: Report,
    report_progress: verify.Progress,
    detail: Report = lambda _: None,
    rate_bytes: int | None = None,
    monotonic: Callable[[], float] | None = None,
    sleep: Callable[[float], object] | None = None,
    reach: Callable[[str], None] = lambda _: None,
    lost: frozenset[str] = frozenset(),
    donors: Sequence[Donor] = (),
    **options: Any,
) -> Repaired:
    """Make every replica whole, and the index consistent. A second run changes nothing.

    `donors` (DR stores) are read, and never written, for what no replica has whole. `detail` gets a line for every blob
    that is put. At most `rate_bytes` a second are read (`monotonic` and `sleep` in seconds). `options` are those of
    `Writer.open` (`write_quorum`, `crew`, `locks`). A place without any sign of its replica (an empty folder: is the
    disk mounted?) is filled from the others, but nothing is given up because of it unless its id is in `lost`; nor
    while a donor that may have it does not answer. Raises what opening does, when the replicas at hand are not enough:
    what was healed until then stays healed; `Unavailable` at once when none is at hand.
    """
    at = Catalog(catalog) if isinstance(catalog, str) else catalog
    rate = Rate(rate_bytes, monotonic, sleep)
    found = Intake(at, stores, token, report, donors)
    work = _Repair(at, found, donors, lost, workdir / "repair", token, report, detail, reach, rate)
    options["donors"] = donors
    try:
        work.heal(report_progress)
        if not found.refused:
            if found.decided is not None and found.decided.damaged:
                _make_catalog_again(at, stores, workdir, token, report, reach, **options)
            work.rewind(clock)
            with Writer.open(
                at, stores, workdir=workdir, clock=clock, token=token, report=report, reach=reach, **options
            ) as writer:
                work.settle(writer)
    except OSError as error:
        raise of_local_disk(error, workdir) from error
    return work.done


def _make_catalog_again(
    catalog: Catalog,
    stores: Mapping[str, Store],
    workdir: Path,
    token: Callable[[], str],
    report: Report,
    reach: Callable[[str], None],
    *,
    write_quorum: int,
    donors: Sequence[Store],
    crew: Crew | None = None,
    locks: Locks | None = None,
    **_: Any,
) -> None:
    """Replace a catalog of which any row is damaged: opening looks only at those that it needs."""
    try:
        known = catalog.meta()
    except Corrupt:
        known = None
    held = (locks or catalog.locks(workdir / "locks")).take("recover")
    try:
        epochs.begin(
            catalog,
            stores,
            write_quorum,
            known,
            why="was damaged",
            crew=crew or Sequential(),
            token=token,
            report=report,
            reach=reach,
            donors=donors,
        )
    finally:
        if held is not None:
            held.release()


class _Repair:
    """One run: `heal`, `rewind`, `settle`, in this order. `scratch` is a local folder for copies."""

    def __init__(
        self,
        catalog: Catalog,
        found: Intake,
        donors: Sequence[Donor],
        lost: frozenset[str],
        scratch: Path,
        token: Callable[[], str],
        report: Report,
        detail: Report,
        reach: Callable[[str], None],
        rate: Rate,
    ) -> None:
        self._catalog, self._scratch, self._homes = catalog, scratch, found.homes
        self._token, self._report, self._detail, self._reach, self._rate = token, report, detail, reach, rate
        self._decided, self._truth, self._walked = found.decided, found.truth, found.walked
        self._patients, self._donors, self._lost, self._certain = found.patients, donors, lost, False
        healed = {name: patient.done for name, patient in found.patients.items()}
        self.done = Repaired(replicas=healed, refused=found.refused, away=found.away)

    def heal(self, report_progress: verify.Progress) -> None:
        """Make every replica that takes part whole, as far as any of them has what is needed."""
        self._heal_manifests()
        total = len(self._walked.needed)
        for number, (ref, _) in enumerate(self._walked.needed.values(), start=1):
            report_progress("blobs", number, total)
            if not self._healed(ref):
                self.done.unsaved.append(ref.name)
        self._reach("repair.blobs")
        disproved, all_answered = self._disproved(), self._all_answered()
        if self.done.unsaved or self._truth.head in self._walked.broken:
            self.done.silent = {donor.name: donor.away for donor in self._donors if donor.away}
        self._certain = all_answered and not self.done.silent
        floor = max([self._truth.floor, *(patient.replica.floor for patient in self._patients.values())])
        for name, patient in sorted(self._patients.items()):
            if patient.well:  # else it lacks blobs, and no record may say otherwise
                self._publish(name, patient, floor, disproved, all_answered)
            self._tell(name, patient)

    def _publish(self, name: str, patient: Patient, floor: int, disproved: bool, all_answered: bool) -> None:
        """Records and markers of what it has, its name last."""
        with patient.trying():
            lacks = set() if all_answered else patient.lacks
            end = min((self._walked.oldest[blob] for blob in lacks), default=self._truth.head + 1)
            heal_log(patient, self._truth, range(floor + 1, end), disproved, self._reach)
            if end <= self._truth.head:
                raise Unavailable(f"what version {end} needs is on no replica that answered: bring the others back")
            heal_markers(patient, self._truth, self._token, self._reach)
            self._name(name, patient)

    def _all_answered(self) -> bool:
        """Whether every member showed itself and was read to the end: only then is anything good nowhere."""
        members = survey.membership(self._decided, self._walked.newest)
        patients = self._patients.items()
        well = {name for name, patient in patients if patient.well and (patient.shown or name in self._lost)}
        return not self.done.away and members is not None and {member.id for member in members.replicas} <= well

    def rewind(self, clock: Callable[[], float]) -> None:
        """Where the head's manifest is good nowhere, commit the newest version before it again, as the next one.

        Raises `Unavailable` while a donor that may have it does not answer.
        """
        lost = self._truth.head in self._walked.broken
        if lost and self.done.silent:
            name = min(self.done.silent)
            raise Unavailable(
                f"the manifest of version {self._truth.head} is good on no replica, and {name} did not answer and may "
                f"have it: bring it back and repair again; if it is gone for good: penstock repair --lost {name}"
            )
        if (
            not lost
            or not self._certain
            or not self.done.whole
            or self._decided is None
            or self._decided.head != self._truth.head
        ):
            return
        if self._walked.newest is None or self._decided.meta is None:
            return
        stores = [patient.store for patient in self._patients.values()]
        head, old = self._truth.records[self._truth.head], self._walked.newest
        scratch, txn = self._scratch / "rewind", self._token()
        again = rewind(self._catalog, self._decided.meta, head, old, stores, scratch, txn, clock(), self._reach)
        self.done.lost.append(
            f"the manifest of version {head.version}: version {again} is what version {old.version} was, and the next "
            "ingest embeds what came after that"
        )

    def settle(self, writer: Writer) -> None:
        """Make a version without what is good nowhere, and give up the versions that need it."""
        head, floor = writer.head(), self._catalog.floor()
        self.done.unsaved = [name for name in self.done.unsaved if self._walked.needed[name][1] > floor]
        gone = frozenset(self.done.unsaved)
        self.done.version = head.version
        damaged = bool(gone & manifest.closure(head).keys())
        if gone and not (self._certain and self.done.whole):
            silent = ", ".join(self.done.silent)
            also = f", nor in a DR store, and {silent} did not answer" if silent else ""
            self._report(
                f"{len(gone)} blobs are good on no replica that answered{also}; nothing is given up while one is away"
            )
            return
        if damaged or next(audit.wrong_content(head, writer.replicas.readable), None) is not None:
            mend = Mend(gone)
            self.done.version = writer.advance(mend)
            self.done.lost += mend.lost
            self.done.documents = mend.documents
        broken = {version for name, (_, version) in self._walked.needed.items() if name in gone}
        broken |= self._walked.broken.keys()
        below = max((version for version in broken if version < self.done.version), default=0)
        if below > floor:
            self._give_up(writer, below)

    def _heal_manifests(self) -> None:
        """Those that could not be read, first: what they name is not known before."""
        broken = [self._truth.records[version].manifest for version in self._walked.broken]
        healed = [self._healed(ref) for ref in broken]  # all of them, not up to the first
        if any(healed):
            self._walked = verify.walk(self._truth, [patient.store for patient in self._patients.values()])

    def _healed(self, ref: BlobRef) -> bool:
        return heal_blob(ref, self._patients, self._scratch, self._rate, self._reach, self._detail, self._donors)

    def _give_up(self, writer: Writer, version: int) -> None:
        self._catalog.raise_floor(version, writer.meta.epoch_id)
        self._reach("repair.floor")
        marker = markers.Floor(framed.FORMAT, writer.meta.lineage, version)
        for patient in self._patients.values():
            with patient.trying():
                markers.put(patient.store, markers.floor_key(version), marker)
        self.done.given_up = version
        self._report(f"versions up to {version} are not kept any more: some of what they need is good on no replica")

    def _name(self, name: str, patient: Patient) -> None:
        home = self._homes.get(name)
        if home is None or not isinstance(patient.store, LocalStore):
            return
        if not rename_noreplace(patient.store.root, home.root):
            raise Unavailable(f"{home.root} appeared while it was made again at {patient.store.root}: run again")
        folder = os.open(home.root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._reach("repair.named")
        patient.replica = survey.look(home)

    def _disproved(self) -> bool:
        """Whether enough replicas have a log without damage: one of them has whatever was acknowledged."""
        members = survey.membership(self._decided, self._walked.newest)
        if members is None:
            return False
        whole = [p for p in self._patients.values() if p.well and not any(map(_is_record, p.replica.damaged))]
        return len(whole) >= len(members.replicas) - members.write_quorum + 1

    def _tell(self, name: str, patient: Patient) -> None:
        done = patient.done
        if done.fault:
            self.done.away[name] = done.fault
            self._report(f"replica {name} could not be finished: {done.fault}")
        elif done:
            whence = f", {done.donated} of them from a DR store" if done.donated else ""
            self._report(
                f"replica {name} is whole again: {done.blobs} blobs ({done.bytes} bytes){whence}, {done.records} "
                f"records and {done.markers} markers were put"
            )


def _is_record(key: str) -> bool:
    return key.startswith("log/")
