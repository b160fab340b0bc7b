"""`[sources.NAME]`: what all kinds of source share, and each kind's own keys, typed by its connector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.connectors.connector import SourceOptions
from penstock.connectors.http.addresses import Allowance
from penstock.connectors.registry import NoConnector, connector
from penstock.flows.config import periods, schedules
from penstock.flows.config.keys import SettingsError, typed
from penstock.flows.config.names import NAMES, is_name

AtLeastOne = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=periods.LONGEST)]
Priority = Literal["urgent", "scheduled", "backfill"]
DEFAULT_TYPE = "files"


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one source allows all runs together. `patience`: seconds to wait for one that throttles or is down."""

    requests_per_second: Seconds | None = None
    concurrency: AtLeastOne = 4
    per_day: AtLeastOne | None = None
    patience: Annotated[float, Meta(ge=0, le=periods.LONGEST)] = 300.0


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where requests of one source may go and how long they may take. `allow`: networks or hosts that are private."""

    allow: tuple[str, ...] = ()
    ca_file: str | None = None
    connect_seconds: Seconds = 10.0
    read_seconds: Seconds = 30.0
    total_seconds: Seconds = 300.0
    attempts: AtLeastOne = 10
    retry_seconds: Seconds = 300.0


class _Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that every kind of source has."""

    type: str = DEFAULT_TYPE
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    full_every_hours: Annotated[float, Meta(ge=0, le=periods.LONGEST / 3600)] = 24.0
    max_mb: AtLeastOne | None = None
    schedule: str | None = None
    priority: Priority = "scheduled"
    freshness: str | None = None
    budget: dict[str, Any] = msgspec.field(default_factory=dict)
    network: dict[str, Any] = msgspec.field(default_factory=dict)


class SourceSettings(msgspec.Struct, frozen=True):
    """One source. `options` are its connector's own, paths absolute.

    `full_every_hours`: a source with a changes feed is listed whole that often. `max_mb` None: `parse.max_mb`.
    `schedule`: a cron expression, `every 15m`, or `none`; None: that of `[prefect]`. `priority`: who goes first where a
    device is wanted. `freshness`: the seconds within which a change at the source has to be searchable; None: no
    objective.
    """

    options: SourceOptions
    type: str = DEFAULT_TYPE
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    full_every_hours: float = 24.0
    max_mb: int | None = None
    schedule: str | None = None
    priority: Priority = "scheduled"
    freshness: float | None = None
    budget: BudgetSettings = BudgetSettings()
    network: NetworkSettings = NetworkSettings()


COMMON = tuple(_Common.__struct_fields__)


def source(name: str, raw: Any, folder: Path, where: str) -> SourceSettings:
    """The table `[sources.name]`. Raises `SettingsError`, one line: the file, the key, the fix."""
    prefix = f"sources.{name}"
    if not is_name(name):
        raise SettingsError(f"{where}: [{prefix}]: {NAMES}")
    table = raw if isinstance(raw, dict) else {}
    common = typed({key: value for key, value in table.items() if key in COMMON}, _Common, where, prefix)
    try:
        kind = connector(common.type)
    except NoConnector as wrong:
        raise SettingsError(f"{where}: {prefix}.type = {common.type!r}: {wrong}") from None
    own = {key: value for key, value in table.items() if key not in COMMON} if isinstance(raw, dict) else raw
    options = typed(own, kind.options, where, prefix, also=COMMON)
    try:
        options = options.anchored(folder)
    except ValueError as wrong:
        raise SettingsError(f"{where}: {prefix}.{wrong}") from None
    try:
        freshness = None if common.freshness is None else periods.seconds(common.freshness)
    except ValueError as wrong:
        raise SettingsError(f"{where}: {prefix}.freshness: {wrong}") from None
    try:
        schedules.schedule(schedules.NONE if common.schedule is None else common.schedule)
    except ValueError as wrong:
        raise SettingsError(f"{where}: {prefix}.schedule: {wrong}") from None
    network = typed(common.network, NetworkSettings, where, f"{prefix}.network")
    try:
        Allowance(network.allow)
    except ValueError as wrong:
        raise SettingsError(f"{where}: {prefix}.{wrong}") from None
    if network.ca_file:
        network = msgspec.structs.replace(network, ca_file=str(folder / Path(network.ca_file).expanduser()))
    return SourceSettings(
        options=options,
        type=common.type,
        metadata=common.metadata,
        labels=common.labels,
        full_every_hours=common.full_every_hours,
        max_mb=common.max_mb,
        schedule=common.schedule,
        priority=common.priority,
        freshness=freshness,
        budget=typed(common.budget, BudgetSettings, where, f"{prefix}.budget"),
        network=network,
    )


def check(sources: Mapping[str, SourceSettings], where: str) -> None:
    """Two folders that are one would index everything twice; two queries of one server are nobody's mistake."""
    folders: dict[str, str] = {}
    for name, each in sources.items():
        if each.type != DEFAULT_TYPE:
            continue
        other = folders.setdefault(each.options.binding(), name)
        if other != name:
            raise SettingsError(f"{where}: sources.{name}.path is that of sources.{other}; keep one of the two")
