"""The automations that penstock brings to a Prefect server: what pages somebody, and what ends runs that died unseen.

One set for each server, known by its names. Without a block to notify they do nothing but fire, which the event feed
shows. Each one's description names the page of docs/runbooks that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from penstock.flows.config.keys import SettingsError
from penstock.flows.config.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient

PREFIX = "penstock: "
HEARTBEAT = "prefect.flow-run.heartbeat"
WATCH_SILENT = timedelta(minutes=30)
"""Six looks of `penstock-watch` in a row that did not come."""

_ANY_EVENT_OF_A_RUN = "prefect.flow-run.*"
_PROBLEM = "penstock.watch.problem"
_OURS = {"prefect.resource.role": "flow", "prefect.resource.name": "penstock-*"}
_HOMES = {"prefect.resource.id": "penstock.home.*"}
_SAID = (
    "{{ event.resource.name }}{% for key, value in event.payload.items() %}\n"
    "{{ key }}: {{ value }}{% endfor %}\n\nWhat to do: docs/runbooks/PAGE.md"
)
_EVENTS = (
    # name, event, what is wrong, page
    ("source is away", "penstock.source.breaker-open", "A source fails so often that it is left alone for a while.",
     "alert-breaker-open"),
    ("replica degraded", "penstock.replica.degraded", "A replica lacks what was committed.", "alert-replica-degraded"),
    ("deletions withheld", "penstock.deletions.withheld",
     "So much is gone from a source that it is not believed: the documents stay until somebody confirms.",
     "alert-deletions-withheld"),
    ("drill failed", "penstock.drill.failed", "What was shipped does not bring the index back, or nobody could try.",
     "alert-drill-failed"),
    ("freshness breached", "penstock.freshness.breached",
     "A source's changes are not searchable within the time that its configuration asks for.", "alert-freshness"),
)  # fmt: skip


def definitions(settings: Settings, block: UUID | None = None) -> list[AutomationCore]:
    """All of them. `block`: the notification block that alerts go to; None: they do nothing."""
    found = [*_alerts(block), _zombies(settings.prefect.zombie_seconds), _commits()]
    return [*found, _silence(block)] if settings.prefect.maintenance else found


async def install(client: PrefectClient, settings: Settings) -> list[str]:
    """Make or change them on the server; what is right is left alone. Returns a line for each made or changed.

    One that somebody disabled stays disabled, and without `prefect.notify` actions that somebody gave one stay. Raises
    `SettingsError` where `prefect.notify` names no block of that server.
    """
    block = await _block(client, settings.prefect.notify) if settings.prefect.notify else None
    every = definitions(settings, block)
    ours = AutomationFilter(name=AutomationFilterName(any_=[each.name for each in every]))
    found_there = await client.read_automations(automations=ours, sort=AutomationSort.CREATED_DESC)
    there = {each.name: each for each in found_there}
    said = []
    for wanted in every:
        if (found := there.get(wanted.name)) is None:
            await client.create_automation(wanted)
            said.append(f"automation {wanted.name!r} is made")
            continue
        meant = wanted.model_copy(update={"enabled": found.enabled})
        if not _changes_state(wanted) and (block is None or wanted.name == _commits().name):
            meant.actions = found.actions
        if told(meant) != told(found):
            await client.update_automation(found.id, meant)
            said.append(f"automation {wanted.name!r} is changed")
    return said


def _alerts(block: UUID | None) -> Iterator[AutomationCore]:
    for name, event, wrong, page in _EVENTS:
        yield _automation(name, wrong, page, _at_once({event}, _HOMES), [_notify(block, name, page)])
    name, page, problems = "watch found a problem", "alert-ship-behind", {_PROBLEM, f"{_PROBLEM}.*"}
    wrong = "A DR store is behind, or a snapshot or a drill is too old ([alerts]): the payload says which."
    found = _automation(name, wrong, page, _at_once(problems, _HOMES), [_notify(block, name, page)])
    found.description += " (snapshots: docs/runbooks/alert-snapshot-old.md)"
    yield found
    name, page = "run failed", "alert-run-failed"
    bad = {"prefect.resource.id": "prefect.flow-run.*", "prefect.state-type": ["FAILED", "CRASHED"]}
    trigger = _at_once({_ANY_EVENT_OF_A_RUN}, bad, _OURS)  # a state may have any name: its type tells
    body = (
        "{{ flow.name }}: {{ flow_run.name }}\n{{ flow_run.state.name }}: {{ flow_run.state.message }}\n"
        "{{ flow_run|ui_url }}\n\nWhat to do: docs/runbooks/alert-run-failed.md"
    )
    yield _automation(
        name, "A run could not finish, or its process died.", page, trigger, [_notify(block, name, page, body)]
    )


def _silence(block: UUID | None) -> AutomationCore:
    name, page = "watch is silent", "alert-watch-silent"
    trigger = EventTrigger(
        posture=Posture.Proactive,
        match={"prefect.resource.id": "prefect.flow-run.*", "prefect.state-type": "COMPLETED"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": "penstock-watch"},
        expect={_ANY_EVENT_OF_A_RUN},
        threshold=1,
        within=WATCH_SILENT,
    )
    wrong = "No look of penstock-watch for half an hour: a worker that is down raises no other event."
    body = f"{wrong}\n\nWhat to do: docs/runbooks/{page}.md"
    return _automation(name, wrong, page, trigger, [_notify(block, name, page, body)])


def _zombies(seconds: float) -> AutomationCore:
    """Pages nobody itself: the run that it ends is a crashed one, and that is an alert of its own."""
    page = "alert-zombie-run"
    return _automation(
        "zombie run",
        f"A run gave no sign of life for {seconds:.0f} s: it is marked as crashed, so that nobody waits for it.",
        page,
        EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_OURS,
            after={HEARTBEAT},
            # Any event of the run, because a final state is called what its flow calls it.
            expect={_ANY_EVENT_OF_A_RUN},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        [
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"No sign of life for {seconds:.0f} s: its process, its machine or the way to it is gone. What "
                "it had committed stays, and the next run goes on from there; start one, or wait for the schedule. "
                f"See docs/runbooks/{page}.md",
            )
        ],
    )


def _commits() -> AutomationCore:
    return AutomationCore(
        name=f"{PREFIX}committed",
        description="A version was committed. Disabled: give it an action of yours, such as a deployment that comes "
        "after, and enable it. It is never changed again.",
        enabled=False,
        tags=["penstock"],
        trigger=_at_once({"penstock.commit"}, _HOMES),
        actions=[DoNothing()],
    )


def _automation(name: str, wrong: str, page: str, trigger: EventTrigger, actions: list[ActionTypes]) -> AutomationCore:
    return AutomationCore(
        name=f"{PREFIX}{name}",
        description=f"{wrong} What to do: docs/runbooks/{page}.md",
        enabled=True,
        tags=["penstock"],
        trigger=trigger,
        actions=actions,
    )


def _at_once(expect: set[str], match: dict[str, Any], related: dict[str, Any] | None = None) -> EventTrigger:
    """Fires at each event: whoever tells of something tells it once."""
    return EventTrigger(
        posture=Posture.Reactive,
        match=match,
        match_related=related or {},
        expect=expect,
        threshold=1,
        within=timedelta(0),
    )


def _notify(block: UUID | None, name: str, page: str, body: str = _SAID) -> ActionTypes:
    if block is None:
        return DoNothing()
    return SendNotification(block_document_id=block, subject=f"{PREFIX}{name}", body=body.replace("PAGE", page))


def _changes_state(automation: AutomationCore) -> bool:
    return any(isinstance(action, ChangeFlowRunState) for action in automation.actions)


def told(automation: AutomationCore) -> dict[str, Any]:
    """As Python has it: JSON would list the members of a set in any order."""
    told = {"description", "enabled", "tags", "trigger", "actions"}
    return automation.model_dump(include=told)  # type: ignore[no-any-return]


async def _block(client: PrefectClient, slug: str) -> UUID:
    kind, _, name = slug.partition("/")
    try:
        found: UUID = (await client.read_block_document_by_name(name, kind)).id
    except ObjectNotFound:
        raise SettingsError(
            f"prefect.notify = {slug!r}: that Prefect server has no such block; make one there (Blocks), write its "
            "type and name as TYPE/NAME, or leave the key out"
        ) from None
    return found
