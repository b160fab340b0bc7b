"""Who takes part in a repair: each store is looked at, and admitted, left out, or refused and left untouched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from penstock.index.care import survey, verify
from penstock.index.care.healing import Patient
from penstock.index.care.survey import Replica
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log
from penstock.index.commits.log import LogRecord
from penstock.index.errors import IndexFault, Unavailable
from penstock.index.recovery import donor
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import Member


class Intake:
    """What was found. By replica id: `patients` are to be made whole; `refused` are none of this index, and why; `away`
    do not answer; `homes` is where an absent directory will be, once the one beside it is whole.

    Raises `WrongIndex` when the index, or its catalog, was written by a newer penstock; `Unavailable` when no replica
    is there to make another whole from.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[str, Store],
        token: Callable[[], str],
        report: Callable[[str], None],
        donors: Sequence[Store] = (),
    ) -> None:
        self._stores, self._token, self._report, self._donors = stores, token, report, tuple(donors)
        self.patients: dict[str, Patient] = {}
        self.refused: dict[str, str] = {}
        self.away: dict[str, str] = {}
        self.homes: dict[str, LocalStore] = {}
        self.decided = survey.ask(catalog)
        ours = self._of_this_index(self._found())
        donated = self._donated(list(ours.values()))
        self.truth, forks = survey.known(self.decided, list(ours.values()), donated)
        for name, replica in ours.items():
            self._refuse(name, forks.get(replica.store.name, ""))
        ours = {name: replica for name, replica in ours.items() if name not in self.refused}
        if not ours and not self.refused:
            self._nobody_there()
        ours |= self._beside() if self.truth.head else {}
        self.walked = verify.walk(self.truth, [*(replica.store for replica in ours.values()), *self._donors])
        members = self._members(ours)
        for name, replica in ours.items():
            self._admit(name, replica, members.get(name))

    def _donated(self, ours: Sequence[Replica]) -> list[LogRecord]:
        """The records that neither the replicas nor the catalog have, and a donor has."""
        truth, _ = survey.known(self.decided, ours)
        damaged = {key for replica in ours for name in replica.damaged if (key := log.parse(name))}
        lost = self.decided is None or (self.decided.meta is None and not self.decided.away)
        stores = [replica.store for replica in ours]
        records = truth.records.values()
        return donor.records(
            self._donors, truth.lineage, records, damaged, truth.floor, stores, self._report, newer=lost and bool(ours)
        )

    def _of_this_index(self, found: Mapping[str, Replica]) -> dict[str, Replica]:
        of = survey.lineage(self.decided, found.values())
        for name, replica in found.items():
            try:
                self._refuse(name, survey.stranger(replica, of))
            except Unavailable as error:
                self._leave_out(name, error)
        left = self.refused.keys() | self.away.keys()
        return {name: replica for name, replica in found.items() if name not in left}

    def _found(self) -> dict[str, Replica]:
        found = {}
        for name, store in self._stores.items():
            if isinstance(store, LocalStore) and not os.path.lexists(store.root):
                self.homes[name] = store
                continue
            try:
                found[name] = survey.look(store)
            except Unavailable as error:
                self._leave_out(name, error)
            except IndexFault as error:
                self._refuse(name, str(error))
        return found

    def _nobody_there(self) -> None:
        gone = sorted(self.away.keys() | (self.homes.keys() if self.truth.head else set()))
        if gone:
            which = f"replica {gone[0]}" if len(gone) == 1 else f"replicas {', '.join(gone)}"
            raise Unavailable(f"no replica can be reached ({which}): bring one back, then repair again")

    def _beside(self) -> dict[str, Replica]:
        """For each absent directory an empty one beside it, that gets its name when it is whole."""
        fresh = {}
        for name, home in self.homes.items():
            root = home.root.with_name(home.root.name + ".rebuilding")
            fresh[name] = survey.look(LocalStore.create(root, token=self._token))
        return fresh

    def _members(self, ours: Mapping[str, Replica]) -> dict[str, Member]:
        known = survey.membership(self.decided, self.walked.newest)
        if known is not None:
            return {member.id: member for member in known.replicas}
        return {it.marker.id: survey.member(it.marker) for it in ours.values() if it.marker is not None}

    def _admit(self, name: str, replica: Replica, member: Member | None) -> None:
        """Let it be healed, if it is that member, or was nobody yet."""
        if member is None and replica.marker is None:
            self._refuse(name, "it has no marker, and no replica that answered says whose it is (is the disk mounted?)")
        elif member is None:
            self._refuse(name, f"it is no member of this index: penstock replica add {name}")
        elif replica.marker is not None and survey.member(replica.marker) != member:
            other = replica.marker.id
            why = f"it is replica {other}" if other != name else "it is an incarnation of it that was replaced"
            self._refuse(name, f"{why}; configure the right place, or penstock replica replace {name}")
        else:
            self.patients[name] = Patient(replica, member)

    def _leave_out(self, name: str, why: IndexFault) -> None:
        self.away[name] = str(why)
        self._report(f"replica {name} is left out: {why}")

    def _refuse(self, name: str, why: str) -> None:
        if why:
            self.refused[name] = why
            self._report(f"replica {name} ({self._stores[name].name}) is refused and untouched: {why}")
