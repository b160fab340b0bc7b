"""The replica set: putting blobs where at least W keep them, publishing versions in order, catching up.

Everything here is idempotent: put-if-absent of names that decide their content, and a put that finds the
name taken reads back and compares. A version is published on a replica only after its parent's record and its
whole closure lie there, verified. A replica that fails is reported and left out; fewer than W is `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from penstock.index import blob, framed, log, markers
from penstock.index import manifest as manifests
from penstock.index.catalog import Ratified
from penstock.index.errors import Corrupt, Fenced, IndexFault, NoSpace, Unavailable
from penstock.index.store import Store
from penstock.index.types import BlobRef, Manifest

Report = Callable[[str], None]
Reach = Callable[[str], None]


def check_quorum(replicas: int, write_quorum: int) -> None:
    """Raise `ValueError` unless any two write quorums share a replica."""
    if not (0 < write_quorum <= replicas and 2 * write_quorum > replicas):
        raise ValueError(
            f"write_quorum {write_quorum} of {replicas} replicas: it must be more than half of them and not more "
            "than all; set [index] write_quorum"
        )


class Replicas:
    """The stores of one index, by replica id. `lineage` and the epoch go into every record that is published."""

    def __init__(
        self, stores: Mapping[str, Store], write_quorum: int, lineage: str, report: Report, reach: Reach
    ) -> None:
        check_quorum(len(stores), write_quorum)
        self.stores = dict(stores)
        self.write_quorum = write_quorum
        self.lineage = lineage
        self._report = report
        self._reach = reach
        self._decoded: dict[str, Manifest] = {}
        self._at: dict[str, Ratified] = {}

    def manifest(self, ref: BlobRef) -> Manifest:
        """The manifest in blob `ref`, from whichever replica has it whole. Raises `Unavailable`, `Corrupt`."""
        if ref.name not in self._decoded:
            made = read_manifest(list(self.stores.values()), ref, self._report)
            while len(self._decoded) >= 4:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[ref.name] = made
        return self._decoded[ref.name]

    def put_blobs(self, blobs: Sequence[tuple[BlobRef, Path]]) -> None:
        """Put each blob on every replica; return when at least W have them all, durable and read back."""

        def put_all(store: Store) -> None:
            for ref, path in blobs:
                put_blob(store, ref, path)

        self._each("take the blobs", put_all, "blobs.put.one")

    def publish(self, decided: Callable[[int], Sequence[Ratified]], upto: Ratified) -> None:
        """Bring every replica's log to `upto`. `decided(v)` gives the ratified versions after v, oldest first.

        Returns when at least W replicas have it and none of those has seen a higher epoch. Raises `Fenced`
        when that is because of the epoch, `Unavailable` when too few could be written.
        """
        fenced: list[str] = []

        def bring(store: Store) -> None:
            self.catch_up(store, decided, upto)
            seen = markers.highest(store)
            if seen is not None and seen.epoch >= upto.epoch and seen.epoch_id != upto.epoch_id:
                fenced.append(store.name)
                raise Fenced(f"{store.name} has seen epoch {seen.epoch}, this writer is in {upto.epoch}")

        try:
            self._each(f"publish version {upto.version}", bring, "published.one")
        except Unavailable as error:
            if fenced:
                raise Fenced(
                    f"{', '.join(fenced)}: a newer epoch than {upto.epoch} has begun; open the index anew"
                ) from error
            raise

    def published(self, version: Ratified) -> bool:
        """Whether this process has already seen exactly `version` published on at least W replicas."""
        return sum(at == version for at in self._at.values()) >= self.write_quorum

    def catch_up(self, store: Store, decided: Callable[[int], Sequence[Ratified]], upto: Ratified) -> None:
        """Publish on one replica what it lacks up to `upto`, in order, each with its closure.

        Raises `Corrupt` if what it has published is not what was decided: the catalog went back, or it lies.
        """
        at = self._known(store, upto)
        start = at.version if at is not None else self._newest(store)
        if at is None and start:
            agreed = [upto] if start >= upto.version else list(decided(start - 1))
            self._confirm(store, agreed[0] if agreed else None)
        if start == upto.version:
            self._at[store.name] = upto
        whole = set(manifests.closure(self.manifest(at.ref))) if at is not None else set[str]()
        for version in decided(start):
            if version.version > upto.version:
                break
            needed = {version.ref.name: version.ref, **manifests.closure(self.manifest(version.ref))}
            for ref in needed.values():
                if ref.name not in whole:
                    self._ensure(store, ref)
            whole = set(needed)
            self._publish_one(store, version)
            self._at[store.name] = version

    def _known(self, store: Store, upto: Ratified) -> Ratified | None:
        """What we published here last, if its record is still there: then its closure need not be looked at."""
        at = self._at.get(store.name)
        if at is None or (at.version >= upto.version and at != upto):
            return None
        return at if store.size(log.key(at.version, at.epoch)) is not None else None

    def _confirm(self, store: Store, version: Ratified | None) -> None:
        """Raise `Corrupt` unless this replica's record of `version` is what was decided."""
        try:
            if version is not None:
                key, data = log.key(version.version, version.epoch), log.encode(record(version, self.lineage))
                if store.get(key) == data:
                    return
        except FileNotFoundError:
            pass
        raise Corrupt(f"{store.name}: its log is not what the catalog decided; run `penstock verify`")

    def _newest(self, store: Store) -> int:
        known = log.newest(store, store.name)
        return 0 if known is None else known.version

    def _publish_one(self, store: Store, version: Ratified) -> None:
        key, data = log.key(version.version, version.epoch), log.encode(record(version, self.lineage))
        if not store.put_if_absent(key, data) and store.get(key) != data:
            raise Corrupt(f"{store.name}: {key} is not what the catalog decided; run `penstock verify`")

    def _ensure(self, store: Store, ref: BlobRef) -> None:
        size = store.size(blob.key(ref))
        if size is None:
            others = [other for other in self.stores.values() if other is not store]
            store.put_if_absent(blob.key(ref), self._checked(ref, others))
            check_stored(store, ref)
        elif size != ref.size:
            raise Corrupt(f"{store.name}: blob {ref.name} has {size} bytes, not {ref.size}; run `penstock verify`")

    def _checked(self, ref: BlobRef, stores: Iterable[Store]) -> Path | bytes:
        """A copy of a blob whose every byte was checked, from the first store that has it whole."""
        wrong: IndexFault | None = None
        for store in stores:
            try:
                copy = store.local_path(blob.key(ref)) or store.get(blob.key(ref))
                blob.check(copy, ref)
                return copy
            except (Corrupt, Unavailable) as error:
                self._report(f"{store.name}: {error}")
                wrong = error
            except OSError as error:
                self._report(f"{store.name}: blob {ref.name} cannot be read: {error.strerror}")
        raise wrong or Unavailable(f"no replica at hand has blob {ref.name}; run `penstock verify`")

    def _each(self, what: str, work: Callable[[Store], None], point: str) -> None:
        failed: dict[str, IndexFault] = {}
        for store in self.stores.values():
            try:
                work(store)
                self._reach(point)
            except (Unavailable, Corrupt, Fenced) as error:
                failed[store.name] = error
                self._report(f"{store.name} could not {what}: {error}")
        done = len(self.stores) - len(failed)
        if done >= self.write_quorum:
            return
        full = any(isinstance(error, NoSpace) for error in failed.values())
        raise (NoSpace if full else Unavailable)(
            f"only {done} of {len(self.stores)} replicas could {what}, {self.write_quorum} must: "
            + "; ".join(str(error) for error in failed.values())
        )


def read_manifest(stores: Sequence[Store], ref: BlobRef, report: Report) -> Manifest:
    """Decode the manifest in blob `ref` from the first good copy. Raises `Corrupt`, `Unavailable`, `WrongIndex`."""
    opened = blob.open_blob(stores, ref, report=report)
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


def put_blob(store: Store, ref: BlobRef, source: Path) -> None:
    """Put one blob and read it back. Raises `Corrupt` if what lies there is not what its name says."""
    store.put_if_absent(blob.key(ref), source)
    check_stored(store, ref)


def check_stored(store: Store, ref: BlobRef) -> None:
    """Read a stored blob whole and compare its sha256 with its name. Raises `Corrupt`."""
    key = blob.key(ref)
    try:
        blob.check(store.local_path(key) or store.get(key), ref)
    except FileNotFoundError as error:
        raise Corrupt(f"{store.name}: blob {ref.name} is missing right after it was put") from error
