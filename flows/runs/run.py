"""One ingest from beginning to end, the same for the command line and for a deployment.

    plan → (nothing to do: say so) → pipeline → prove → account

A run that finds nothing to do loads no model and starts nothing.
"""

from __future__ import annotations

import errno
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.embed.cache import key_of
from penstock.flows import lending_wiring, model_wiring, wiring
from penstock.flows.answers.exits import outcome
from penstock.flows.answers.progress import Observer
from penstock.flows.config import home as homes
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.plans import costs, cursors
from penstock.flows.plans.plan import SourcePlan
from penstock.flows.plans.planning import Planned, Planner
from penstock.flows.recovery import shipping
from penstock.flows.recovery.shipping import Shipping
from penstock.flows.runs import arenas, endpoint, freshness, moved, outcomes, priority
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.by_source import BySource
from penstock.flows.runs.committing import Committer
from penstock.flows.runs.events import (
    Accounted,
    Bus,
    CommitLanded,
    Event,
    Listener,
    RequestsRepeated,
    RunEnded,
    RunStarted,
    ShardPrepared,
)
from penstock.flows.runs.gate import Gate
from penstock.flows.runs.heard import Heard
from penstock.flows.runs.loading import Devices, Model
from penstock.flows.runs.overheard import Overheard
from penstock.flows.runs.pipeline import Pipeline, Submit
from penstock.flows.runs.prepare import Allowance, Preparer
from penstock.flows.runs.proof import prove
from penstock.flows.runs.shaping import Feed
from penstock.flows.runs.stop import Stop, on_signals
from penstock.flows.runs.story import Story
from penstock.flows.sources.redactor import REDACTOR
from penstock.flows.sources.source_wiring import Sources
from penstock.index.errors import NoSpace
from penstock.index.types import DocState

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader

Engine = Callable[[Callable[[Submit], None]], None]
"""Runs a pipeline, handing it the way to submit its stages."""


