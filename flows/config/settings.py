"""`penstock.toml`: typed, complete, and refused with the key and the fix where it is wrong.

Paths in the file are relative to the file's own folder. Nothing below `flows/wiring.py` sees these
objects: what is further down is handed the few values that it needs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.flows.config import embedding, endpoint, operations, place
from penstock.flows.config import snapshots as snapshot_settings
from penstock.flows.config.endpoint import EndpointSettings
from penstock.flows.config.keys import SettingsError, sane, typed
from penstock.flows.config.operations import AlertSettings, LogSettings, MetricsSettings, PrefectSettings
from penstock.flows.config.periods import LONGEST
from penstock.flows.config.snapshots import SnapshotSettings
from penstock.flows.config.source_settings import SourceSettings
from penstock.flows.config.source_settings import check as check_sources
from penstock.flows.config.source_settings import source as source_table

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_HOME = ".penstock"
DEFAULT_FILE = "penstock.toml"

AtLeastOne = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]
Share = Annotated[float, Meta(ge=0, le=1)]

__all__ = ["Settings", "SettingsError", "load"]


class IndexSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has a copy; `flows/config/layout.py` says what None means. Places are absolute paths or URLs once loaded.

    `replicas`: how many in the home, or their places, or id -> place. `replica_deadline`: seconds that a commit
    waits for a slow replica once enough others have answered.
    """

    replicas: int | list[str] | dict[str, str] | None = None
    write_quorum: int | None = None
    catalog: str | None = None
    replica_deadline: Seconds = 5.0


class ReaderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cache_mb`: disk for blobs that lie elsewhere; `memory_mb`: what a reader keeps unpacked."""

    cache_mb: AtLeastOne = 2048
    memory_mb: AtLeastOne = 256


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`store`: a place where prepared work is copied to, so that another machine can go on."""

    store: str | None = None


class KeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a collection leaves: the last `versions`, and every one younger than `hours`."""

    versions: AtLeastOne = 10
    hours: Annotated[float, Meta(ge=0, le=LONGEST / 3600)] = 24.0


class VerifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rate_mb`: megabytes a second that a scrub may read from each replica; None: as fast as it goes."""

    rate_mb: Seconds | None = None


class EmbedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`chunk_tokens` None: what the model takes. `device` None: the best there is; `devices`: several at once, instead.
    `threads` None: all that the process may use. `dtype` `auto`: the fastest that is exact enough."""

    model: str = DEFAULT_MODEL
    chunk_tokens: AtLeastOne | None = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None
    device: str | None = None
    devices: tuple[str, ...] = ()
    threads: AtLeastOne | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    truncate_dim: AtLeastOne | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    """What the model's files say, where it is None; no prompt, where it is empty."""
    hang_seconds: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """Without a word for so long, the embedding process counts as hung; None: our own limits."""
    endpoint: EndpointSettings | None = None
    """An encoder elsewhere, which makes the vectors instead of this machine."""


class ParseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for one file: seconds, memory of the parsing process, size. `workers` None: one per core but one.

    `plugins`: which installed parsers and transforms are used, None: all. `route`: what a file that was rejected for
    a reason is given to instead, reason -> parser.
    """

    workers: AtLeastOne | None = None
    seconds: Seconds = 60.0
    memory_mb: AtLeastOne = 2048
    max_mb: AtLeastOne = 256
    plugins: tuple[str, ...] | None = None
    route: dict[str, str] = msgspec.field(default_factory=dict)


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vectors that were paid for, by text. `max_mb` 0: none are kept."""

    max_mb: Annotated[int, Meta(ge=0)] = 2048


class DeletionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """More than `min_count` and more than `min_share` of a source gone at once is withheld."""

    min_count: Annotated[int, Meta(ge=0)] = 20
    min_share: Share = 0.2


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `home` is absolute once loaded; `said` holds the dotted keys that somebody wrote down."""

    home: str = DEFAULT_HOME
    index: IndexSettings = IndexSettings()
    reader: ReaderSettings = ReaderSettings()
    spool: SpoolSettings = SpoolSettings()
    keep: KeepSettings = KeepSettings()
    verify: VerifySettings = VerifySettings()
    embed: EmbedSettings = EmbedSettings()
    parse: ParseSettings = ParseSettings()
    cache: CacheSettings = CacheSettings()
    deletions: DeletionSettings = DeletionSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    prefect: PrefectSettings = PrefectSettings()
    metrics: MetricsSettings = MetricsSettings()
    logs: LogSettings = LogSettings()
    alerts: AlertSettings = AlertSettings()
    sources: dict[str, SourceSettings] = msgspec.field(default_factory=dict)
    said: frozenset[str] = frozenset()


SECTIONS: dict[str, type[Any]] = {
    "index": IndexSettings,
    "reader": ReaderSettings,
    "spool": SpoolSettings,
    "keep": KeepSettings,
    "verify": VerifySettings,
    "embed": EmbedSettings,
    "parse": ParseSettings,
    "cache": CacheSettings,
    "deletions": DeletionSettings,
    "snapshots": SnapshotSettings,
    "prefect": PrefectSettings,
    "metrics": MetricsSettings,
    "logs": LogSettings,
    "alerts": AlertSettings,
}
"""The tables of the file, but for `[sources.NAME]`."""


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of `path` (None: the defaults), with `overrides` by dotted key (`embed.model`) on top.

    Raises `SettingsError`, one line: the file, the key, the fix.
    """
    where = str(path) if path else "settings"
    raw = _read(path) if path else {}
    for key, value in (overrides or {}).items():
        _put(raw, key, value)
    sane(raw, where)
    said = frozenset(_dotted(raw))
    folder = path.absolute().parent if path else Path.cwd()
    settings = _build(raw, folder, where)
    embedding.check(settings.embed, said, where)
    check_sources(settings.sources, where)
    operations.check_schedule(settings.prefect, where)
    operations.check_alerts(settings.alerts, where)
    operations.check_places(settings.metrics, settings.logs, where)
    settings = _anchored(settings, folder, where)
    operations.check_places(settings.metrics, settings.logs, where)
    _check_replicas(settings.index, where)
    snapshot_settings.check_apart(settings.snapshots, _values(settings.index.replicas), where)
    return msgspec.structs.replace(settings, said=said)


