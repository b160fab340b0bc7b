"""Which deployments a configuration asks for: a pure function of it, so that a new source edits one file.

One for each configured source, one for each thing that a person starts, one for each kind of upkeep. Their names are
contracts. Two configurations on one server are told apart by a tag, made from the configuration's place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from penstock.flows.config import schedules
from penstock.flows.config.schedules import Every, Schedule, schedule
from penstock.flows.config.settings import Settings
from penstock.flows.config.source_settings import SourceSettings
from penstock.flows.deploying.queues import Queue

Collision: TypeAlias = Literal["ENQUEUE", "CANCEL_NEW"]
OURS = "penstock"
"""The tag of everything that is deployed, and the slug of the one schedule that is ours."""
_OWNED = ("config:", "source:", "priority:")

_Upkeep: TypeAlias = tuple[str, str, Queue, str, str]
_UPKEEP: tuple[_Upkeep, ...] = (
    ("compact", "maintain", "backfill", "15 5 * * *", "Merge small segments, let old versions expire, free what nobody "
     "needs."),
    ("scrub", "maintain", "backfill", "15 6 * * 0", "Read every byte on every replica; with repair, make whole what is "
     "not. Ends Failed while something is wrong."),
    ("watch", "watch", "urgent", "every 5m", "Look whether everything is as it should be, and say what is not."),
)  # fmt: skip
_RECOVERY: tuple[_Upkeep, ...] = (
    ("ship", "recover", "scheduled", "every 5m", "Copy to the DR stores what is not there yet. Ends Failed where that "
     "cannot be done."),
    ("snapshot", "recover", "scheduled", "45 4 * * *", "Give the newest version a name in every DR store."),
    ("expire", "recover", "backfill", "15 7 * * 0", "Delete from the DR stores what their policy lets go of. Its "
     "worker needs the right to delete there."),
    ("drill", "recover", "backfill", "15 4 * * *", "Restore what was shipped into a scratch place. Ends Failed where "
     "it is not the index."),
)  # fmt: skip
_SNAPSHOTS_KEPT = "35d"
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One deployment as it should be. `limit`: so many of its runs at once; None: any number."""

    flow: str
    name: str
    entrypoint: str
    description: str
    parameters: Mapping[str, Any]
    queue: Queue
    tags: tuple[str, ...]
    schedule: Schedule = None
    timezone: str = "Etc/UTC"
    limit: int | None = 1
    collision: Collision = field(default="ENQUEUE")

    @property
    def full_name(self) -> str:
        """As Prefect writes it: `penstock-ingest/ingest-handbook`."""
        return f"{self.flow}/{self.name}"


def planned(settings: Settings, config: Path, home: Path | None = None) -> list[Planned]:
    """The deployments of the configuration that lies at `config`, an absolute path; names are unique.

    `home`: where it is not the configuration's own. Raises nothing: `load` has checked every schedule.
    """
    every: dict[str, Any] = {"config": str(config)} | ({"home": str(home)} if home else {})
    tags = (OURS, mark(config))
    zone = settings.prefect.timezone
    found = [_ingest(name, source, settings, every, tags) for name, source in settings.sources.items()]
    found += _on_demand(every, tags, zone)
    if settings.prefect.maintenance:
        upkeep = _UPKEEP + (_RECOVERY if settings.snapshots.places else ())
        found += [_upkeep(one, every, tags, zone) for one in upkeep]
    suffix = settings.prefect.suffix
    return [replace(each, name=f"{each.name}-{suffix}") for each in found] if suffix else found


def mark(config: Path) -> str:
    """The tag by which a configuration knows its own deployments; everything that lacks it is somebody else's."""
    return "config:" + hashlib.sha256(os.fsencode(os.path.normpath(config))).hexdigest()[:8]


def is_ours(tag: str) -> bool:
    """Whether penstock decides about this tag of its deployments; a person may add any other."""
    return tag == OURS or tag.startswith(_OWNED)


def _ingest(
    name: str, source: SourceSettings, settings: Settings, every: Mapping[str, Any], tags: tuple[str, ...]
) -> Planned:
    when = _when(source, settings)
    return Planned(
        flow="penstock-ingest",
        name=f"ingest-{name}",
        entrypoint="penstock.flows.ingest:ingest",
        description=f"Bring the index in step with {name}.",
        parameters={**every, "sources": [name], "priority": source.priority},
        queue=source.priority,
        tags=(*tags, f"source:{name}", f"priority:{source.priority}"),
        schedule=when,
        timezone=settings.prefect.timezone,
        collision=_collision(when),
    )


def _when(source: SourceSettings, settings: Settings) -> Schedule:
    """Its own schedule, else that of all; twice within its objective of freshness, where that of all is too slow."""
    if source.schedule is not None:
        return schedule(source.schedule)
    when = schedule(settings.prefect.schedule)
    if source.freshness is None or schedules.gap(when) <= source.freshness / 2:
        return when
    half = max(schedules.LEAST, source.freshness / 2)
    return Every(half) if half < _DAY / 2 else when


def too_slow(settings: Settings) -> list[str]:
    """What no run can help: an objective of freshness that the schedule cannot meet, or leaves no run any time for."""
    said = []
    for name, source in settings.sources.items():
        if source.freshness is not None and (gap := schedules.gap(_when(source, settings))) >= source.freshness:
            why = (
                "lets more pass" if gap > source.freshness else "lets all of that pass, so no run has time for its work"
            )
            said.append(
                f"sources.{name}.freshness is {source.freshness:.0f} s, and its schedule "
                f"({schedules.words(_when(source, settings)) or schedules.NONE}) {why}"
            )
    return said


def _collision(when: Schedule) -> Collision:
    """A run that comes again within the day is not waited for: runs would only pile up behind a long one."""
    return "CANCEL_NEW" if schedules.gap(when) < _DAY else "ENQUEUE"


def _on_demand(every: Mapping[str, Any], tags: tuple[str, ...], zone: str) -> list[Planned]:
    """What a person starts, by a form. Urgent runs do not wait for one another."""

    def one(name: str, queue: Queue, description: str, limit: int | None) -> Planned:
        return Planned(
            flow=f"penstock-{name}",
            name=name,
            entrypoint=f"penstock.flows.requests:{name}",
            description=description,
            parameters=every,
            queue=queue,
            tags=(*tags, f"priority:{queue}"),
            timezone=zone,
            limit=limit,
        )

    return [
        one("backfill", "backfill", "Ingest whole sources, or a window of time; gives way to everything else.", 1),
        one("urgent", "urgent", "Ingest these files or folders now, before everything else.", None),
        one("retry", "scheduled", "Do again exactly what failed.", 1),
    ]


def _upkeep(what: _Upkeep, every: Mapping[str, Any], tags: tuple[str, ...], zone: str) -> Planned:
    name, module, queue, words, description = what
    parameters = dict(every)
    if name == "expire":  # needs no home
        parameters.pop("home", None)
    if name == "snapshot":
        parameters["keep_for"] = _SNAPSHOTS_KEPT
    when = schedule(words)
    return Planned(
        flow=f"penstock-{name}",
        name=name,
        entrypoint=f"penstock.flows.{module}:{name}",
        description=description,
        parameters=parameters,
        queue=queue,
        tags=tags,
        schedule=when,
        timezone=zone,
        collision="CANCEL_NEW" if name in ("scrub", "expire", "drill") else _collision(when),
    )
