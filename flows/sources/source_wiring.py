"""The composition root's part for sources: a connector with its budget, its door, its secrets and its limits."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.http.holders import Holders
from penstock.connectors.registry import NoConnector, connector
from penstock.connectors.types import Source, SourceError, StopSource
from penstock.flows import wiring
from penstock.flows.config import home as homes
from penstock.flows.config.home import Home
from penstock.flows.config.names import ADHOC
from penstock.flows.config.settings import Settings
from penstock.flows.config.source_settings import SourceSettings
from penstock.flows.plans.targets import Target
from penstock.flows.runs.events import Listener, nobody
from penstock.flows.runs.stop import Halted
from penstock.flows.sources.contained import contained, held_to_contract
from penstock.flows.sources.guarded import cleaned, guarded
from penstock.flows.sources.redactor import REDACTOR
from penstock.flows.sources.secrets import prefect_block, resolver
from penstock.flows.sources.waiting import Waiting
from penstock.flows.spools import scratch
from penstock.index.errors import Unavailable
from penstock.index.types import SourceState

if TYPE_CHECKING:
    from penstock.connectors.connector import SourceOptions, Tools
    from penstock.connectors.http.types import Budget, Door, Ledger, NetworkRules

CONFIGURED = "configuration"
TOLD_SECONDS = 10.0
"""Between two lines that say that a source is waited for."""


class Sources:
    """The sources of one run, opened as they are needed. Closing `stack` closes their connections."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        *,
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        stack: ExitStack,
        tell: Listener = nobody,
    ) -> None:
        self._settings, self._home = settings, home
        self._stopped, self._note, self._stack, self._tell = stopped, note, stack, tell
        self._doors: dict[str, list[Door]] = {}
        self._scratch: Path | None = None
        self._passing: Path | None = None
        self._holders = Holders(wiring.token)

    def configured(self) -> dict[str, SourceState]:
        """What `[sources.NAME]` says, as the index remembers sources."""
        return {
            name: SourceState(name=name, type=each.type, binding=each.options.binding(), origin=CONFIGURED)
            for name, each in self._settings.sources.items()
        }

    def orphans(self, known: Mapping[str, SourceState]) -> list[str]:
        """Known sources that a configuration once described and this one does not; none where there is none."""
        return orphans(self._settings, known)

    def can_open(self, state: SourceState) -> bool:
        """Whether this configuration says enough to open it."""
        return state.name in self._settings.sources or state.type in ("files", ADHOC)

    def open(self, target: Target) -> Source:
        """The connector that pulls from a target; asks nobody anything yet. Raises `StopSource`."""
        state = target.source
        if state.name == ADHOC:
            from penstock.connectors.sources.adhoc import AdhocSource

            return AdhocSource(target.under, clock=wiring.clock, sleep=self.sleep)
        said = self._settings.sources.get(state.name)
        if said is None and state.type != "files":
            raise StopSource(f"{state.name} is a source of type {state.type}: describe it in [sources.{state.name}]")
        try:
            kind = connector(state.type)
        except NoConnector as wrong:
            raise StopSource(f"source {state.name} is of type {state.type}, {wrong}") from None
        options = said.options if said is not None else _folder(state.binding)
        tools = self.tools(state.name, said)
        with cleaned(REDACTOR), contained(partial(_of_connector, state.name), SourceError):
            source = kind.open(state.name, options, tools)
        if callable(close := getattr(source, "close", None)):
            self._stack.callback(self._closed, state.name, close)
        return guarded(held_to_contract(source, state.name), REDACTOR)

    def _closed(self, name: str, close: Callable[[], object]) -> None:
        """What goes wrong at the very end costs nothing any more."""
        try:
            close()
        except Exception as error:
            self._note(REDACTOR.clean(f"{name} could not be closed: {error}"))

    def tools(self, name: str, said: SourceSettings | None) -> Tools:
        """What the connector of source `name` is handed."""
        from penstock.connectors.connector import Tools
        from penstock.connectors.http.door import Doors

        sleep = self._telling(name)
        budget, folder = self._budget(name, said, sleep), self._fetched()
        doors = Doors(
            budget=budget,
            rules=_rules(said),
            scratch=folder,
            clock=wiring.clock,
            monotonic=time.monotonic,
            sleep=sleep,
            random=wiring.chance,
            token=wiring.token,
            redactor=REDACTOR,
        )

        def door(*origins: str, **how: object) -> Door:
            made: Door = doors(*origins, **how)  # type: ignore[arg-type]
            self._doors.setdefault(name, []).append(made)
            self._stack.callback(made.close)
            return made

        return Tools(
            clock=wiring.clock,
            sleep=sleep,
            secret=resolver(name, os.environ, prefect_block, REDACTOR),
            door=door,
            scratch=folder,
            token=wiring.token,
            note=lambda line: self._note(REDACTOR.clean(f"{name}: {line}")),
            max_bytes=((said.max_mb if said else None) or self._settings.parse.max_mb) << 20,
            exclude=tuple(wiring.ours(self._settings, self._home)),
            budget=budget,
        )

    def _fetched(self) -> Path:
        """A folder of this run's own for what is fetched; what runs that died left is removed first."""
        if self._scratch is None:
            folder = self._place() / "spool" / "fetched"
            self._scratch, lock = scratch.take(folder, wiring.token())
            self._stack.callback(scratch.give_up, self._scratch, lock)
        return self._scratch

    def _place(self) -> Path:
        """The home; a folder for the time being where there is none yet, since a dry run makes none."""
        if (self._home.path / homes.MARK).exists():
            return self._home.path
        if self._passing is None:
            self._passing = Path(self._stack.enter_context(TemporaryDirectory(prefix="penstock-")))
        return self._passing

    def carried(self, name: str) -> str:
        """A digest of what the configuration adds to every document of a source; "" if that is nothing."""
        said = self._settings.sources.get(name)
        if said is None or not (said.labels or said.metadata):
            return ""
        return digest([sorted(said.labels), said.metadata])

    def described(self, name: str) -> str:
        """A digest of everything that the configuration says of a source; a secret is only named there."""
        said = self._settings.sources.get(name)
        return "" if said is None else digest([said.type, said.options, sorted(said.labels), said.metadata])

    def ahead(self, name: str) -> int:
        """How many documents of a source are worth working on at once, beside those that the parsers need.

        Many more than it answers at once: those that wait for their next attempt must not leave its places empty.
        """
        said = self._settings.sources.get(name)
        return max(32, 8 * said.budget.concurrency) if said is not None and said.type != "files" else 0

    def full_every(self, name: str) -> float:
        """Seconds after which everything is listed again."""
        said = self._settings.sources.get(name)
        return (said.full_every_hours if said is not None else 24.0) * 3600

    def retries(self) -> dict[str, dict[str, int]]:
        """Requests that had to be repeated so far: source → reason → count."""
        found: dict[str, dict[str, int]] = {}
        for name, doors in self._doors.items():
            for reason, count in (pair for door in doors for pair in door.retries.items()):
                by_reason = found.setdefault(name, {})
                by_reason[reason] = by_reason.get(reason, 0) + count
        return found

    def sleep(self, seconds: float) -> None:
        """Wait, but not for somebody who wants to stop. Raises `Halted`."""
        end = time.monotonic() + seconds
        while True:
            if self._stopped():
                raise Halted
            left = end - time.monotonic()
            if left <= 0:
                return
            wiring.sleep(min(left, 0.2))

    def _telling(self, name: str) -> Callable[[float], None]:
        """`sleep`, for waits on one source: whoever watches is told now and then what is waited for."""
        told = time.monotonic()

        def sleep(seconds: float) -> None:
            nonlocal told
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                repeated = ", ".join(f"{why} {n}" for why, n in sorted(self.retries().get(name, {}).items()))
                if repeated:
                    self._note(f"waiting for {name}: requests repeated so far: {repeated}")
            self.sleep(seconds)

        return sleep

    def _budget(self, name: str, said: SourceSettings | None, sleep: Callable[[float], None]) -> Budget:
        from penstock.connectors.http.budget import SharedBudget
        from penstock.connectors.http.types import BudgetLimits

        limits = BudgetLimits(**msgspec.structs.asdict(said.budget)) if said is not None else BudgetLimits()
        return SharedBudget(
            name,
            limits,
            self._ledger,
            clock=wiring.clock,
            sleep=sleep,
            random=wiring.chance,
            token=wiring.token,
            holders=self._holders,
            faults=(OSError, Unavailable),
            waits=Waiting(name, self._tell, time.monotonic),
        )

    @cached_property
    def _ledger(self) -> Ledger:
        return self._stack.enter_context(ledger(self._settings, self._home, self._place()))