class Run:
    """The state of one ingest. `plan` once, then `execute`; both may be left to `execute`."""

    def __init__(
        self,
        request: IngestRequest,
        observer: Observer,
        stop: Stop | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        """`listeners` are told what happens, beside those of the configuration."""
        self.request = request
        heard = Overheard(observer)
        self.observer: Observer = heard
        self.stop = stop or Stop()
        self.accounting = Accounting()
        self._settings = load(Path(request.config) if request.config else None)
        self._stack = ExitStack()
        self._priority = priority.resolved(request.priority, request.targets, self._settings.sources)
        self._started = wiring.clock()
        self._name = wiring.run_name(self._started)
        self._by_source, self.heard = BySource(), Heard()
        self._lags = freshness.Lags(lambda: freshness.read(Path(request.home)), wiring.clock)
        self.story = Story()
        mine = (self._by_source, self._lags, self.story, self.heard)
        others = wiring.listeners(self._settings, Path(request.home))
        self._bus = heard.tell = Bus([*others, *listeners, *mine], heard.note)
        self.closing: list[Callable[[], None]] = []
        """What is still to be told when the run is over, and whoever is to be told is there."""
        self._landed: Mapping[str, DocState] = {}
        self._repeated: dict[str, dict[str, int]] = {}
        self._sources: Sources | None = None
        self._planned: Planned | None = None
        self._shipping: Shipping | None = None

    def plan(self) -> Accounting | None:
        """List and compare. The finished account if there is nothing to do (or it was a dry run), else None."""
        with self._told_of_failure():
            return self._plan()

    def _plan(self) -> Accounting | None:
        self._bus(self._beginning())
        self.observer.stage("opening the index")
        arenas.shared()
        identity = model_wiring.identity(self._settings)  # a wrong model is refused before a home is made
        path = Path(self.request.home)
        home = Home(path) if self.request.dry_run else homes.create(path)
        try:
            stack, observer = self._stack, self.observer
            self._sources = Sources(
                self._settings, home, stopped=self.stop, note=observer.note, stack=stack, tell=self._bus
            )
            planner = Planner(
                self.request,
                self._settings,
                identity,
                home,
                observer,
                stack,
                self._sources,
                tell=self._bus,
                urgent=self._priority == priority.URGENT,
            )
            planned = planner.plan()
            outcomes.settle(planned, self.accounting)
            for plan in planned.plans:
                self._bus(outcomes.listed(plan))
            self._planned = planned
            if planned.writer is not None:
                head, note = planned.writer.head(), self.observer.note
                self._shipping = shipping.beside(self._settings, home, head.lineage, note)
            if self.request.retry is not None and not self.accounting.listed and not self.accounting.held:
                self.accounting.messages.append("no failed document matches; `penstock failures` lists them all")
            if self.request.dry_run:
                return self._finish_dry(planned)
            if not planned.idle:
                return None
            self._move_cursors(planned, self._committer(planned), {})
            return self._finish()
        except BaseException:
            with self._shipping or nullcontext():
                self._stack.close()
            raise

    def execute(self, engine: Engine) -> Accounting:
        """Plan if that was not done, run the pipeline on `engine`, prove the result, give the account."""
        finished = self.plan() if self._planned is None else None
        if finished is not None:
            return finished
        assert self._planned is not None
        with (
            self._told_of_failure(),
            self._shipping or nullcontext(),
            self._stack,
            on_signals(self.stop, self.observer.note),
        ):
            self._pipeline(self._planned, Home(Path(self.request.home)), engine)
            return self._finish()

    @contextmanager
    def _told_of_failure(self) -> Iterator[None]:
        """Whatever ends the run early, its listeners hear of the end."""
        try:
            yield
        except BaseException as error:
            self._ended("failed", REDACTOR.clean(outcome(error)[2]))
            raise

    def _beginning(self) -> RunStarted:
        request = self.request
        return RunStarted(
            self._name,
            request.home,
            self._priority,
            self._started,
            targets=request.targets,
            dry_run=request.dry_run,
            budget_tokens=request.budget_tokens,
            budget_minutes=request.budget_minutes,
        )

    def _ended(self, state: str, problem: str = "") -> None:
        self._bus(RunEnded(self._name, state, round(wiring.clock() - self._started, 3), problem))

    def _pipeline(self, planned: Planned, home: Home, engine: Engine) -> None:
        assert planned.writer is not None
        self.observer.planned(planned.documents, sum(plan.bytes for plan in planned.plans))
        self.observer.stage("loading the model")
        gate = model_wiring.gate(self._settings, planned.writer.head(), self.observer.note)
        models: Mapping[str, Model] = {}
        if planned.documents:
            models = lending_wiring.models(self._settings, home, self._priority, self.stop, self.observer.note)
        endpoint.stops_with(self.stop, models.values())
        devices = Devices(gate.guarding(models), self.stop, self.observer.note)
        self._stack.callback(devices.close)
        lender = self._stack.enter_context(
            lending_wiring.lender(self._settings, home, self._priority, models, devices, self._bus, self.observer.note)
        )
        cache = model_wiring.vector_cache(self._settings, home, self.observer.note)
        self._stack.callback(cache.close)
        donors = moved.Moved(planned, key_of(model_wiring.model_identity(self._settings)), self._reader(home))
        preparer, committer = self._preparer(planned, home), self._committer(planned, gate)
        pipeline = Pipeline(
            plans=planned.plans,
            adopted=planned.adopted,
            preparer=preparer,
            embedder=wiring.embedder(
                devices, self.stop, self.observer, cache, donors, priority=self._priority, aside=lender, tell=self._bus
            ),
            committer=committer,
            devices=devices.count,
            model=self._settings.embed.model,
            accounting=self.accounting,
            observer=self.observer,
            clock=wiring.clock,
            stopped=self.stop,
            abort=self.stop.request,
            tell=self._tell,
        )
        self._landed = ChainMap(pipeline.landed, pipeline.settled)
        # The thread that feeds the device needs the interpreter again and again, and only for microseconds; by default
        # whoever prepares the next shard may keep it for 5 ms each time.
        sys.setswitchinterval(0.0005)
        try:
            engine(pipeline.run)
            self._move_cursors(planned, committer, {**pipeline.settled, **pipeline.landed})
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{home.spool}: the disk is full; nothing is damaged: make room and run again") from error
            raise
        finally:
            pipeline.release()
        self._close_account(planned, pipeline, preparer)
        endpoint.settle(self._settings, models.values(), self.accounting)
        self.accounting.messages += gate.told()
        self.accounting.quality = gate.figures()
        costs.remember(home, self._settings, planned, self.accounting, preparer.prepared_tokens, self.observer.note)
        self.observer.stage("checking the account against the index")
        writer = planned.writer
        prove(pipeline.landed, writer.states(), lambda: writer.states(planned.version))

    def _tell(self, event: Event) -> None:
        """As the bus does; and, once for each shard, what had to be asked again meanwhile."""
        self._bus(event)
        if isinstance(event, ShardPrepared | CommitLanded):
            self._tell_repeated()

    def _tell_repeated(self) -> None:
        for name, reasons in (self._sources.retries() if self._sources else {}).items():
            if reasons and self._repeated.get(name) != reasons:
                self._repeated[name] = reasons
                self._bus(RequestsRepeated(name, dict(reasons)))

    def _reader(self, home: Home) -> Callable[[], AbstractContextManager[Reader]]:
        return lambda: wiring.open_reader(self._settings, home, self.observer.note)

    def _committer(self, planned: Planned, gate: Gate | None = None) -> Committer:
        assert planned.writer is not None
        return Committer(
            planned.writer,
            base_version=planned.version,
            identity=planned.identity,
            sources={target.source.name: target.source for target in planned.targets},
            gate=gate,
            beside=planned.beside,
            acknowledged=self._shipping.kick if self._shipping else lambda: None,
        )

    def _move_cursors(self, planned: Planned, committer: Committer, landed: Mapping[str, DocState]) -> None:
        ours = [plan for plan in planned.plans if plan.source not in planned.beside]
        found = cursors.moved(ours, planned.targets, landed.values(), wiring.clock())
        if found:
            self.accounting.version = max(self.accounting.version, committer.commit_sources(found).version)

    def _close_account(self, planned: Planned, pipeline: Pipeline, preparer: Preparer) -> None:
        left = planned.documents - pipeline.done
        account = self.accounting
        account.deferred += left
        account.fetched = preparer.fetched
        account.pages, account.page_seconds = preparer.pages, round(preparer.page_seconds, 3)
        if needed := account.reused_tokens + account.embedded_tokens:
            account.reused_share = round(account.reused_tokens / needed, 4)
        account.messages += outcomes.why_left(left, preparer, pipeline.unavailable, self.stop())
        due = [state.next_try for state in pipeline.landed.values() if state.status == "failed" and state.next_try]
        account.next_try = min([*due, *([account.next_try] if account.next_try else [])], default=0.0)

    def _preparer(self, planned: Planned, home: Home) -> Preparer:
        pool = self._stack.enter_context(wiring.parser_pool(self._settings))
        minutes = self.request.budget_minutes
        return wiring.preparer(
            [self._feed(planned, plan) for plan in planned.plans if plan.todo],
            parse=pool.parse,
            cut=model_wiring.cutter(self._settings),
            settings=self._settings,
            spool=home.spool,
            stopped=self.stop,
            note=self.observer.note,
            ready=planned.mirror.keep if planned.mirror else lambda shard: None,
            run=self._name,
            tell=self._tell,
            allowance=Allowance(self.request.budget_tokens, None if minutes is None else self._started + minutes * 60),
        )

    def _feed(self, planned: Planned, plan: SourcePlan) -> Feed:
        assert self._sources is not None
        name = plan.source
        kind = next(target.source.type for target in planned.targets if target.source.name == name)
        said = self._settings.sources.get(name)
        return Feed(
            planned.sources[name],
            plan.todo,
            said.metadata if said else {},
            said.labels if said else (),
            fingerprint=wiring.fingerprint(planned.identity, self._settings, kind),
            carried=self._sources.carried(name),
            ahead=self._sources.ahead(name),
        )

    def _finish(self) -> Accounting:
        account = self.accounting
        if self._sources is not None:
            account.retries |= self._sources.retries()
        self._know_by_source()
        self._stack.close()
        self._ship_the_rest()
        account.seconds = round(wiring.clock() - self._started, 3)
        account.stage_seconds = {stage: round(spent, 3) for stage, spent in account.stage_seconds.items()}
        account.check()
        self._tell_repeated()
        self._bus(Accounted(account))
        self._ended("stopped" if self.stop() else "incomplete" if account.exit_code() else "complete")
        return account

    def _know_by_source(self) -> None:
        """While the sources are still ours: nobody else says now what is known of them."""
        account, planned, now = self.accounting, self._planned, wiring.clock()
        account.sources = self._by_source.accounts()
        if planned is None or planned.writer is None:
            return
        account.replicas = planned.writer.replicas.progress() if self._landed else {}
        try:
            account.freshness = freshness.after(
                self._settings,
                self.request,
                planned.plans,
                planned.targets,
                self._landed,
                self._lags.found,
                account.version,
                now,
            )
        except OSError as error:
            self.observer.note(f"how fresh the index is could not be remembered ({error}); documents are not affected")

    def _ship_the_rest(self) -> None:
        """Nothing is held any more by now, no source, no device, no writer: nobody waits for a DR store but us."""
        if self._shipping is None:
            return
        self.observer.stage("shipping")
        with on_signals(self.stop, lambda _: self.observer.note("not waiting for the DR stores any longer")):
            self._shipping.finish(self._settings.snapshots.wait_seconds, self.stop)
        self.accounting.ship = self._shipping.figures()
        self.accounting.messages += shipping.told(self.accounting.ship)

    def _finish_dry(self, planned: Planned) -> Accounting:
        """What would be done is counted as deferred: nothing of it was."""
        for plan in planned.plans:
            self.accounting.deferred += len(plan.todo)
            self.accounting.would_delete += len(plan.gone)
            self.accounting.would_fetch_bytes += plan.bytes
        costs.foretell(self.request, self._settings, planned, self.accounting)
        return self._finish()
