"""The composition root: the only place where settings become objects, and where time, sleep and chance come from.

Everything heavy is imported inside the function that needs it, so that a command pays for what it uses.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.answers.progress import Observer
from penstock.flows.config import home as homes
from penstock.flows.config import layout as layouts
from penstock.flows.config import place as places
from penstock.flows.config.home import Home
from penstock.flows.config.layout import Layout
from penstock.flows.config.names import ADHOC
from penstock.flows.config.settings import DEFAULT_FILE, Settings, load
from penstock.flows.plans.plan import DeletionGuard
from penstock.flows.runs import slots
from penstock.flows.runs.events import Listener, nobody
from penstock.flows.runs.prepare import Allowance, Parse, Preparer, ShardLimits
from penstock.flows.runs.priority import NUMBERS, USUAL
from penstock.flows.runs.shaping import Cut, Feed
from penstock.index.errors import NotRetained, WrongIndex

if TYPE_CHECKING:
    from penstock.connectors.parsing.pool import ParserPool
    from penstock.embed.cache import Cache
    from penstock.flows.runs.embedding import Aside, Embedder
    from penstock.flows.runs.loading import Devices
    from penstock.flows.runs.moved import Donors
    from penstock.flows.spools.spool import Shard
    from penstock.flows.spools.spool_mirror import Mirror
    from penstock.index.catalog.locks import Locks
    from penstock.index.commits.commit import Writer
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store

clock = time.time
sleep = time.sleep
chance = random.random


def token() -> str:
    """A fresh random id: 64 bits in hex."""
    return secrets.token_hex(8)


def run_name(started: float) -> str:
    """Names one run in document state: when it began, UTC, and a little chance."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started))}-{secrets.token_hex(3)}"


# ── index ────────────────────────────────────────────────────────────────────────────────────────────────


def layout(settings: Settings, home: Home) -> Layout:
    """Where the copies and the catalog are."""
    return layouts.layout(settings, home.path, os.environ)


def stores(settings: Settings, home: Home) -> dict[str, Store]:
    """The replicas, by id."""
    return {name: store(place) for name, place in layout(settings, home).replicas.items()}


def store(place: str) -> Store:
    """The store at an absolute path or a URL; credentials come from the environment."""
    from penstock.index.stores.stores import open_store

    return open_store(place, token=token)


def made_store(place: str) -> Store:
    """As `store`; a folder is made if it is not there."""
    from penstock.index.stores.store import LocalStore

    return store(place) if places.is_url(place) else LocalStore.create(Path(place), token=token)


def open_writer(
    settings: Settings,
    home: Home,
    report: Callable[[str], None],
    left_out: Callable[[str, str], None] = lambda replica, problem: None,
) -> Writer:
    """The index, ready to be written; made if the home has none yet. Recovers what a crash left first."""
    found, replicas = layout(settings, home), stores(settings, home)
    new = _is_new(found, replicas)
    return writer(found.catalog, replicas, found.write_quorum, settings, home, report, new=new, left_out=left_out)


def writer(
    catalog: str,
    replicas: Mapping[str, Store],
    write_quorum: int,
    settings: Settings,
    home: Home,
    report: Callable[[str], None],
    leaving: frozenset[str] = frozenset(),
    *,
    new: bool = False,
    left_out: Callable[[str, str], None] = lambda replica, problem: None,
) -> Writer:
    """The index with these replicas, ready to be written; those that are `leaving` need not answer.

    Raises `Fenced` where a DR store says, or said once, that a restored index goes on in its stead, and `WrongIndex`
    where there is nothing here and a DR store has an index.
    """
    from penstock.flows.recovery.donors import donors
    from penstock.index.commits.commit import Writer
    from penstock.index.commits.crew import Threads

    _refuse_unfinished(home)
    if new:
        from penstock.flows.recovery import fences

        fences.check_nothing_lost(settings, home.path, os.environ)
    else:
        _check_not_fenced(settings, home, replicas)
    return (Writer.create if new else Writer.open)(
        catalog,
        replicas,
        write_quorum=write_quorum,
        workdir=home.spool,
        clock=clock,
        token=token,
        report=report,
        crew=Threads(time.monotonic, deadline=settings.index.replica_deadline),
        leaving=leaving,
        donors=donors(settings, os.environ, report),
        left_out=left_out,
    )


def _refuse_unfinished(home: Home) -> None:
    from penstock.flows.recovery import unfinished

    unfinished.refuse(home.path)


def _check_not_fenced(settings: Settings, home: Home, replicas: Mapping[str, Store]) -> None:
    """Before anything is opened, because opening finishes what a crash left, which is writing."""
    from penstock.flows.recovery import fences

    if not settings.snapshots.places and not (home.path / fences.MET).exists():
        return
    if whose := lineage(settings, home, replicas):
        fences.check(settings, home.path, whose, os.environ)


