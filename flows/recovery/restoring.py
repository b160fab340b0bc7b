"""Restore as commands, drills and runbooks have it: from DR stores into a home, searchable long before it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows import wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.config import home as homes
from penstock.flows.config import layout as layouts
from penstock.flows.config.home import Home
from penstock.flows.config.layout import Layout
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import clearing, fences, unfinished
from penstock.flows.recovery.archives import archive
from penstock.flows.recovery.showing import Showing
from penstock.flows.runs import freshness
from penstock.index.catalog.catalog import Catalog
from penstock.index.catalog.locks import FileLocks
from penstock.index.errors import Conflict, Corrupt, IndexFault
from penstock.index.recovery import fencing, founding
from penstock.index.recovery import progress as steps
from penstock.index.recovery import restore as restores
from penstock.index.recovery.choose import Holdings, Whole, Wish
from penstock.index.recovery.progress import Origin, Progress

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store

Report = Callable[[str], None]
Reporting = Callable[[str, int, int], None]


class Request(msgspec.Struct, frozen=True):
    """What to restore: the newest whole version, unless a snapshot, a version or a time is named.

    `stores`: the DR stores, in the order in which they are asked; none: those of the configuration. `fork`: the old
    index goes on, and is not shut out. `over`: what is in the home may be moved aside.
    """

    stores: tuple[StorePlace, ...] = ()
    snapshot: str = ""
    version: int | None = None
    at: float | None = None
    fork: bool = False
    over: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(self.snapshot, self.version, self.at)


class Restored(msgspec.Struct, frozen=True):
    """`version` of index `was`, committed at `committed_at`, is version `now` of index `lineage`.

    `blobs` and `bytes` are what this call fetched. Seconds count from its beginning. `passed_over`: newer versions
    that were damaged, a line each. `fork`: the old index was to go on. `fenced`: whether a DR store shuts it out, which
    it does with `fork` too where an earlier try without it had come so far.
    """

    version: int
    committed_at: float
    now: int
    lineage: str
    was: str
    blobs: int
    bytes: int
    seconds_to_search: float
    seconds_to_whole: float
    passed_over: tuple[str, ...]
    fork: bool = False
    fenced: bool = False


def restore(
    settings: Settings,
    home: Path,
    request: Request,
    report: Report,
    progress: Reporting,
    searchable: Callable[[Reader], None] = lambda _: None,
    *,
    reach: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Restore into `home`; the same request goes on with one that was cut short.

    `searchable` is called once, with a reader that is open until this returns. Raises `UsageError` (the home, the
    wish), `Corrupt` (what was asked for is damaged, or everything), `Unavailable`, `NoSpace`, `WrongIndex`, `Conflict`
    (somebody else restores here).
    """
    return _Restore(settings, Home(home), request, report, progress, reach).run(searchable)


