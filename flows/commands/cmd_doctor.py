"""`doctor`: whether penstock can work here as it is configured, how fast, and what would hold it back."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import msgspec

from penstock.embed.types import Chunk
from penstock.flows import prefect_api
from penstock.flows.answers import doctor as answers
from penstock.flows.answers.doctor import Feed, Finding, ModelFacts, Report
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, same_place
from penstock.flows.config import home as homes
from penstock.flows.config.keys import SettingsError
from penstock.flows.config.settings import Settings
from penstock.flows.doctor import engine, feeding, machine, packages, places, samples, sources
from penstock.flows.runs import slots

_SHORT = Chunk(0, 4, "gate", (0, 1, 2))
"""What an endpoint is asked for."""


def doctor(arguments: argparse.Namespace, console: Console) -> int:
    """Look at everything. Exit code 0: fine; 1: it works, with warnings; 2: nothing can be embedded here."""
    report = Report()
    ctx = _context(arguments, report)
    visit = _Visit(ctx, report, console.sign)
    visit.around()
    if not arguments.quick:
        visit.inside(probe=arguments.probe)
    again = f"penstock doctor{same_place(arguments)}"
    code = answers.judge(report, again, same_place(arguments))
    console.answer(report, answers.render(report))
    return code


def _context(arguments: argparse.Namespace, report: Report) -> Context:
    """The configuration; the defaults where it is wrong, which is a finding."""
    try:
        return context(arguments)
    except SettingsError as error:
        report.findings.append(Finding("problem", str(error), "correct the configuration"))
        return Context(Settings(), homes.find(arguments.home, None), None)


class _Visit:
    """One look at everything. A check that fails in a way that nobody foresaw is a finding too."""

    def __init__(self, ctx: Context, report: Report, sign: Callable[[str], None]) -> None:
        self._ctx, self._settings, self._report, self._sign = ctx, ctx.settings, report, sign
        endpoint = ctx.settings.embed.endpoint
        self._remote = endpoint is not None
        report.endpoint = endpoint.url if endpoint is not None else None

    def around(self) -> None:
        """All that costs nothing."""
        self._check("packages", self._packages)
        self._check("machine", self._machine)
        self._check("places", self._places)
        self._check("sources", self._sources)
        self._check("model", self._model)

    def inside(self, *, probe: bool) -> None:
        """The parsers and the model at work; seconds. An endpoint is asked only with `probe`: it may cost money."""
        report = self._report
        chunks: list[Chunk] = []
        if report.model is not None:
            self._check("parsing", lambda: self._feeds(chunks))
        if any(finding.level == "problem" for finding in report.findings):
            return
        if self._remote and not probe:
            report.findings.append(Finding("note", f"{report.endpoint} was not asked; --probe asks for one short text"))
            return
        self._check("engine", lambda: self._engines([_SHORT] if self._remote else chunks))
        self._check("GPUs", self._gpus)
        if report.tokens_per_second and not self._remote:
            rate = report.tokens_per_second
            report.feeding = [feeding.compared(feed, rate) for feed in report.feeding]
            self._add(feeding.findings(report.feeding, report.machine.usable if report.machine else 1))
            self._add(sources.findings(report.sources, rate))

    def _packages(self) -> None:
        self._report.versions = packages.versions()
        configured = prefect_api.configured()
        self._add(packages.findings(self._report.versions, endpoint=self._remote, prefect_api=configured))

    def _machine(self) -> None:
        self._report.machine = found = machine.machine()
        self._add(machine.findings(found))

    def _places(self) -> None:
        from penstock.flows import wiring

        home = homes.Home(self._ctx.home)
        wanted = {"home": home.path, "spool": home.spool, "cache": home.cache, "temporary files": Path(gettempdir())}
        wanted |= {f"replica {name}": path for name, path in self._ctx.layout().folders.items()}
        self._report.places = places.places(wanted)
        self._add(places.findings(self._report.places))
        self._add(places.slots(slots.directory))
        self._add(places.clock(wiring.clock(), {"home.json": home.path / homes.MARK, "catalog.db": home.catalog}))
        self._add(places.prefect(prefect_api.configured(), prefect_api.answers))

    def _sources(self) -> None:
        from penstock.flows.plans import throughput

        known, wrong = throughput.read(self._ctx.home / "cache")
        self._add([Finding("note", wrong)] if wrong else [])
        limits = {name: (said.type, said.budget) for name, said in self._settings.sources.items()}
        self._report.sources = sources.paces(
            limits, {name: rate.tokens_per_second for name, rate in known.sources.items()}
        )

    def _model(self) -> None:
        from penstock.flows import model_wiring
        from penstock.flows.plans import throughput

        if self._remote:
            return
        model = model_wiring.resolved(self._settings)
        identity = model_wiring.model_identity(self._settings)
        size = int(model_wiring.identity(self._settings)["chunk_tokens"])
        self._report.model = ModelFacts(
            model.name, str(model.path), int(identity["dim"]), model.max_tokens, size, model.pooling, identity
        )
        key = throughput.device_key(identity, self._settings.embed.device, throughput.hardware())
        self._report.past_tokens_per_second = throughput.read(self._ctx.home / "cache")[0].speed(key).device

    def _feeds(self, chunks: list[Chunk]) -> None:
        from penstock.connectors.types import Document
        from penstock.flows import model_wiring, wiring

        self._sign("parsing samples …")
        cut = model_wiring.cutter(self._settings)

        def kept(document: Document) -> list[Chunk]:
            found = cut(document)
            chunks.extend(found)
            return found

        workers = wiring.parse_workers(self._settings)
        with TemporaryDirectory(prefix="penstock-doctor-") as folder, wiring.parser_pool(self._settings) as pool:
            files = samples.written(Path(folder))
            for found in feeding.measured(files, pool, kept, time.perf_counter, workers):
                if isinstance(found, Feed):
                    self._report.feeding.append(found)
                else:
                    self._report.findings.append(found)

    def _engines(self, chunks: list[Chunk]) -> None:
        from penstock.flows import model_wiring, wiring

        self._sign("loading the model …")
        report, where = self._report, slots.directory()
        with ExitStack() as stack:
            home = homes.Home(self._ctx.home)
            if not (home.path / homes.MARK).exists():  # nothing may be left where there is no home
                home = homes.Home(Path(stack.enter_context(TemporaryDirectory(prefix="penstock-doctor-"))))
            models = model_wiring.encoders(self._settings, home, self._sign)
            for model in models.values():
                stack.callback(model.close)
            for slot, model in models.items():
                held = slots.hold(slot, where=where, sleep=wiring.sleep, stopped=lambda: True, waiting=lambda: None)
                found, said = engine.looked_at(slot, model, chunks, time.perf_counter, held, remote=self._remote)
                report.engines.append(found)
                self._add(said)
        rates = [each.tokens_per_second for each in report.engines]
        report.tokens_per_second = sum(rate for rate in rates if rate) if rates and all(rates) else None

    def _gpus(self) -> None:
        from penstock.embed.engine.gpus import gpus

        report = self._report
        if report.machine is None or self._remote or not (machine.driver() or _on_gpu(report)):
            return
        report.machine = msgspec.structs.replace(report.machine, gpus=[*gpus()])
        self._add(machine.unseen(report.machine) if machine.driver() else ())

    def _add(self, findings: Iterable[Finding]) -> None:
        self._report.findings.extend(findings)

    def _check(self, name: str, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # whatever a driver or a damaged installation makes a library raise
            self._report.findings.append(_unforeseen(name, error))


def _on_gpu(report: Report) -> bool:
    return any(each.provenance.get("device", "cpu") != "cpu" for each in report.engines)


def _unforeseen(name: str, error: Exception) -> Finding:
    """What a check raised, by the door that knows all errors. Without a model or an engine nothing can be embedded."""
    from penstock.flows.answers.exits import outcome

    _, code, message = outcome(error)
    said = message.removesuffix("; -v shows where")
    if code in ("unknown-model", "settings", "no-home", "not-installed", "parser", "usage"):
        return Finding("problem", said)
    return Finding("problem" if name in ("engine", "model") else "warning", f"{name}: {said}")