def lineage(settings: Settings, home: Home, replicas: Mapping[str, Store]) -> str | None:
    """Which index this is: as the catalog says, else the first of `replicas` that says it; None if nobody does."""
    from penstock.index.commits import markers
    from penstock.index.errors import IndexFault

    if found := _lineage(settings, home):
        return found
    for replica in replicas.values():
        try:
            marker = markers.replica(replica)
        except (IndexFault, OSError):
            continue
        if marker is not None:
            return marker.lineage
    return None


def open_reader(
    settings: Settings, home: Home, report: Callable[[str], None], but: str = "", version: int | None = None
) -> Reader:
    """The newest published version, or exactly that `version`. Needs the replicas and nothing else; does not look at
    the one called `but`. While the home is being restored, what has not arrived comes from the DR store."""
    from penstock.index.reading.reader import Reader
    from penstock.index.recovery import progress

    replicas = {name: store for name, store in stores(settings, home).items() if name != but}
    if version is None and (half := progress.unfinished(home.path)) is not None:
        from penstock.flows.recovery import unfinished

        return unfinished.reader(half, settings, home, list(replicas.values()), report)

    def opened(lineage: str | None) -> Reader:
        return Reader.open(
            *replicas.values(),
            lineage=lineage,
            version=version,
            report=report,
            cache=home.cache / "blocks",
            cache_bytes=settings.reader.cache_mb << 20,
            memory_bytes=settings.reader.memory_mb << 20,
        )

    try:
        return opened(None)
    except NotRetained:
        raise
    except WrongIndex:
        # Replicas of two indexes, as many of each: only the catalog can tell whose this home is.
        lineage = _lineage(settings, home)
        if lineage is None:
            raise
        return opened(lineage)


def _lineage(settings: Settings, home: Home) -> str | None:
    """Which index the catalog is that of; None if it cannot say."""
    from penstock.index.errors import IndexFault

    try:
        from penstock.index.catalog.catalog import Catalog

        meta = Catalog(layout(settings, home).catalog).meta()
    except (IndexFault, ModuleNotFoundError):
        return None
    return None if meta is None else meta.lineage


def open_reader_if_any(settings: Settings, home: Home, report: Callable[[str], None]) -> Reader | None:
    """As `open_reader`; None if nothing was ever made there."""
    found = layout(settings, home)
    if found.gone() or _is_new(found, stores(settings, home)):
        return None
    return open_reader(settings, home, report)


def locks(settings: Settings, home: Home) -> Locks:
    """Who works on what: over all machines where the catalog is a server, else over the processes of this one."""
    from penstock.index.catalog.catalog import Catalog

    return Catalog(layout(settings, home).catalog).locks(home.spool / "locks")


def mirror(settings: Settings, home: Home, lineage: str, note: Callable[[str], None]) -> Mirror | None:
    """The copy of the spool elsewhere, if one is configured."""
    if settings.spool.store is None:
        return None
    from penstock.flows.spools.spool_mirror import Mirror

    return Mirror(store(settings.spool.store), lineage, locks(settings, home), note)


def decided(settings: Settings, home: Home) -> bool:
    """Whether a catalog says that there should be an index; one that cannot be asked counts as saying so."""
    from penstock.index.errors import IndexFault

    found = layout(settings, home)
    if found.catalog_file is not None:
        return found.catalog_file.exists()
    try:
        from penstock.index.catalog.catalog import Catalog

        return Catalog(found.catalog).meta() is not None
    except (IndexFault, ModuleNotFoundError):
        return True


def _is_new(found: Layout, replicas: Mapping[str, Store]) -> bool:
    """Whether there is nothing yet, neither a folder nor a word in a bucket or in the catalog.

    An empty folder is something: it may be a disk that is not mounted.
    """
    from penstock.index.commits import log, markers

    file = found.catalog_file
    if (file is not None and file.exists()) or any(os.path.lexists(path) for path in found.folders.values()):
        return False
    for name, replica in replicas.items():
        if name not in found.folders and (markers.replica(replica) is not None or log.entries(replica)):
            return False
    if file is None:
        from penstock.index.catalog.catalog import Catalog

        return Catalog(found.catalog).meta() is None
    return True


# ── sources and parsers ──────────────────────────────────────────────────────────────────────────────────


def ours(settings: Settings, home: Home) -> list[Path]:
    """What belongs to the index: never a document, even where the home lies inside the source."""
    found = layout(settings, home)
    files = [found.catalog_file] if found.catalog_file is not None else []
    spool = settings.spool.store
    mirror = [Path(spool)] if spool and not places.is_url(spool) else []
    return [home.path, *found.folders.values(), *files, *mirror]


