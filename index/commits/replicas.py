"""The replica set: putting blobs where enough replicas keep them, publishing versions in order, catching up.

Everything here is idempotent: put-if-absent of names that decide their content, and a put that finds the
name taken reads back and compares. A version is published on a replica only after its parent's record and its
whole closure lie there, verified. A replica that fails or is late is reported and left out; fewer than a
quorum is `Unavailable`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.index.blobs import blob, copying, framed
from penstock.index.blobs.blob import open_blob
from penstock.index.catalog.catalog import Ratified
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.crew import Crew, Outcomes
from penstock.index.errors import Corrupt, Fenced, IndexFault, NoSpace, Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest

Report = Callable[[str], None]
Reach = Callable[[str], None]
LeftOut = Callable[[str, str], None]
"""Told the id of a replica that takes no part for now, and why: once, until that changes. Must not raise."""
Decided = Callable[[int], Sequence[Ratified]]
"""The ratified versions after the given one, oldest first; those that expired are not among them."""


def check_quorum(replicas: int, write_quorum: int) -> None:
    """Raise `ValueError` unless any two write quorums share a replica."""
    if not (0 < write_quorum <= replicas and 2 * write_quorum > replicas):
        raise ValueError(
            f"write_quorum {write_quorum} of {replicas} replicas: it must be more than half of them and not more "
            "than all; set [index] write_quorum"
        )


@dataclass(frozen=True, slots=True)
class Quorum:
    """At least `needed` of the replicas `ids` must have a thing before it counts."""

    ids: frozenset[str]
    needed: int

    def met(self, done: frozenset[str]) -> bool:
        return len(self.ids & done) >= self.needed


class Replicas:
    """The stores of one index, by replica id.

    `epoch`: number and id of the catalog's present life. `quorums`: all must be met (there are two while the
    membership changes). `admit(id, store)` is called before the first piece of work for a replica and raises
    where it must take no part.
    `scratch`: a local folder for copies from stores without local files. `donors` are no replicas: they are read
    where no replica has a blob whole.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        quorums: Sequence[Quorum],
        lineage: str,
        epoch: tuple[int, str],
        *,
        crew: Crew,
        admit: Callable[[str, Store], None],
        scratch: Path,
        report: Report,
        reach: Reach,
        donors: Sequence[Store] = (),
        left_out: LeftOut = lambda replica, problem: None,
    ) -> None:
        self.stores, self._donors = dict(stores), tuple(donors)
        self.quorums = tuple(quorums)
        self.lineage = lineage
        self._epoch = epoch
        self.crew = crew
        self._admit, self._scratch, self._report, self._reach = admit, scratch, report, reach
        self._left_out = left_out
        self._admitted: set[str] = set()
        self._said: dict[str, str] = {}
        self._decoded: dict[str, Manifest] = {}
        self._decoding = threading.Lock()
        self._at: dict[str, Ratified] = {}

    def reform(self, stores: Mapping[str, Store], quorums: Sequence[Quorum], admitted: frozenset[str]) -> None:
        """Go on with these stores and quorums; those `admitted` were looked at by the caller."""
        moved = {name for name, store in stores.items() if self.stores.get(name, store) is not store}
        self._at = {name: at for name, at in self._at.items() if name not in moved or name in admitted}
        self._admitted = (self._admitted - moved) | admitted
        self.stores, self.quorums = dict(stores), tuple(quorums)

    @property
    def readable(self) -> list[Store]:
        """All stores, those that answered last time first, and the donors last."""
        replicas = [self.stores[name] for name in sorted(self.stores, key=lambda name: (name in self._said, name))]
        return [*replicas, *self._donors]

    def progress(self) -> dict[str, int]:
        """The version that each replica is known to publish, by id."""
        return {name: at.version for name, at in list(self._at.items())}

    def manifest(self, ref: BlobRef) -> Manifest:
        """The manifest in blob `ref`, from whichever store has it whole. Raises `Unavailable`, `Corrupt`."""
        with self._decoding:
            known = self._decoded.get(ref.name)
        if known is None:
            known = read_manifest(self.readable, ref, self._report)
            with self._decoding:
                while len(self._decoded) >= 4:
                    self._decoded.pop(next(iter(self._decoded)))
                self._decoded[ref.name] = known
        return known

    def admit(self) -> Outcomes:
        """Look at every replica; how that went, by id. Those still being looked at are not in the answer."""
        return self._each(lambda name, store: None, "replica.admitted")

    def require(self, what: str, outcomes: Outcomes) -> None:
        """Report what failed; raise `Fenced`, `NoSpace` or `Unavailable` unless enough replicas succeeded."""
        self._say(outcomes)
        done = frozenset(name for name, fault in outcomes.items() if fault is None)
        if self._enough(done):
            return
        faults = [fault for fault in outcomes.values() if fault is not None]
        short = self._shortage(what, done, faults)
        if any(isinstance(fault, Fenced) for fault in faults):
            raise Fenced(f"a newer epoch than {self._epoch[0]} has begun, open the index anew: {short}")
        raise (NoSpace if any(isinstance(fault, NoSpace) for fault in faults) else Unavailable)(short)

    def put_blobs(self, blobs: Sequence[tuple[BlobRef, Path]]) -> None:
        """Put each blob on every replica; return when enough have them all, durable and read back."""

        def put_all(name: str, store: Store) -> None:
            for ref, path in blobs:
                copying.put_blob(store, ref, path)

        self.require("take the blobs", self._each(put_all, "blobs.put.one"))

    def keep_blobs(self, refs: Sequence[BlobRef]) -> None:
        """See that enough replicas have these blobs; who lacks some gets them from the others."""

        def ensure_all(_: str, store: Store) -> None:
            for ref in refs:
                self._ensure(store, ref)

        self.require("keep the blobs", self._each(ensure_all, "blobs.put.one"))

    def publish(self, decided: Decided, upto: Ratified) -> None:
        """Bring every replica's log to `upto`. Returns when enough replicas have it and none of those has seen a
        higher epoch. Raises `Fenced` when that is because of the epoch, `Unavailable` when too few could be written.
        """

        def bring(name: str, store: Store) -> None:
            self.catch_up(name, store, decided, upto)
            expired = markers.floor(store)
            if expired >= upto.version:
                raise Fenced(f"on {store.name} the versions up to {expired} have expired: the catalog went back")
            seen = markers.highest(store)
            if seen is not None and markers.supersedes(seen, *self._epoch):
                raise Fenced(f"{store.name} has seen epoch {seen.epoch}, this writer is in {self._epoch[0]}")

        self.require(f"publish version {upto.version}", self._each(bring, "published.one"))

    def everywhere(self, what: str, work: Callable[[Store], None], point: str) -> None:
        """Do `work` for every replica; raises unless enough succeeded. `point` is reached after each."""
        self.require(what, self._each(lambda _, store: work(store), point))

    def published(self, version: Ratified) -> bool:
        """Whether this process has already seen exactly `version` published on enough replicas."""
        return self._enough(frozenset(name for name, at in list(self._at.items()) if at == version))

    def catch_up(self, name: str, store: Store, decided: Decided, upto: Ratified) -> None:
        """Publish on one replica what it lacks up to `upto`, in order, each with its closure.

        Raises `Corrupt` if what it has published is not what was decided: the catalog went back, or it lies.
        """
        at = self._known(name, store, upto) or common(store, decided, upto, self.lineage)
        if at is not None and at.version >= upto.version:
            self._at[name] = upto
        whole = set(manifests.closure(self.manifest(at.ref))) if at is not None else set[str]()
        for version in decided(at.version if at is not None else 0):
            if version.version > upto.version:
                break
            needed = {version.ref.name: version.ref, **manifests.closure(self.manifest(version.ref))}
            for ref in needed.values():
                if ref.name not in whole:
                    self._ensure(store, ref)
            whole = set(needed)
            publish_one(store, version, self.lineage)
            self._at[name] = version
        if self._at.get(name) != upto:
            raise Unavailable(f"the catalog does not know version {upto.version} any more: open the index anew")

    def _known(self, name: str, store: Store, upto: Ratified) -> Ratified | None:
        """What we published here last, if its record is still there: then its closure need not be looked at."""
        at = self._at.get(name)
        if at is None or (at.version >= upto.version and at != upto):
            return None
        return at if store.size(log.key(at.version, at.epoch)) is not None else None

    def _ensure(self, store: Store, ref: BlobRef) -> None:
        size = store.size(blob.key(ref))
        if size is None:
            others = [other for other in self.readable if other is not store]
            with copying.good_copy(ref, others, self._scratch / store.name.replace("/", "_"), self._report) as copy:
                copying.put_blob(store, ref, copy)
        elif size != ref.size:
            raise Corrupt(f"{store.name}: blob {ref.name} has {size} bytes, not {ref.size}; run `penstock repair`")

    def _each(self, work: Callable[[str, Store], None], point: str) -> Outcomes:
        def bound(name: str) -> Callable[[], None]:
            def run() -> None:
                if name not in self._admitted:
                    self._admit(name, self.stores[name])
                    self._admitted.add(name)
                work(name, self.stores[name])
                self._reach(point)

            return run

        return self.crew.each({name: bound(name) for name in self.stores}, self._enough)

    def _enough(self, done: frozenset[str]) -> bool:
        return all(quorum.met(done) for quorum in self.quorums)

    def _say(self, outcomes: Outcomes) -> None:
        """Report what changed: a replica that fails, or is late, is said once."""
        for name in self.stores:
            fault = outcomes.get(name)
            said = "" if name in outcomes and fault is None else str(fault or "is late; it goes on in the background")
            if said and self._said.get(name) != said:
                self._report(f"replica {name} takes no part for now: {said}")
                self._left_out(name, said)
            if said:
                self._said[name] = said
            else:
                self._said.pop(name, None)

    def _shortage(self, what: str, done: frozenset[str], faults: Sequence[IndexFault]) -> str:
        short = next(quorum for quorum in self.quorums if not quorum.met(done))
        late = sorted(self.stores.keys() - done) if not faults else []
        why = "; ".join(dict.fromkeys(str(fault) for fault in faults)) or f"no answer from {', '.join(late)}"
        return f"only {len(short.ids & done)} of {len(short.ids)} replicas could {what}, {short.needed} must: {why}"