class _Restore:
    """One call of `restore`."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        request: Request,
        report: Report,
        progress: Reporting,
        reach: Callable[[str], None],
    ) -> None:
        self._settings, self._home, self._request = settings, home, request
        self._report, self._progress, self._reach = report, progress, reach
        self._began = time.monotonic()
        homes.refuse_file(home.path)
        if not request.over:
            homes.refuse_occupied(home.path)
        self._layout: Layout = layouts.layout(settings, home.path, os.environ)
        self._places = request.stores or tuple(settings.snapshots.places)
        if not self._places:
            raise UsageError("from where? give --from STORE, or set [snapshots] store")

    def run(self, searchable: Callable[[Reader], None]) -> Restored:
        holdings = Holdings.of([archive(each, os.environ, self._report) for each in self._places], self._report)
        half = self._half()
        if half is None and (done := self._done(holdings)):
            self._sweep()
            return done
        # Chosen before anything is touched: a wish that cannot be met changes nothing.
        chosen = None if half is not None and self._same(half, holdings) else holdings.pick(self._request.wish)
        homes.create(self._home.path)
        freshness.forget(self._home.path)
        with self._alone(half):
            begun = self._begun(holdings, half, chosen)
            return self._carried_out(holdings, *begun, searchable)

    def _half(self) -> Progress | None:
        """The restore that is going on here. Raises `Corrupt` where its file is damaged, and --over was not given."""
        try:
            return steps.unfinished(self._home.path)
        except Corrupt as damage:
            path = self._home.path / steps.UNFINISHED
            if not self._request.over:
                raise Corrupt(f"{path} is damaged: begin anew with --over") from damage
            path.replace(path.with_name(f"{path.name}.damaged"))
            return None

    def _done(self, holdings: Holdings) -> Restored | None:
        """What an equal command finished a moment ago, if nothing was written since: it may have died saying so."""
        if self._request.over:
            return None
        with contextlib.suppress(Corrupt):
            done = steps.finished(self._home.path)
            if done is not None and self._same(done, holdings):
                found = self._as_it_is(done, holdings)
                if found is not None and self._request.fork and not done.fork:
                    raise UsageError(
                        f"version {done.version} was restored into {self._home.path} already, without --fork: the old "
                        "index is shut out; for a fork, which shuts out nobody, give another --home"
                    )
                return found
        return None

    def _as_it_is(self, done: Progress, holdings: Holdings) -> Restored | None:
        if not done.exact and holdings.pick(Wish(), done.bad)[0].record.version != done.version:
            return None
        with contextlib.suppress(IndexFault), wiring.open_reader(self._settings, self._home, self._report) as reader:
            if (reader.manifest.lineage, reader.version) == (done.lineage, done.now):
                return self._restored(holdings, done, (0, 0), 0.0)
        return None

    def _same(self, half: Progress, holdings: Holdings) -> bool:
        """Whether this is the command that began it. With --fork in addition it may end without a fence."""
        wish = self._request.wish
        if half.was != holdings.lineage or half.exact != wish.exact or (half.fork and not self._request.fork):
            return False
        return not wish.exact or holdings.resolve(wish) == half.version

    @contextlib.contextmanager
    def _alone(self, half: Progress | None) -> Iterator[None]:
        held = FileLocks(self._home.path).take("restore", wait=False)
        if held is None:
            raise Conflict(f"somebody restores into {self._home.path} already; wait for it")
        try:
            if steps.unfinished(self._home.path) != half:
                raise Conflict(f"somebody restored into {self._home.path} meanwhile; look at it with `penstock status`")
            yield
        finally:
            held.release()

    def _begun(
        self, holdings: Holdings, half: Progress | None, chosen: tuple[Whole, list[str]] | None
    ) -> tuple[Progress, Whole, dict[str, Store]]:
        """What was decided, what is restored, and the replicas, which hold nothing but its blobs."""
        home = self._home.path
        if half is None:
            clearing.clear(self._settings, self._home, self._layout, self._request.over, self._report)
        elif chosen is None:
            return self._resumed(holdings, half)
        else:
            self._refuse_another(half, holdings)
            clearing.clear_markers(self._layout, self._report)
        self._sweep()
        stores = self._stores()
        whole, passed = chosen or holdings.pick(self._request.wish)
        for line in passed:
            self._report(line)
        begun = founding.begin(
            whole,
            list(stores),
            self._layout.write_quorum,
            origins=self._origins,
            exact=self._request.wish.exact,
            fork=self._request.fork,
            passed_over=tuple(passed),
            token=wiring.token,
            clock=wiring.clock,
        )
        steps.note(home, begun)
        self._reach("restore.begun")
        return begun, whole, stores

    def _resumed(self, holdings: Holdings, half: Progress) -> tuple[Progress, Whole, dict[str, Store]]:
        ids, quorum = sorted(member.id for member in half.membership.replicas), half.membership.write_quorum
        if (ids, quorum) != (sorted(self._layout.replicas), self._layout.write_quorum):
            raise UsageError(
                f"this restore began with replicas {', '.join(ids)} and write_quorum {quorum}, the configuration has "
                f"{', '.join(sorted(self._layout.replicas))} and {self._layout.write_quorum}: put [index] back as it "
                "was (or give its --config), or begin anew with --over"
            )
        clearing.refuse_what_cannot_move(self._layout, half.lineage)
        half = msgspec.structs.replace(half, origins=self._origins, fork=self._request.fork, instead=None)
        steps.note(self._home.path, half)
        stores = self._stores()
        for store in stores.values():
            restores.sweep(store)
        half, whole = restores.resumed(self._home.path, holdings, half, wiring.token, self._report)
        return half, whole, stores

    def _refuse_another(self, half: Progress, holdings: Holdings) -> None:
        gone = half.was == holdings.lineage and half.version not in dict(holdings.versions())
        # What can never be finished keeps nobody from another wish.
        if not (self._request.over or half.instead is not None or (half.exact and gone)):
            raise UsageError(
                f"{self._home.path} is being restored from version {half.version} already: finish that with "
                f"`{unfinished.command(half, self._home.path)}`, or give --over to begin anew with this"
            )
        clearing.refuse_what_cannot_move(self._layout, half.lineage)

    def _stores(self) -> dict[str, Store]:
        return {name: wiring.made_store(where) for name, where in self._layout.replicas.items()}

    @property
    def _origins(self) -> tuple[Origin, ...]:
        return tuple(Origin(each.url, each.variables) for each in self._places)

    def _carried_out(
        self,
        holdings: Holdings,
        begun: Progress,
        whole: Whole,
        stores: dict[str, Store],
        searchable: Callable[[Reader], None],
    ) -> Restored:
        doing = restores.Restoring(
            self._home.path,
            holdings,
            stores,
            begun,
            whole,
            token=wiring.token,
            report=self._report,
            report_progress=self._progress,
            reach=self._reach,
        )
        with Showing(self._settings, self._home, begun.lineage, self._report, searchable, self._began) as showing:
            showing.show(doing.lay())
            doing.fill(lambda: showing.show(doing.laid))
            if not begun.fork:
                doing.fence(wiring.clock())
            doing.found(Catalog(self._layout.catalog), wiring.clock())
            showing.show(doing.laid)
        self._sweep()
        fences.forget_unreadable(self._home.path)
        return self._restored(holdings, doing.progress, doing.fetched, showing.searched)

    def _sweep(self) -> None:
        """What was laid is on every replica, or of no use."""
        shutil.rmtree(self._home.path / steps.LAID, ignore_errors=True)

    def _restored(self, holdings: Holdings, done: Progress, fetched: tuple[int, int], searched: float) -> Restored:
        return Restored(
            version=done.version,
            committed_at=done.committed_at,
            now=done.now,
            lineage=done.lineage,
            was=done.was,
            blobs=fetched[0],
            bytes=fetched[1],
            seconds_to_search=searched,
            seconds_to_whole=time.monotonic() - self._began,
            passed_over=done.passed_over,
            fork=done.fork,
            fenced=any(fencing.stands(one.store, done.lineage) for one in holdings.archives),
        )


def places(settings: Settings, urls: tuple[str, ...], variables: str | None) -> tuple[StorePlace, ...]:
    """The DR stores at these absolute paths and URLs, else those of the configuration. One that is configured has its
    variables, unless others are given."""
    known = {each.url: each.variables for each in settings.snapshots.places}
    return tuple(StorePlace(url, variables or known.get(url)) for url in urls or known)