def parsers(settings: Settings) -> frozenset[str]:
    """Today's parsers, by the names that they leave in document state."""
    from penstock.connectors.parsing.names import parser_names

    return frozenset(parser_names(settings.parse.plugins, settings.parse.route).values())


def parser_pool(settings: Settings) -> ParserPool:
    """Parsing processes; start when the first file comes."""
    from penstock.connectors.parsing.pool import ParserPool

    return ParserPool(
        parse_workers(settings),
        seconds=settings.parse.seconds,
        memory_bytes=settings.parse.memory_mb << 20,
        max_bytes=settings.parse.max_mb << 20,
        plugins=settings.parse.plugins,
        route=settings.parse.route,
    )


def parse_workers(settings: Settings) -> int:
    """Parsing processes: as configured, else one per core but one."""
    from penstock.embed.engine.cores import cores

    return settings.parse.workers or max(1, cores() - 1)


def deletion_guard(settings: Settings, confirmed: int) -> DeletionGuard:
    """When a loss of documents at the source is not believed."""
    return DeletionGuard(settings.deletions.min_count, settings.deletions.min_share, confirmed)


# ── the pipeline ─────────────────────────────────────────────────────────────────────────────────────────


def fingerprint(identity: Mapping[str, str], settings: Settings, kind: str) -> str:
    """Names what a shard of a source of type `kind` depends on: another model, chunking, parser or connector makes it
    useless."""
    import hashlib

    from penstock.connectors.registry import connector

    kinds = [] if kind == ADHOC else [connector(kind).version]
    said = "\n".join([*(f"{key}={identity[key]}" for key in sorted(identity)), *sorted(parsers(settings)), *kinds])
    return hashlib.sha256(said.encode()).hexdigest()


def preparer(
    feeds: Sequence[Feed],
    *,
    parse: Parse,
    cut: Cut,
    settings: Settings,
    spool: Path,
    stopped: Callable[[], bool],
    note: Callable[[str], None],
    ready: Callable[[Shard], object],
    run: str,
    allowance: Allowance,
    tell: Listener = nobody,
) -> Preparer:
    """The first stage. `cut`: with the model's own tokenizer (`model_wiring.cutter`)."""
    return Preparer(
        feeds,
        parse=parse,
        cut=cut,
        spool=spool,
        limits=ShardLimits(),
        run=run,
        allowance=allowance,
        ahead=parse_workers(settings) + 2,
        clock=clock,
        token=token,
        stopped=stopped,
        note=note,
        ready=ready,
        tell=tell,
    )


def listeners(settings: Settings, home: Path) -> list[Listener]:
    """Who is told what happens in a run, as it is configured."""
    found: list[Listener] = []
    if settings.metrics.textfile is not None:
        from penstock.flows.metrics.gpu import gpus
        from penstock.flows.metrics.run_metrics import RunMetrics
        from penstock.flows.runs import freshness

        def as_of() -> dict[str, float]:
            return {name: kept.as_of for name, kept in freshness.read(home).items()}

        folder, every = Path(settings.metrics.textfile), settings.metrics.every_seconds
        found.append(RunMetrics(folder, settings.sources, every=every, clock=clock, gpus=gpus, as_of=as_of))
    if settings.logs.file is not None:
        from penstock.flows.metrics.journal import STDERR, Journal
        from penstock.flows.sources.redactor import REDACTOR

        file = None if settings.logs.file == STDERR else Path(settings.logs.file)
        found.append(Journal(file, settings.logs.level, clock=clock, clean=REDACTOR.clean))
    return found


def embedder(
    devices: Devices,
    stopped: Callable[[], bool],
    observer: Observer,
    cache: Cache,
    donors: Donors,
    *,
    priority: str = USUAL,
    aside: Aside | None = None,
    tell: Listener = nobody,
) -> Embedder:
    """The second stage, on this host's slots. `aside`: what it does for others between its batches."""
    from penstock.flows.runs.embedding import Embedder

    return Embedder(
        devices,
        slots_directory=slots.directory(),
        clock=clock,
        sleep=sleep,
        stopped=stopped,
        note=observer.note,
        advanced=lambda tokens: observer.advanced(0, tokens),
        reused=observer.reused,
        stage=observer.stage,
        cache=cache,
        donors=donors,
        priority=NUMBERS[priority],
        aside=aside,
        tell=tell,
    )


# ── homes ────────────────────────────────────────────────────────────────────────────────────


def configured(config: str | None) -> Path | None:
    """The configuration of a deployment: as given, else `./penstock.toml` if it is there."""
    return Path(config) if config else Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def home_of(home: str | None, config: str | None) -> Path:
    """Where a deployment's home is: as given, else as configured, else `./.penstock`."""
    path = configured(config)
    said = Path(load(path).home) if path else None
    return homes.find(Path(home) if home else None, said)