def common(store: Store, decided: Decided, upto: Ratified, lineage: str) -> Ratified | None:
    """The newest version up to `upto` of which this replica holds exactly the record that was decided.

    Records of lower epochs at higher versions are passed over: a newer epoch decided otherwise, and at equal
    version it wins. Raises `Corrupt` for a record of the right name with other bytes.
    """
    there = set(filter(None, map(log.parse, store.list(log.PREFIX))))
    held = sorted({version for version, _ in there if version <= upto.version}, reverse=True)
    known: dict[int, Ratified] | None = None
    for version in held:
        if version == upto.version:
            row: Ratified | None = upto
        else:
            known = known if known is not None else {row.version: row for row in decided(0)}
            row = known.get(version)
        if row is not None and (row.version, row.epoch) in there:
            confirm(store, row, lineage)
            return row
    return None


def confirm(store: Store, version: Ratified, lineage: str) -> None:
    """Raise `Corrupt` unless this replica's record of `version` is what was decided."""
    key, data = log.key(version.version, version.epoch), log.encode(record(version, lineage))
    if store.get(key) != data:
        raise Corrupt(f"{store.name}: {key} is not what the catalog decided; run `penstock repair`")


def publish_one(store: Store, version: Ratified, lineage: str) -> None:
    """Put the record of a decided version; one that is there must be the same. Raises `Corrupt` if it is not."""
    key, data = log.key(version.version, version.epoch), log.encode(record(version, lineage))
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise Corrupt(f"{store.name}: {key} is not what the catalog decided; run `penstock repair`")


def read_manifest(stores: Sequence[Store], ref: BlobRef, report: Report) -> Manifest:
    """Decode the manifest in blob `ref` from the first good copy. Raises `Corrupt`, `Unavailable`, `WrongIndex`."""
    opened = open_blob(stores, ref, report=report)
    try:
        return manifests.decode(opened.read(0, opened.size), f"manifest {ref.name}")
    finally:
        opened.close()


def record(version: Ratified, lineage: str) -> log.LogRecord:
    """The log record of a decided version: the same bytes whoever publishes it."""
    return log.LogRecord(
        framed.FORMAT,
        lineage,
        version.version,
        version.epoch,
        version.epoch_id,
        version.txn,
        version.ref,
        version.committed_at,
    )


def ratified(record: log.LogRecord) -> Ratified:
    """The decision that a published record proves."""
    return Ratified(record.version, record.epoch, record.epoch_id, record.txn, record.manifest, record.committed_at)


def needed(replicas: Iterable[str], write_quorum: int) -> Quorum:
    """The ordinary quorum: `write_quorum` of these."""
    return Quorum(frozenset(replicas), write_quorum)
