"""The Prefect flows for the day on which everything here is lost: `penstock-ship`, `-snapshot`, `-expire` and `-drill`.

Thin over `flows/recovery/`, as the commands are. Each may be cut short anywhere and run again; none is retried.
Deploy them by module path: `penstock.flows.recover:ship` and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from penstock.flows import naming, wiring
from penstock.flows.answers import drill as drill_answers
from penstock.flows.answers import snapshots as snapshot_answers
from penstock.flows.answers.account_table import shipped
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, outcome
from penstock.flows.commands.context import opened_by_flow
from penstock.flows.commands.moments import period
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.deploying.heartbeat import quicken
from penstock.flows.parameters import AtLeastOne, Days, Period
from penstock.flows.recovery import drill as drills
from penstock.flows.recovery import shipping, snapshots
from penstock.flows.runs.stop import Stop, on_signals
from penstock.flows.sources.redactor import PREFECT, REDACTOR, clean_logs
from penstock.flows.telling.emit import emit
from penstock.flows.telling.names import DRILL_FAILED

quicken()


@flow(
    name="penstock-ship",
    flow_run_name=naming.by_home,
    description="Bring the DR stores up to the newest version.",
    retries=0,
    persist_result=False,
)
def ship(home: str | None = None, config: str | None = None) -> State[Any]:
    """Copy to each DR store what it lacks. Ends `Failed` where that could not be done: somebody must look.

    Ends `Completed`, named `Behind`, if more was committed meanwhile than was shipped, and named `Skipped` where no DR
    store is configured, or nothing was ever committed.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
    """
    clean_logs(*PREFECT)
    settings, where = opened_by_flow(home, config)
    if not settings.snapshots.places:
        return Completed(name="Skipped", message="no DR store is configured ([snapshots] store): nothing to ship")
    if where is None:
        return Completed(name="Skipped", message="nothing was committed yet")
    stop, warn = Stop(), get_run_logger().warning
    with on_signals(stop, lambda _: warn("stopping: what is left is shipped by the next run")):
        figures, code = shipping.catch_up(settings, where, warn, stopped=stop)
    left = REDACTOR.clean("; ".join(shipping.told(figures)))
    data = msgspec.to_builtins(figures)
    if code == COMPLETE:
        return Completed(message="; ".join(shipped(figures)), data=data)
    return Completed(name="Behind", message=left, data=data) if code == INCOMPLETE else Failed(message=left, data=data)


@flow(
    name="penstock-snapshot",
    flow_run_name=naming.by_home,
    description="Give the newest version a name in every DR store, and keep it there.",
    retries=0,
    persist_result=False,
)
def snapshot(
    home: str | None = None, config: str | None = None, name: str | None = None, keep_for: Period | None = None
) -> State[Any]:
    """Ship what is not there yet, then name it. Ends `Failed` where not every DR store has it.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
        name: What it is called; none: the time.
        keep_for: How long it is kept, 35d, 12h or 2w; none: as long as it is one of the last ([snapshots] keep_last).
    """
    clean_logs(*PREFECT)
    settings, where = opened_by_flow(home, config)
    if not settings.snapshots.places:
        return Completed(name="Skipped", message="no DR store is configured ([snapshots] store): nothing to name")
    if where is None:
        return Completed(name="Skipped", message="nothing was committed yet")
    keep, stop, warn = period("keep_for", keep_for), Stop(), get_run_logger().warning
    with on_signals(stop, lambda _: warn("stopping: no snapshot is taken")):
        done = snapshots.create(settings, where, name or "", warn, stopped=stop, keep_seconds=keep)
    said = _page_of("penstock-snapshot", "The snapshot that was taken", snapshot_answers.created(done))
    data = msgspec.to_builtins(done)
    return Failed(message=said, data=data) if done.code else Completed(message=said, data=data)


@flow(
    name="penstock-expire",
    flow_run_name=naming.by_home,
    description="Delete from the DR stores the snapshots and versions that their policy lets go of.",
    retries=0,
    persist_result=False,
)
def expire(
    config: str | None = None, keep_last: AtLeastOne | None = None, keep_days: Days | None = None, dry_run: bool = False
) -> State[Any]:
    """Let go of what `[snapshots]`, or these parameters, do not keep. Needs the right to delete there, and no home.

    Args:
        config: The configuration file (penstock.toml).
        keep_last: Keep so many snapshots that have no time of their own; none: as the configuration says.
        keep_days: Keep each version for so many days; none: as the configuration says.
        dry_run: Say what would go; delete nothing.
    """
    clean_logs(*PREFECT)
    settings = load(wiring.configured(config))
    if not settings.snapshots.places:
        return Completed(name="Skipped", message="no DR store is configured ([snapshots] store): nothing to expire")
    kept = settings.snapshots
    done = snapshots.expire(
        snapshots.opened(settings, (), get_run_logger().warning),
        _quietly,
        keep_last=kept.keep_last if keep_last is None else keep_last,
        keep_days=kept.keep_days if keep_days is None else keep_days,
        dry_run=dry_run,
    )
    said = _page_of("penstock-expire", "What went from the DR stores", snapshot_answers.expired(done, dry_run))
    data = msgspec.to_builtins(done)
    return Failed(message=said, data=data) if done.code else Completed(message=said, data=data)


@flow(
    name="penstock-drill",
    flow_run_name=naming.by_home,
    description="Restore what was shipped into a scratch place, verify it, and compare its answers with production's.",
    retries=0,
    persist_result=False,
)
def drill(home: str | None = None, config: str | None = None, scratch: str | None = None) -> State[Any]:
    """Hold a drill with each DR store.

    Ends `Failed`, after the event `penstock.drill.failed`, where it did not pass or could not be held.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
        scratch: An existing folder to restore into; none: the home, for as long as it takes.
    """
    clean_logs(*PREFECT)
    settings, where = opened_by_flow(home, config)
    if not settings.snapshots.places:
        return Completed(name="Skipped", message="no DR store is configured ([snapshots] store): nothing to drill")
    if where is None:
        return Completed(name="Skipped", message="nothing was committed yet")
    wanted = drills.Wanted(scratch=Path(scratch) if scratch else None)
    try:
        done = drills.drill(settings, where, wanted, get_run_logger().warning, _quietly)
    except Exception as error:
        _page(where, "undone", [outcome(REDACTOR.cleaned(error))[2]])
        raise
    page = REDACTOR.clean(drill_answers.markdown(done))
    create_markdown_artifact(markdown=page, key="penstock-drill", description="Whether what was shipped is the index")
    data, said = msgspec.to_builtins(done), REDACTOR.clean(drill_answers.sentence(done))
    if done.result == "passed":
        return Completed(message=said, data=data)
    _page(where, done.result, done.reasons)
    return Failed(message=said, data=data)


def _page_of(key: str, description: str, said: str) -> str:
    """Leave it as an artifact; return it in one line."""
    said = REDACTOR.clean(said)
    page = "\n".join(f"    {line}" for line in said.splitlines())
    create_markdown_artifact(markdown=page, key=key, description=description)
    return "; ".join(line.strip() for line in said.splitlines() if line)


def _page(home: Home, result: str, reasons: Sequence[str]) -> None:
    """Say so where automations listen."""
    emit(DRILL_FAILED, str(home.path), {"result": result, "reasons": list(reasons)})


def _quietly(what: str, done: int, total: int) -> None:
    return
