"""One DR store, and the thread that ships to it.

It looks when it is told of a commit, and now and then besides: others commit to the same index. A fault is said once
and tried again after growing pauses; where only a person can help, the thread ends.
"""

from __future__ import annotations

import shutil
import statistics
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows import wiring
from penstock.flows.answers.exits import COMPLETE, outcome
from penstock.flows.answers.render import duration, size
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import archives, fences, remedies, seen
from penstock.flows.recovery.seen import Seen, Trouble
from penstock.flows.runs.accounting import Shipment
from penstock.index.errors import Fenced, WrongIndex

if TYPE_CHECKING:
    from penstock.index.catalog.locks import Locks
    from penstock.index.recovery.archive import Archive
    from penstock.index.recovery.lag import Lag
    from penstock.index.recovery.shipping import Shipped, Shipper
    from penstock.index.stores.store import Store

_BUSY = 0.5
_PAUSE, _LONGEST_PAUSE = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Site:
    """The index that is shipped, and who hears of it.

    `note` takes a line that a person should read, `shipped` one for each lot that was shipped; from any thread.
    """

    settings: Settings
    home: Home
    lineage: str
    note: Callable[[str], None]
    environ: Mapping[str, str]
    shipped: Callable[[str], None] = lambda _: None


class Lane:
    """Ships to one place from `start` until `end` or `cut`. `every`: seconds between two looks that nobody asks for.

    With `eager`, the first look goes through all that the newest version there needs; else a DR store that has the
    newest version is left alone. `anew`: one that was emptied, or whose folder is gone, is begun anew; else that is
    taken for a disk that is not mounted. `problem` is what is in the way, "" if nothing is, `code` its exit code.
    """

    def __init__(self, place: StorePlace, site: Site, every: float, *, eager: bool, anew: bool) -> None:
        self.name = place.url
        self._place, self._site, self._every, self._eager, self._anew = place, site, every, eager, anew
        self._digest = seen.digest(place.url)
        self._opened: _Opened | None = None
        self._pause, self._busy = _PAUSE, False
        self.problem, self.code = "", COMPLETE
        self._version = self._versions = self._blobs = self._bytes = 0
        self._lags: list[float] = []
        self._kicked, self._ending, self._cut = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"ship-{self._digest}", daemon=True)

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def kick(self) -> None:
        """There is a new version: look now."""
        self._kicked.set()

    def end(self) -> None:
        """Look once more, then stop."""
        self._ending.set()
        self._kicked.set()

    def cut(self) -> None:
        """Stop as soon as can be; nothing is lost by that."""
        self._cut.set()
        self.end()

    def going(self) -> bool:
        """Whether it ships, and nobody has given it up."""
        return self._thread.is_alive() and not self._cut.is_set()

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether the thread has stopped, after waiting for it so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def measured(self) -> Lag | None:
        """How far the DR store is; None as long as it could not be opened."""
        from penstock.index.recovery.lag import measure

        if (opened := self._opened) is None:
            return None
        return measure(opened.replicas, opened.archive, self._site.lineage, wiring.clock(), _unsaid)

    def figures(self, lag: Lag | None) -> Shipment:
        """What was shipped, and what `lag` says is left; None: it did not say."""
        known = lag if lag is not None and lag.reachable else None
        return Shipment(
            version=max(self._version, known.version if known else 0),
            versions_behind=known.versions if known else None,
            bytes_behind=known.bytes if known else None,
            seconds_behind=round(known.seconds, 3) if known else None,
            shipped_versions=self._versions,
            shipped_blobs=self._blobs,
            shipped_bytes=self._bytes,
            lag_p50=round(statistics.median(self._lags), 3) if self._lags else 0.0,
            lag_max=round(max(self._lags, default=0.0), 3),
            problem=self.problem or self._bare(lag.reason if lag else "gave no answer in time"),
        )

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while not self._cut.is_set():
            last, kicked = self._ending.is_set(), self._kicked.is_set()
            self._kicked.clear()
            try:
                through = self._look(self._eager or bool(self.problem) or (kicked and not last))
            except (Fenced, WrongIndex) as fault:
                self._failed(fault)
                return  # no pause helps
            except Exception as fault:  # whatever it is, what commits goes on
                self._failed(fault)
                if last:
                    return
                self._ending.wait(self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                continue
            if not through:
                if self._eager and not self._busy:
                    self._site.note(f"another process ships to {self.name}; waiting for it")
                self._busy = True
                self._cut.wait(_BUSY)
            elif last:
                return
            else:
                self._kicked.wait(self._every)

    def _look(self, certain: bool) -> bool:
        """Ship what there is to ship. False while another process ships to this place, and is not through.

        Where it is not `certain` that there is something to do, that is asked first.
        """
        opened = self._opened = self._opened or self._open()
        if not certain and self._up_to_date():
            self._well()
            return True
        held = opened.locks.take(f"ship.{self._digest}", wait=False)
        if held is None:
            return self._up_to_date()
        try:
            if self._eager or not self._versions:  # what one that was killed left on its way from bucket to bucket
                shutil.rmtree(opened.scratch, ignore_errors=True)
            self._check_not_emptied(opened.archive)
            self._count(opened.shipper.catch_up(self._cut.is_set))
        finally:
            held.release()
        if not self._cut.is_set():
            self._eager = self._anew = False
            self._well()
        return True

    def _check_not_emptied(self, archive: Archive) -> None:
        known = seen.last(self._site.home, self.name, self._site.lineage)
        if known is None or self._anew:
            return
        folder: Path | None = getattr(archive.store, "root", None)
        away = folder is not None and not folder.is_dir()
        if away or archive.lineage() is None:
            raise remedies.Emptied(
                f"{self.name}: is {'not there' if away else 'empty'}, and had version {known.version} (is the disk "
                "mounted?); if that is meant: penstock ship --anew"
            )

    def _open(self) -> _Opened:
        from penstock.index.recovery.shipping import Shipper

        site, scratch = self._site, self._site.home.spool / f"ship-{self._digest}"
        known = seen.last(site.home, self.name, site.lineage)
        making = archives.archive if known and not self._anew else archives.made
        archive = making(self._place, site.environ, site.note)
        replicas = list(wiring.stores(site.settings, site.home).values())
        shipper = Shipper(
            replicas,
            archive,
            lineage=site.lineage,
            scratch=scratch,
            clock=wiring.clock,
            report=site.note,
            fence=fences.own(site.home.path, site.lineage),
        )
        return _Opened(archive, replicas, shipper, scratch, wiring.locks(site.settings, site.home))

    def _up_to_date(self) -> bool:
        lag = self.measured()
        return lag is not None and lag.reachable and not lag.reason and not lag.versions

    def _count(self, shipped: Shipped) -> None:
        if shipped.head and shipped.head != self._version:
            self._version = shipped.head
            seen.remember(self._site.home, Seen(self.name, self._site.lineage, shipped.head, wiring.clock()))
        self._versions += shipped.versions
        self._blobs += shipped.blobs
        self._bytes += shipped.bytes
        self._lags += shipped.lags
        if shipped.lags:
            late = f"{size(shipped.bytes)}, {duration(max(shipped.lags))} after its commit"
            self._site.shipped(f"shipped to {self.name}: version {shipped.head} ({late})")

    def _failed(self, fault: Exception) -> None:
        fences.remember(self._site.home.path, fault)
        code, _, said = outcome(fault)
        said = self._bare(said)
        if said != self.problem and not self._cut.is_set():
            self._site.note(f"not shipped to {self.name}: {said}")
        self.problem, self.code = said, code
        if not self._cut.is_set():
            step = remedies.of_fault(fault)
            seen.complain(self._site.home, Trouble(self.name, self._site.lineage, said, step, wiring.clock()))

    def _well(self) -> None:
        if self.problem:
            self._site.note(f"shipping to {self.name} goes on")
        self.problem, self.code, self._pause = "", COMPLETE, _PAUSE
        seen.settle(self._site.home, self.name)

    def _bare(self, said: str) -> str:
        """Without the place, which stands beside it."""
        return said.removeprefix(f"{self.name}: ")


@dataclass(frozen=True, slots=True)
class _Opened:
    archive: Archive
    replicas: list[Store]
    shipper: Shipper
    scratch: Path
    locks: Locks


def _unsaid(_: str) -> None:
    return
