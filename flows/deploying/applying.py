"""Brings a Prefect server in step with a configuration: work pool, queues, deployments, automations.

May be run again at any time, and cut short anywhere: each thing is looked at, and changed only if it is not as it
should be. Deployments without this configuration's tag are somebody else's. Of the queues only their order is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, DeploymentFilterTags
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from penstock.flows import prefect_api
from penstock.flows.answers.exits import UsageError
from penstock.flows.config.schedules import words
from penstock.flows.config.settings import Settings
from penstock.flows.deploying import deployed
from penstock.flows.deploying.deployments import Planned, mark, planned, too_slow
from penstock.flows.deploying.queues import DESCRIPTIONS, QUEUES, out_of_order
from penstock.index.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import WorkQueue
    from prefect.client.schemas.responses import DeploymentResponse

_PAGE = 200


class Outcome(msgspec.Struct, frozen=True):
    """What became of one deployment. `outcome`: made, changed, unchanged, deleted, kept, or theirs.

    `next`: when its schedule starts it, ISO 8601 in the schedule's time zone; "" if nothing does.
    """

    name: str
    outcome: str
    queue: str = ""
    schedule: str = ""
    next: str = ""
    detail: str = ""


class Applied(msgspec.Struct):
    """What was done, or would be. `notes` are for a person to read; `ok`: nothing of somebody else is in the way."""

    pool: str
    deployments: list[Outcome]
    infrastructure: list[str]
    automations: list[str]
    notes: list[str]
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        return not any(each.outcome == "theirs" for each in self.deployments)


class Wanted(msgspec.Struct, frozen=True):
    """How to go about it. `now`: seconds since 1970, for the next times that are told."""

    now: float
    keep: bool = False
    dry_run: bool = False
    take_over: bool = False


def apply(settings: Settings, config: Path, wanted: Wanted, home: Path | None = None) -> Applied:
    """Bring the configured server in step with the configuration at `config`, an absolute path.

    Raises `Unavailable` where it does not answer, `UsageError` where none is configured or it wants other credentials.
    """
    if not prefect_api.configured():
        raise UsageError(
            "no Prefect server is configured: set PREFECT_API_URL, such as http://127.0.0.1:4200/api; "
            "`penstock up` starts one here"
        )
    if why := prefect_api.wrong_place():
        raise UsageError(
            f"no Prefect API answers at {prefect_api.shown()} ({why}): set PREFECT_API_URL to one, such as "
            "http://127.0.0.1:4200/api"
        )
    if not prefect_api.there():
        raise Unavailable(
            f"the Prefect server of PREFECT_API_URL, {prefect_api.shown()}, does not answer: start it, or mend the URL"
        )
    with _plainly():
        return asyncio.run(_apply(settings, config, wanted, planned(settings, config, home)))


@contextmanager
def _plainly() -> Iterator[None]:
    """One line for a person, where the server refuses or goes away."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UsageError(
                "the Prefect server wants credentials, or other ones: set PREFECT_API_AUTH_STRING (a server of "
                "your own) or PREFECT_API_KEY"
            ) from None
        if status < 500:
            raise UsageError(f"the Prefect server refuses it: {_detail(error)}") from None
        raise Unavailable(f"the Prefect server fails with {status}; look into its log, then deploy again") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "httpx":  # a lost connection; httpx has a door of its own
            raise Unavailable("the Prefect server went away in the middle; deploy again once it answers") from None
        if "incompatible versions" in str(error):
            raise UsageError(str(error).partition(". ")[0] + "; docs/upgrade.md says which go together") from None
        raise


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        found: Any = error.response.json()
    except ValueError:
        found = None
    return str(found.get("detail", found) if isinstance(found, Mapping) else f"status {error.response.status_code}")


