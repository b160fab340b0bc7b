"""What the replicas publish, taken together: the true history, and which record of it is acknowledged. Only files.

A record never changes, so that each is read once; a look at what is new is one listing of each replica. A replica
that does not answer is said and passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from penstock.index.commits import log, markers
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery.archive import history
from penstock.index.stores.store import Store
from penstock.index.types import Member, Membership

Key = tuple[int, int]
"""(version, epoch)."""


class PublishedLog:
    """The logs of `stores`. `lineage` None: that of whatever index they hold, provided that it is one.

    Not for several threads at once.
    """

    def __init__(self, stores: Sequence[Store], report: Callable[[str], None], lineage: str | None = None) -> None:
        self._stores, self._report, self._lineage = tuple(stores), report, lineage
        self._shown: dict[Store, frozenset[Key]] = {}
        self._history: list[Key] = []
        self._records: dict[tuple[Store, Key], log.LogRecord] = {}
        self._of: dict[Store, str] = {}
        self._said: dict[Store, str] = {}
        self._told: set[str] = set()

    def look(self) -> list[Key]:
        """The true (version, epoch) of each version that can be seen now, oldest first.

        Raises `Unavailable` when no replica answers, `WrongIndex` when those that do are another index's, or several's.
        """
        self._shown, faults = {}, dict[Store, str]()
        for store in self._stores:
            try:
                keys = frozenset(filter(None, map(log.parse, store.list(log.PREFIX))))
                if not keys or self._mine(store, keys):
                    self._shown[store] = keys
            except (Corrupt, Unavailable, OSError) as fault:
                faults[store] = str(fault)
        if not self._shown:
            if faults:
                raise Unavailable("; ".join(faults.values()))
            raise WrongIndex(f"{', '.join(store.name for store in self._stores)}: hold another index")
        for store, line in faults.items():
            if self._said.get(store) != line:
                self._report(f"{line}; going on with the other replicas")
        self._said = faults
        self._records = {at: kept for at, kept in self._records.items() if at[1] in self._shown.get(at[0], ())}
        self._history = history(frozenset().union(*self._shown.values()))
        return self._history

    def record(self, key: Key) -> log.LogRecord | None:
        """The record that most replicas have, None where none has it whole; `look` says which there are."""
        found = Counter(record for store in self._shown if (record := self._read(store, key)) is not None)
        if len(found) > 1:
            self._tell(f"the replicas do not agree on version {key[0]} of epoch {key[1]}; run penstock verify")
        return min(found, key=lambda record: (-found[record], record.manifest.name), default=None)

    def sources(self, record: log.LogRecord) -> list[Store]:
        """The replicas that answered, those that publish this record first: that is where its blobs are."""
        return sorted(self._shown, key=lambda store: self._read(store, _key(record)) != record)

    def there(self, key: Key) -> bool:
        """Whether any replica still shows this record."""
        return any(key in keys for keys in self._shown.values())

    def before(self, key: Key) -> Key | None:
        """The version just before in the history that was seen, None where it is not there: `key` is the first, or it
        expired, which it does only when `key` is acknowledged."""
        return next((other for other in self._history if other[0] == key[0] - 1), None)

    def acknowledged(self, record: log.LogRecord, members: Membership, before: Membership | None) -> bool:
        """Whether as many members publish this record, and have seen no later epoch, as its writer counts; where the
        membership changed, also of those who stayed. Then the version stands: a later epoch adopts it.

        `members` is that of the version itself, `before` that of the one before. A successor's record proves the same.
        """
        now = frozenset(members.replicas)
        counted = {at for store in self._shown if (at := self._counts(store, record)) is not None}
        enough = len(counted & now) >= members.write_quorum
        if before is None or before == members:
            return enough
        stayed = now.intersection(before.replicas)
        return enough and len(counted & stayed) >= min(before.write_quorum, len(stayed))

    def _counts(self, store: Store, record: log.LogRecord) -> Member | None:
        """Which member publishes it here, if it has seen no later epoch. The record was seen before the epoch is looked
        for: whoever begins one later finds the record."""
        if self._read(store, _key(record)) != record:
            return None
        try:
            marker, seen = markers.replica(store), markers.highest(store)
        except (Corrupt, Unavailable, OSError) as fault:
            self._tell(f"{fault}; going on with the other replicas")
            return None
        if marker is None or (seen is not None and markers.supersedes(seen, record.epoch, record.epoch_id)):
            return None
        return Member(marker.id, marker.incarnation)

    def _mine(self, store: Store, keys: frozenset[Key]) -> bool:
        if store not in self._of:
            self._of[store] = self._lineage_of(store, keys)
        if self._of[store] == (self._lineage or next(iter(self._of.values()))):
            return True
        if self._lineage is None:
            raise WrongIndex(f"{store.name}: these replicas belong to different indexes; name those of one only")
        self._tell(f"{store.name}: holds another index; going on with the other replicas")
        return False

    def _lineage_of(self, store: Store, keys: frozenset[Key]) -> str:
        for key in sorted(keys, key=lambda key: (key[1], key[0]), reverse=True):
            record = self._read(store, key)
            if record is not None:
                return record.lineage
        marker = markers.replica(store)
        if marker is None:
            raise Corrupt(f"{store.name}: no record of its log can be read, and it has no marker; run penstock repair")
        return marker.lineage

    def _read(self, store: Store, key: Key) -> log.LogRecord | None:
        """One replica's record, None where it has none that is whole."""
        if key not in self._shown.get(store, (key,)):
            return None
        if (store, key) not in self._records:
            try:
                self._records[store, key] = log.read(store, *key, store.name)
            except FileNotFoundError:
                return None  # it expired since it was listed
            except (Corrupt, Unavailable, OSError) as fault:
                self._tell(f"{fault}; going on with the other replicas")
                return None
        return self._records[store, key]

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._report(line)


def after(keys: Sequence[Key], at: Key | None) -> list[Key]:
    """What of a history comes after `at`: pure. Along a history neither the version nor the epoch ever falls.

    Where `at` was outranked (a later epoch has its number, or a lower one), this begins with what outranks it.
    """
    return [key for key in keys if at is None or (key[1], key[0]) > (at[1], at[0])]


def _key(record: log.LogRecord) -> Key:
    return record.version, record.epoch
