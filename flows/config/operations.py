"""`[prefect]`, `[metrics]`, `[logs]` and `[alerts]`: how runs are scheduled, and how people learn what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.flows.config import periods, schedules
from penstock.flows.config.keys import SettingsError

Named = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
Block = Annotated[str, Meta(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
Suffix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,19}$")]
NIGHTLY = "15 2 * * *"


class PrefectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `penstock deploy` makes. `schedule`: of each source that names none; `timezone`: of every schedule.

    `zombie_seconds`: a flow run without a heartbeat for so long counts as crashed. `maintenance`: whether compaction,
    scrubs, shipping, snapshots, expiry and drills are deployed as well. `notify`: the Prefect block that alerts go to,
    as type/name; None: they fire and tell nobody. `suffix`: ends the names of all deployments, so that two
    configurations have room on one server. `paths_anywhere`: whether who starts a deployment may name files outside of
    the configured sources.
    """

    work_pool: Named = "penstock"
    suffix: Suffix | None = None
    schedule: str = NIGHTLY
    timezone: str = "Etc/UTC"
    zombie_seconds: Annotated[float, Meta(ge=90, le=30 * 86_400)] = 180.0
    maintenance: bool = True
    notify: Block | None = None
    paths_anywhere: bool = False


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`textfile`: the folder that node_exporter's textfile collector reads; each run leaves its figures there."""

    textfile: str | None = None
    every_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 15.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`file`: where each run appends a JSON object a line; `-` is stderr, None: nowhere. `level`: the least of them."""

    file: str | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `penstock watch` calls too old: spans of time. Freshness is said per source: `sources.NAME.freshness`."""

    ship_behind: str = "30m"
    snapshot_age: str = "2d"
    drill_age: str = "2d"


def anchored(metrics: MetricsSettings, logs: LogSettings, folder: Path) -> tuple[MetricsSettings, LogSettings]:
    """With every path absolute, taken from `folder`."""
    if metrics.textfile is not None:
        metrics = msgspec.structs.replace(metrics, textfile=str(folder / Path(metrics.textfile).expanduser()))
    if logs.file not in (None, "-"):
        assert logs.file is not None
        logs = msgspec.structs.replace(logs, file=str(folder / Path(logs.file).expanduser()))
    return metrics, logs


def check_places(metrics: MetricsSettings, logs: LogSettings, where: str) -> None:
    """Of the paths as they are written, or anchored. Raises `SettingsError` for one where nothing can be written."""
    for key, path in (("metrics.textfile", metrics.textfile), ("logs.file", logs.file)):
        if path is not None and not path.strip():
            raise SettingsError(f"{where}: {key} is empty; give a path, or leave it out")
    if metrics.textfile is not None and Path(metrics.textfile).is_file():
        raise SettingsError(f"{where}: metrics.textfile: {metrics.textfile} is a file; give the folder to write into")
    if logs.file is not None and Path(logs.file).is_dir():
        raise SettingsError(f"{where}: logs.file: {logs.file} is a folder; give the file to write")


def check_schedule(prefect: PrefectSettings, where: str) -> None:
    """Raises `SettingsError`."""
    for key, check in (("schedule", schedules.schedule), ("timezone", schedules.check_zone)):
        try:
            check(getattr(prefect, key))
        except ValueError as wrong:
            raise SettingsError(f"{where}: prefect.{key}: {wrong}") from None


def check_alerts(alerts: AlertSettings, where: str) -> None:
    """Raises `SettingsError`."""
    for key in AlertSettings.__struct_fields__:
        try:
            periods.seconds(getattr(alerts, key))
        except ValueError as wrong:
            raise SettingsError(f"{where}: alerts.{key}: {wrong}") from None