async def _apply(settings: Settings, config: Path, wanted: Wanted, plans: Sequence[Planned]) -> Applied:
    pool, tag = settings.prefect.work_pool, mark(config)
    async with get_client() as client:
        said = await _pool(client, pool, wanted.dry_run)
        found = await _found(client, tag, [each.name for each in plans])
        done = Applied(pool, [], said, [], too_slow(settings), wanted.dry_run)
        if not settings.sources:
            done.notes.append("no source is configured: nothing is ingested by itself")
        for plan in plans:
            done.deployments.append(await _one(client, plan, found.pop(plan.full_name, None), pool, tag, wanted))
        for name, other in sorted(found.items()):
            if tag in other.tags:
                if not (wanted.keep or wanted.dry_run):
                    await client.delete_deployment(other.id)
                done.deployments.append(Outcome(name, "kept" if wanted.keep else "deleted", detail="not configured"))
        if not wanted.dry_run:
            from penstock.flows.deploying import automations

            done.automations = await automations.install(client, settings)
        return done


async def _one(
    client: PrefectClient,
    plan: Planned,
    found: DeploymentResponse | None,
    pool: str,
    tag: str,
    wanted: Wanted,
) -> Outcome:
    outcome, detail = "unchanged", ""
    if found is None:
        outcome = "made"
        if not wanted.dry_run:
            await deployed.make(client, await client.create_flow_from_name(plan.flow), plan, pool)
    elif tag not in found.tags and not wanted.take_over:
        return Outcome(plan.full_name, "theirs", detail=_whose(found))
    elif changes := deployed.differences(found, plan, pool):
        outcome, detail = "changed", ", ".join(changes)
        if not wanted.dry_run:
            await deployed.change(client, found, plan, pool)
    at, why_not = await deployed.next_time(plan, datetime.fromtimestamp(wanted.now, UTC), found)
    said = why_not or (at.isoformat(timespec="seconds") if at else "")
    return Outcome(plan.full_name, outcome, plan.queue, words(plan.schedule), said, detail)


def _whose(found: DeploymentResponse) -> str:
    config = found.parameters.get("config")
    ours = any(tag.startswith("config:") for tag in found.tags)
    return f"made from {config}" if ours and config else "not made by penstock deploy"


async def _found(client: PrefectClient, tag: str, names: Sequence[str]) -> dict[str, DeploymentResponse]:
    """By full name: everything that is of this configuration, or has a name that it needs."""
    found: dict[UUID, DeploymentResponse] = {}
    for one in (
        DeploymentFilter(tags=DeploymentFilterTags(all_=[tag])),
        DeploymentFilter(name=DeploymentFilterName(any_=list(names))),
    ):
        page = [None] * _PAGE
        offset = 0
        while len(page) == _PAGE:
            page = await client.read_deployments(deployment_filter=one, limit=_PAGE, offset=offset)
            found |= {each.id: each for each in page}
            offset += _PAGE
    flows = {each: (await client.read_flow(each)).name for each in {one.flow_id for one in found.values()}}
    return {f"{flows[each.flow_id]}/{each.name}": each for each in found.values()}


async def _pool(client: PrefectClient, name: str, dry_run: bool) -> list[str]:
    """Make the work pool and its queues where they are missing, and put the queues in order. What was done."""
    said = []
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        said.append(f"work pool {name!r} of type process is made")
        if dry_run:
            return [*said, *(f"work queue {queue!r} is made" for queue in QUEUES)]
        template = ProcessWorker.get_default_base_job_template()
        with suppress(ObjectAlreadyExists):  # somebody else deploys at this moment
            await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    there = await _queues(client, name)
    for priority, queue in enumerate(QUEUES, 1):
        if queue not in there:
            said.append(f"work queue {queue!r} is made")
            with suppress(ObjectAlreadyExists):
                if not dry_run:
                    await client.create_work_queue(queue, DESCRIPTIONS[queue], priority=priority, work_pool_name=name)
    there = await _queues(client, name)
    if out_of_order({queue: each.priority for queue, each in there.items()}):
        said.append(f"the work queues are in order: {', '.join(QUEUES)}")
        for priority, queue in enumerate(QUEUES, 1) if not dry_run else ():
            await client.update_work_queue(there[queue].id, priority=priority)
    return said


async def _queues(client: PrefectClient, pool: str) -> dict[str, WorkQueue]:
    return {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
