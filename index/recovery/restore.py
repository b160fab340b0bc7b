"""Restoring: a version out of DR stores becomes the first one of a new lineage, on every replica, byte for byte.

In this order, and each step may be repeated after a kill: what is random is decided and written down; the new
lineage's own small files are laid where a reader finds them, so that it can be searched at once; the blobs are
brought to the replicas; the old lineage is fenced; the replicas get their markers; the catalog is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.admission import vet
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery import founding
from penstock.index.recovery import progress as steps
from penstock.index.recovery.choose import Holdings, Whole, Wish
from penstock.index.recovery.fencing import FENCES
from penstock.index.recovery.filling import Filling, Lost
from penstock.index.recovery.overlay import Overlay, overlays
from penstock.index.recovery.progress import Progress
from penstock.index.stores.store import LocalStore, Store

CRASH_POINTS = (
    "restore.begun",
    "restore.laid",
    "restore.blob",
    "restore.filled",
    "restore.fenced",
    "restore.replica",
    "restore.decided",
    "restore.finished",
)
"""Where `reach` is called: a test kills the process at each."""
Report = Callable[[str], None]


class Restoring:
    """One home that is being restored. `progress` is what was decided; `fill` may decide for another version.

    `stores`: the replicas by id. `report_progress(what, done, total)` counts bytes. Raises `Corrupt`, `Unavailable`,
    `NoSpace`, `WrongIndex`.
    """

    def __init__(
        self,
        home: Path,
        holdings: Holdings,
        stores: Mapping[str, Store],
        progress: Progress,
        whole: Whole,
        *,
        token: Callable[[], str],
        report: Report,
        report_progress: Callable[[str, int, int], None],
        reach: Callable[[str], None],
    ) -> None:
        self.home, self.progress = home, progress
        self._holdings, self._stores, self._whole = holdings, dict(stores), whole
        self._token, self._report, self._reach = token, report, reach
        self._laid = LocalStore.create(home / steps.LAID, token=token)
        self._scratch = home / steps.LAID / "scratch"
        self._say = report_progress
        self._record: log.LogRecord | None = None
        self._filling = Filling(
            holdings.stores,
            list(stores.values()),
            self._scratch,
            report=report,
            progress=lambda done, total: report_progress("restoring bytes", done, total),
            reach=reach,
        )

    @property
    def fetched(self) -> tuple[int, int]:
        """(blobs, bytes) that came from the DR stores."""
        return self._filling.blobs, self._filling.bytes

    @property
    def laid(self) -> list[Overlay]:
        """The stores that a reader is to be given."""
        return overlays(self._laid, list(self._stores.values()), self._holdings.stores)

    def lay(self) -> list[Overlay]:
        """Make it searchable, in the stores that are returned."""
        self._record = founding.lay(self._laid, self.progress, self._whole, self._scratch)
        self._reach("restore.laid")
        return self.laid

    def fill(self, went_over: Callable[[], object]) -> None:
        """Bring every blob to every replica.

        A version that proves damaged is passed over for the next whole one, and `went_over` called when that one can be
        searched. Raises `Corrupt` instead, naming the next whole one, where exactly that version was asked for.
        """
        for store in self._stores.values():
            vet(store)
        while True:
            try:
                self._filling.fill(manifests.closure(self._whole.manifest).values())
            except Lost as lost:
                self._go_over(lost)
                went_over()
            else:
                self._reach("restore.filled")
                return

    def fence(self, now: float) -> None:
        """Shut the old lineage out, in every DR store at hand. Raises what the store does, saying how to do without."""
        for archive in self._holdings.archives:
            try:
                before = [key for key in archive.store.list(FENCES) if key != FENCES + self.progress.lineage]
                archive.fence(self.progress.was, self.progress.lineage, self.progress.version, now)
            except (Unavailable, OSError) as fault:
                steps.note(self.home, msgspec.structs.replace(self.progress, refused=archive.name))
                raise Unavailable(
                    f"{archive.name}: the old index cannot be shut out there ({fault}). Everything has been copied: "
                    "run again with credentials that may write there, or with --fork in addition, if the old index is "
                    "to go on or is gone for good"
                ) from fault
            if before:
                self._report(
                    f"{archive.name}: another index was restored from there before; see that only one of them is in use"
                )
        self._reach("restore.fenced")

    def found(self, catalog: Catalog, now: float) -> None:
        """Let the new lineage be written: markers, records, catalog."""
        said = self._record or founding.lay(self._laid, self.progress, self._whole, self._scratch)
        for member in self.progress.membership.replicas:
            founding.found(self._laid, said, self.progress, member, self._stores[member.id])
            self._reach("restore.replica")
        founding.decide(catalog, said, self.progress)
        self._reach("restore.decided")
        self.progress = msgspec.structs.replace(self.progress, ended=now, refused="")
        steps.finish(self.home, self.progress)
        self._reach("restore.finished")

    def _go_over(self, lost: Lost) -> None:
        bad = tuple(sorted({*self.progress.bad, lost.ref.name}))
        line = f"version {self.progress.version} is passed over: {lost}"
        if self.progress.exact:
            _note_stuck(self.home, self._holdings, self.progress, bad)
            self._holdings.pick(Wish(version=self.progress.version), bad)  # says which version is whole instead
        self._report(line)
        self._whole, passed = self._holdings.pick(Wish(), bad)
        self.progress = founding.instead(self.progress, self._whole, bad, (line, *passed), self._token)
        steps.note(self.home, self.progress)
        self._reach("restore.begun")
        self.lay()


def resumed(
    home: Path, holdings: Holdings, progress: Progress, token: Callable[[], str], report: Report
) -> tuple[Progress, Whole]:
    """What a restore decided for before it was cut short; if that is damaged or gone by now, and not exactly that one
    was asked for, the newest whole version instead. Raises `Corrupt`."""
    try:
        return progress, holdings.pick(Wish(version=progress.version), progress.bad)[0]
    except (Corrupt, WrongIndex) as fault:
        if progress.exact:
            _note_stuck(home, holdings, progress, progress.bad)
            raise
        report(str(fault))
        whole, passed = holdings.pick(Wish(), progress.bad)
        after = founding.instead(progress, whole, (), tuple(passed), token)
        steps.note(home, after)
        return after, whole


def _note_stuck(home: Path, holdings: Holdings, progress: Progress, bad: Collection[str]) -> None:
    """Write down that it cannot be finished from these DR stores, and what can be: another wish is free from now on."""
    try:
        other = holdings.pick(Wish(), bad)[0].record.version
    except (Corrupt, WrongIndex):
        other = 0
    steps.note(home, msgspec.structs.replace(progress, instead=other))


def sweep(store: Store) -> None:
    """Clear away what a kill left half-written in a replica that is being restored. Nobody else writes there."""
    if isinstance(store, LocalStore):
        for path in (store.root / "tmp").glob("*"):
            path.unlink(missing_ok=True)


def only_blobs(store: Store) -> bool:
    """Whether a store holds blobs and nothing else: what a restore leaves that was cut short before its end."""
    return all(key.startswith("blobs/") for key in store.list(""))
