"""One deployment on a Prefect server: made, compared with what it should be, and changed where it is not.

What penstock decides is restored: flow, parameters that it sets, queue, limit, its own tags, its own schedule. The rest
stays a person's: pauses, schedules and tags and parameters that they added, job variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.server.schemas import schedules as server_schedules
from prefect.utilities.callables import parameter_schema

from penstock.flows.config.schedules import Cron, Every
from penstock.flows.deploying.deployments import OURS, Planned, is_ours

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse

_STEP = "prefect.deployments.steps.set_working_directory"


async def make(client: PrefectClient, flow_id: UUID, planned: Planned, pool: str) -> None:
    """Create it."""
    timed = _schedule(planned)
    fields = _fields(planned, pool)
    await client.create_deployment(
        flow_id=flow_id,
        name=planned.name,
        schedules=[DeploymentScheduleCreate(schedule=timed, slug=OURS)] if timed else [],
        paused=False,
        **fields,
    )


def differences(found: DeploymentResponse, planned: Planned, pool: str) -> list[str]:
    """What of it is not as it should be, in words; empty if nothing is."""
    there = _there(found, planned)
    said = [_WORDS.get(key, key) for key, value in _fields(planned, pool).items() if there[key] != value]
    ours = _our_schedule(found)
    if _timing(ours.schedule if ours else None) != _timing(_schedule(planned)):
        said.append("schedule")
    return sorted(set(said))


async def change(client: PrefectClient, found: DeploymentResponse, planned: Planned, pool: str) -> None:
    """Make it what it should be."""
    fields = _fields(planned, pool)
    taken = {key for key in found.parameters if key not in planned.parameters}
    known = fields["parameter_openapi_schema"]["properties"]
    fields["parameters"] |= {key: found.parameters[key] for key in taken if key in known}
    fields["tags"] += [tag for tag in found.tags if not is_ours(tag)]
    there = _there(found, planned)
    if any(there[key] != value for key, value in _fields(planned, pool).items()):
        await client.update_deployment(found.id, DeploymentUpdate(**fields))
    ours, timed = _our_schedule(found), _schedule(planned)
    if _timing(ours.schedule if ours else None) == _timing(timed):
        return
    if ours is None:
        await client.create_deployment_schedules(found.id, [DeploymentScheduleCreate(schedule=timed, slug=OURS)])
    elif timed is None:
        await client.delete_deployment_schedule(found.id, ours.id)
    else:
        await client.update_deployment_schedule(found.id, ours.id, schedule=timed)


async def next_time(planned: Planned, after: datetime, found: DeploymentResponse | None) -> tuple[datetime | None, str]:
    """(when its schedule starts it next, in the schedule's time zone; why it does not although it has one)."""
    timed = _schedule(planned)
    if timed is None:
        return None, ""
    ours = _our_schedule(found) if found else None
    if found is not None and (found.paused or (ours is not None and not ours.active)):
        return None, "paused"
    kind = getattr(server_schedules, type(timed).__name__)
    dates = await kind(**timed.model_dump()).get_dates(n=1, start=after)
    return (dates[0].astimezone(ZoneInfo(planned.timezone)) if dates else None), ""


_WORDS = {
    "pull_steps": "folder",
    "parameter_openapi_schema": "form",
    "enforce_parameter_schema": "form",
    "work_pool_name": "work pool",
    "work_queue_name": "queue",
    "concurrency_limit": "limit",
    "concurrency_options": "limit",
}


def _fields(planned: Planned, pool: str) -> dict[str, Any]:
    """What penstock decides of it, but for the schedule, as Prefect calls it."""
    limited = planned.limit is not None
    options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(planned.collision)) if limited else None
    return {
        "entrypoint": planned.entrypoint,
        "description": planned.description,
        "parameters": dict(planned.parameters),
        "parameter_openapi_schema": _form(planned.entrypoint),
        "enforce_parameter_schema": True,
        "pull_steps": [{_STEP: {"directory": str(Path(planned.parameters["config"]).parent)}}],
        "tags": list(planned.tags),
        "work_pool_name": pool,
        "work_queue_name": planned.queue,
        "concurrency_limit": planned.limit,
        "concurrency_options": options,
    }


def _there(found: DeploymentResponse, planned: Planned) -> Mapping[str, Any]:
    """The same of what is there, without what a person added."""
    limit = found.global_concurrency_limit
    return {
        "entrypoint": found.entrypoint,
        "description": found.description,
        "parameters": {key: value for key, value in found.parameters.items() if key in planned.parameters},
        "parameter_openapi_schema": found.parameter_openapi_schema,
        "enforce_parameter_schema": found.enforce_parameter_schema,
        "pull_steps": found.pull_steps,
        "tags": [tag for tag in planned.tags if tag in found.tags]
        + [tag for tag in found.tags if is_ours(tag) and tag not in planned.tags],
        "work_pool_name": found.work_pool_name,
        "work_queue_name": found.work_queue_name,
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": found.concurrency_options if limit else None,
    }


@cache
def _form(entrypoint: str) -> dict[str, Any]:
    """What the server makes a form of, and refuses bad values and misspelt parameters by."""
    module, name = entrypoint.split(":")
    form: dict[str, Any] = parameter_schema(getattr(import_module(module), name)).model_dump_for_openapi()
    return {**form, "additionalProperties": False}


def _schedule(planned: Planned) -> CronSchedule | IntervalSchedule | None:
    """Intervals are counted from a midnight of the time zone, so that to deploy again moves nothing."""
    match planned.schedule:
        case Cron(expression):
            return CronSchedule(cron=expression, timezone=planned.timezone)
        case Every(seconds):
            anchor = datetime(2024, 1, 1, tzinfo=ZoneInfo(planned.timezone)).astimezone(UTC)
            return IntervalSchedule(interval=timedelta(seconds=seconds), anchor_date=anchor, timezone=planned.timezone)
    return None


def _our_schedule(found: DeploymentResponse) -> DeploymentSchedule | None:
    return next((each for each in found.schedules if each.slug == OURS), None)


def _timing(schedule: Any) -> tuple[Any, ...]:
    """What a schedule comes to, however it was read."""
    match schedule:
        case None:
            return ()
        case CronSchedule():
            return schedule.cron, schedule.timezone, schedule.day_or
        case IntervalSchedule():
            return schedule.interval, schedule.timezone, schedule.anchor_date.timestamp()
        case _:
            return (type(schedule).__name__,)