@contextmanager
def ledger(settings: Settings, home: Home, place: Path) -> Iterator[Ledger]:
    """Where budgets are kept: beside the catalog where that is a server, so that all machines share them, else below
    `place`."""
    from penstock.connectors.http.ledger import FileLedger

    found = wiring.layout(settings, home)
    if found.catalog_file is not None:
        yield FileLedger(place / "budgets")
        return
    from penstock.index.catalog.cells import Cells

    with closing(Cells(found.catalog)) as cells:
        yield cells


def hindered(settings: Settings, home: Home) -> list[str]:
    """The configured sources that nobody may ask now, and until when; one line each. Changes nothing.

    Raises `OSError`, `Unavailable`.
    """
    from penstock.connectors.http.budget import hindrance, instant
    from penstock.connectors.http.ledger import FileLedger

    lines = []
    with ledger(settings, home, home.path) as kept:
        for name, said in sorted(settings.sources.items()):
            never_asked = isinstance(kept, FileLedger) and not kept.path(name).exists()
            found = None if said.type == "files" or never_asked else hindrance(name, kept, wiring.clock())
            if found is not None:
                lines.append(f"source {name} is not asked until {instant(found[1])}: {found[0]}")
    return lines


def orphans(settings: Settings, known: Mapping[str, SourceState]) -> list[str]:
    """As `Sources.orphans`. A file without any source describes none, so that nothing can have dropped out of it."""
    if not settings.sources:
        return []
    return sorted(n for n, state in known.items() if state.origin == CONFIGURED and n not in settings.sources)


def _of_connector(name: str, said: str) -> StopSource:
    return StopSource(f"the connector of {name} failed ({said}): look at [sources.{name}], or tell whoever made it")


def digest(value: object) -> str:
    """32 bits in hex of anything that JSON can say."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:8]


def _rules(said: SourceSettings | None) -> NetworkRules:
    from penstock.connectors.http.types import NetworkRules

    if said is None:
        return NetworkRules()
    network = said.network
    return NetworkRules(
        allow=network.allow,
        ca_file=Path(network.ca_file) if network.ca_file else None,
        connect_seconds=network.connect_seconds,
        read_seconds=network.read_seconds,
        total_seconds=network.total_seconds,
        attempts=network.attempts,
        retry_seconds=network.retry_seconds,
    )


def _folder(binding: str) -> SourceOptions:
    from penstock.connectors.sources.files import FilesOptions

    return FilesOptions(path=binding)