def _read(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = path.read_text("utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; write one, or leave --config out") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8; save it as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        end = f"line {len(text.splitlines())}, at the end"
        said = str(error).replace("at end of document", end)
        raise SettingsError(f"{path}: is not valid TOML: {said}") from None


def _build(raw: dict[str, Any], folder: Path, where: str) -> Settings:
    """Section by section, so that an error names `sources.wiki.path` and not `$.sources[...].path`."""
    top = {key: value for key, value in raw.items() if key not in SECTIONS and key != "sources"}
    built: dict[str, Any] = {"home": typed(top, _Top, where, "").home}
    for name, kind in SECTIONS.items():
        if name in raw:
            table = raw[name]
            if name == "embed" and isinstance(table, dict) and "endpoint" in table:
                table = {**table, "endpoint": endpoint.checked(table["endpoint"], folder, where)}
            built[name] = typed(table, kind, where, name)
    sources = typed(raw.get("sources", {}), dict[str, Any], where, "sources")
    built["sources"] = {name: source_table(name, value, folder, where) for name, value in sources.items()}
    return Settings(**built)


class _Top(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top of the file, where only `home` is not a table."""

    home: str = DEFAULT_HOME
    index: dict[str, Any] = {}
    reader: dict[str, Any] = {}
    spool: dict[str, Any] = {}
    keep: dict[str, Any] = {}
    verify: dict[str, Any] = {}
    embed: dict[str, Any] = {}
    parse: dict[str, Any] = {}
    cache: dict[str, Any] = {}
    deletions: dict[str, Any] = {}
    snapshots: dict[str, Any] = {}
    prefect: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    logs: dict[str, Any] = {}
    alerts: dict[str, Any] = {}
    sources: dict[str, Any] = {}


def _check_replicas(index: IndexSettings, where: str) -> None:
    """What is wrong whatever the home says; the rest `layout.layout` refuses."""
    replicas = index.replicas
    if replicas is None:
        return
    count = replicas if isinstance(replicas, int) else len(replicas)
    if count < 1:
        raise SettingsError(f"{where}: index.replicas is {count}; at least 1 is needed, 2 is the default")
    for one, other in combinations(_values(replicas), 2):
        if place.overlap(one, other):
            raise SettingsError(
                f"{where}: index.replicas: {one} and {other} are one place, or one lies in the other; "
                "give each replica its own"
            )
    for name in replicas if isinstance(replicas, dict) else ():
        if not place.is_id(name):
            raise SettingsError(f"{where}: index.replicas.{name}: {place.IDS}")
    check_quorum(index.write_quorum, count, f"{where}: index.write_quorum")


def check_quorum(quorum: int | None, replicas: int, where: str) -> None:
    """Raise `SettingsError` unless any two quorums share a replica. None is a majority."""
    if quorum is None:
        return
    if not 1 <= quorum <= replicas:
        raise SettingsError(f"{where} is {quorum}; choose from 1 to {replicas} replicas")
    if 2 * quorum <= replicas:
        raise SettingsError(
            f"{where} = {quorum} of {replicas} replicas would let two halves accept "
            f"different commits; set it to {replicas // 2 + 1} or more"
        )


def _values(replicas: int | list[str] | dict[str, str] | None) -> list[str]:
    return list(replicas.values()) if isinstance(replicas, dict) else replicas if isinstance(replicas, list) else []


def _anchored(settings: Settings, folder: Path, where: str) -> Settings:
    """Make every path absolute, taken from `folder`; what is already absolute, or a URL, stays as it is."""

    def at(path: str) -> str:
        return str(folder / Path(path).expanduser())

    def store(value: str, key: str) -> str:
        try:
            return place.store(value, folder)
        except place.BadPlace as wrong:
            raise SettingsError(f"{where}: {key}: {wrong}") from None

    index, spool = settings.index, settings.spool
    match index.replicas:
        case list(places):
            found = [store(value, f"index.replicas[{n}]") for n, value in enumerate(places)]
            index = msgspec.structs.replace(index, replicas=found)
        case dict(named):
            placed = {key: store(value, f"index.replicas.{key}") for key, value in named.items()}
            index = msgspec.structs.replace(index, replicas=placed)
    if index.catalog:
        try:
            index = msgspec.structs.replace(index, catalog=place.catalog(index.catalog, folder))
        except place.BadPlace as wrong:
            raise SettingsError(f"{where}: index.catalog: {wrong}") from None
    if spool.store:
        spool = msgspec.structs.replace(spool, store=store(spool.store, "spool.store"))
    snapshots = snapshot_settings.anchored(settings.snapshots, folder, where)
    metrics, logs = operations.anchored(settings.metrics, settings.logs, folder)
    embed = settings.embed
    if (model := Path(at(embed.model))).is_dir() or embed.model.startswith(("./", "../", "~")):
        embed = msgspec.structs.replace(embed, model=str(model))
    return msgspec.structs.replace(
        settings,
        home=at(settings.home),
        index=index,
        spool=spool,
        embed=embed,
        snapshots=snapshots,
        metrics=metrics,
        logs=logs,
    )


def _put(raw: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[last] = value


def _dotted(raw: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in raw.items():
        keys += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys
