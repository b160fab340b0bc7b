"""One ingest from beginning to end, the same for the command line and for a deployment.

    open → plan → (nothing to do: say so) → pipeline → prove → account

A run that finds nothing to do loads no model and starts nothing.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from penstock.connectors.types import Gap, Item, Source
from penstock.embed.types import Encoder
from penstock.flows import home as homes
from penstock.flows import wiring
from penstock.flows.accounting import Accounting, IngestRequest
from penstock.flows.committing import Committer
from penstock.flows.pipeline import Adopted, Pipeline, Submit, count_reason, wanted_of
from penstock.flows.plan import SourcePlan, compare, defer_beyond
from penstock.flows.prepare import Feed
from penstock.flows.progress import Observer
from penstock.flows.proof import prove
from penstock.flows.settings import Settings, load
from penstock.flows.spool import leftovers
from penstock.flows.stop import LOADING, Stop, interrupted_by_sigterm, on_signals
from penstock.flows.targets import Target, resolve
from penstock.index.commit import Writer
from penstock.index.errors import NoSpace
from penstock.index.types import FORMAT, Manifest, Membership

Engine = Callable[[Callable[[Submit], None]], None]
"""Runs a pipeline, handing it the way to submit its stages."""


def ingest(request: IngestRequest, observer: Observer) -> Accounting:
    """Run one ingest; Prefect records it if a Prefect API is configured.

    Raises what a run that could not finish raises: `UsageError`, `SettingsError`, `StopSource`,
    `WrongIndex`, `Unavailable`, …; what was acknowledged before stays, and the spool is kept.
    """
    with interrupted_by_sigterm():
        run = Run(request, observer)
        finished = run.plan()
        if finished is not None:
            return finished
        if not wiring.prefect_answers(observer.note):
            return run.execute(on_threads)
        # Imported only here: prefect takes a second, and nobody needs it where no server listens.
        from penstock.flows.ingest import record

        return record(run)


def on_threads(pipeline: Callable[[Submit], None]) -> None:
    """The engine without Prefect: each stage on a thread of its own."""
    with ThreadPoolExecutor(max_workers=3, thread_name_prefix="stage") as pool:

        def submit(name: str, number: int, stage: Callable[[], Any]) -> Future[Any]:
            return pool.submit(stage)

        pipeline(submit)


class Run:
    """The state of one ingest. `plan` once, then `execute`; both may be left to `execute`."""

    def __init__(self, request: IngestRequest, observer: Observer, stop: Stop | None = None) -> None:
        self.request, self.observer = request, observer
        self.stop = stop or Stop()
        self.accounting = Accounting()
        self.settings: Settings = load(Path(request.config) if request.config else None)
        self._stack = ExitStack()
        self._started = wiring.clock()
        self._plans: list[SourcePlan] | None = None
        self._targets: list[Target] = []
        self._sources: dict[str, Source] = {}
        self._writer: Writer | None = None
        self._adopted: list[Adopted] = []

    def plan(self) -> Accounting | None:
        """List and compare. The finished account if there is nothing to do (or it was a dry run), else None."""
        try:
            self._plan()
            if self.request.dry_run:
                return self._finish_dry()
            if self._idle():
                return self._finish()
        except BaseException:
            self._stack.close()
            raise
        return None

    def execute(self, engine: Engine) -> Accounting:
        """Plan if that was not done, run the pipeline on `engine`, prove the result, give the account."""
        if self._plans is None:
            finished = self.plan()
            if finished is not None:
                return finished
        with self._stack, on_signals(self.stop, self.observer.note):
            self._pipeline(engine)
            return self._finish()

    def _plan(self) -> None:
        self.observer.stage("opening the index")
        self._identity = wiring.identity(self.settings)  # a wrong model is refused before anything is made
        home = (
            homes.create(Path(self.request.home)) if not self.request.dry_run else homes.Home(Path(self.request.home))
        )
        head, states = self._open(home)
        wiring.check_identity(head, self._identity)
        self._targets = resolve(
            self.request.targets,
            name=self.request.name,
            known=head.sources,
            configured=wiring.configured_sources(self.settings),
        )
        guard = wiring.deletion_guard(self.settings, self.request.confirm_deletions)
        self._plans = []
        for target in self._targets:
            name = target.source.name
            self.observer.stage(f"listing {name}")
            self._sources[name] = source = wiring.source(target)
            self._plans.append(
                compare(
                    name,
                    self._counted(wiring.listing(target, source)),
                    states(name),
                    complete=target.complete,
                    guard=guard,
                    parsers=wiring.parsers(),
                )
            )
        defer_beyond(self._plans, self.request.limit)
        self._adopt(home)
        self._account_for_plan(head)

    def _open(self, home: homes.Home) -> tuple[Manifest, Callable[[str], Iterator[Any]]]:
        if self.request.dry_run:
            reader = wiring.open_reader_if_any(self.settings, home, self.observer.note)
            if reader is None:
                return nothing_yet(), lambda name: iter(())
            self._stack.callback(reader.close)
            return reader.manifest, lambda name: reader.states(name)
        writer = wiring.open_writer(self.settings, home, self.observer.note)
        self._stack.callback(writer.close)
        self._writer = writer
        return writer.head(), lambda name: writer.states().scan(name)

    def _counted(self, listing: Iterator[Item | Gap]) -> Iterator[Item | Gap]:
        for number, entry in enumerate(listing, start=1):
            if number % 1000 == 0:
                self.observer.stage(f"listing: {number:,} found")
            yield entry

    def _adopt(self, home: homes.Home) -> None:
        """Take over what interrupted runs left in the spool, as far as this run still wants it."""
        if self.request.dry_run:
            return
        assert self._plans is not None
        by_name = {plan.source: plan for plan in self._plans}
        fingerprint = wiring.fingerprint(self._identity)
        for shard in leftovers(home.spool):
            plan = by_name.get(shard.marker.source)
            if plan is None:
                shard.lock.release()
                continue
            todo = {todo.item.uri: todo for todo in plan.todo}
            wanted = wanted_of(shard, todo) if shard.marker.fingerprint == fingerprint else frozenset()
            if not wanted:
                shard.discard()
                continue
            plan.adopted |= wanted
            plan.todo = [entry for entry in plan.todo if entry.item.uri not in wanted]
            self._adopted.append(Adopted(shard, wanted))

    def _account_for_plan(self, head: Manifest) -> None:
        account = self.accounting
        account.version = head.version
        for plan in self._plans or ():
            account.listed += plan.listed
            account.unchanged += plan.unchanged
            account.withheld += plan.withheld
            account.deferred += plan.deferred
            for reason, count in plan.still_rejected.items():
                account.rejected += count
                count_reason(account, "rejected", reason, count)
            if plan.withheld:
                account.messages.append(
                    f"{plan.source}: {plan.withheld} documents are no longer listed; that many at once is not "
                    f"believed. If they are really gone: the same command with --confirm-deletions {plan.withheld}"
                )
            for gap in plan.gaps:
                account.messages.append(
                    f"{gap.uri_prefix} could not be listed ({gap.reason}); what is known of it stays"
                )
                account.gaps += 1

    def _idle(self) -> bool:
        return not self._adopted and all(plan.idle for plan in self._plans or ())

    def _pipeline(self, engine: Engine) -> None:
        assert self._plans is not None and self._writer is not None
        work = sum(len(plan.todo) + len(plan.adopted) for plan in self._plans)
        size = sum(plan.bytes for plan in self._plans)
        self.observer.planned(work, size)
        self.observer.stage("loading the model")
        encoder = _InBackground(lambda: wiring.encoder(self.settings), self.stop) if work else None
        home = homes.Home(Path(self.request.home))
        pool = self._stack.enter_context(wiring.parser_pool(self.settings))
        preparer = wiring.preparer(
            [self._feed(plan) for plan in self._plans],
            parse=pool.parse,
            settings=self.settings,
            identity=self._identity,
            spool=home.spool,
            stopped=self.stop,
            note=self.observer.note,
        )
        pipeline = Pipeline(
            plans=self._plans,
            adopted=self._adopted,
            preparer=preparer,
            embedder=wiring.embedder(encoder or _no_encoder, self.stop, self.observer),
            committer=Committer(
                self._writer,
                base_version=self.accounting.version,
                identity=self._identity,
                sources={target.source.name: target.source for target in self._targets},
            ),
            encoder=encoder or _no_encoder,
            loaded=encoder.loaded if encoder else lambda: True,
            model=self.settings.embed.model,
            accounting=self.accounting,
            observer=self.observer,
            clock=wiring.clock,
            stopped=self.stop,
            abort=self.stop.request,
        )
        accounted = self._accounted()
        try:
            engine(pipeline.run)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{home.spool}: the disk is full; nothing is damaged: make room and run again") from error
            raise
        finally:
            pipeline.release()
        done = self._accounted() - accounted
        self.accounting.deferred += work - done
        self._why_deferred(work - done, preparer.stopped_sources)
        self.observer.stage("checking the account against the index")
        prove(pipeline.landed, self._writer.states())

    def _accounted(self) -> int:
        return self.accounting.indexed + self.accounting.rejected + self.accounting.failed + self.accounting.unchanged

    def _why_deferred(self, count: int, stopped: dict[str, str]) -> None:
        for name, reason in stopped.items():
            self.accounting.messages.append(f"{name} stopped: {reason}")
        if count and self.stop():
            self.accounting.messages.append(
                f"stopped on request with {count} documents to go; the same command goes on from here"
            )
        elif count and not stopped:
            self.accounting.messages.append(
                f"{count} documents were changed by another run; the same command looks again"
            )

    def _feed(self, plan: SourcePlan) -> Feed:
        configured = self.settings.sources.get(plan.source)
        return Feed(
            self._sources[plan.source],
            plan.todo,
            dict(configured.metadata) if configured else {},
            tuple(configured.labels) if configured else (),
        )

    def _finish(self) -> Accounting:
        self._stack.close()
        account = self.accounting
        account.seconds = round(wiring.clock() - self._started, 3)
        account.stage_seconds = {stage: round(spent, 3) for stage, spent in account.stage_seconds.items()}
        account.check()
        return account

    def _finish_dry(self) -> Accounting:
        """What would be done is counted as deferred: nothing of it was."""
        account = self.accounting
        for plan in self._plans or ():
            account.deferred += len(plan.todo)
            account.would_delete += len(plan.gone)
            account.would_fetch_bytes += plan.bytes
        return self._finish()


class _InBackground:
    """Loads the encoder on a thread, beside whatever else has to start; blocks where it is needed first."""

    def __init__(self, load_encoder: Callable[[], Encoder], stopped: Callable[[], bool]) -> None:
        self._future: Future[Encoder] = Future()
        self._stopped = stopped
        thread = threading.Thread(target=self._load, args=(load_encoder,), name=LOADING)
        thread.start()

    def _load(self, load_encoder: Callable[[], Encoder]) -> None:
        try:
            self._future.set_result(load_encoder())
        except BaseException as error:
            self._future.set_exception(error)

    def loaded(self) -> bool:
        """Wait for it. False if a stop was requested first: nobody waits seconds for what is not needed then."""
        while not wait((self._future,), timeout=0.1).done:
            if self._stopped():
                return False
        return True

    def __call__(self) -> Encoder:
        return self._future.result()


def nothing_yet() -> Manifest:
    """The manifest of an index that was never made."""
    return Manifest(FORMAT, "", 0, 0, "", "", 0.0, Membership((), 1))


def _no_encoder() -> Encoder:
    raise RuntimeError("nothing was planned to be embedded, yet a vector was asked for")
