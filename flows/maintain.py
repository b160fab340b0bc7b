"""The Prefect flows that care for an index that is there: `penstock-compact` and `penstock-scrub`.

Thin over `flows/runs/upkeep.py`, as the commands are. Each may be cut short anywhere and run again; neither is retried.
Deploy them by module path: `penstock.flows.maintain:compact`, `penstock.flows.maintain:scrub`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from penstock.flows import naming
from penstock.flows.answers import render
from penstock.flows.commands.context import opened_by_flow
from penstock.flows.deploying.heartbeat import quicken
from penstock.flows.parameters import Rate
from penstock.flows.runs import upkeep
from penstock.flows.sources.redactor import PREFECT, clean_logs

quicken()


@flow(
    name="penstock-compact",
    flow_run_name=naming.by_home,
    description="Merge small segments, let old versions expire, and free what nobody needs.",
    retries=0,
    persist_result=False,
)
def compact(home: str | None = None, config: str | None = None, full: bool = False) -> State[Any]:
    """Compact, then collect as `[keep]` says.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
        full: Into as few segments as there can be, however long that takes.
    """
    clean_logs(*PREFECT)
    settings, where = opened_by_flow(home, config)
    if where is None:
        return Completed(name="Skipped", message="nothing was ever committed: there is nothing to care for yet")
    notes: list[str] = []
    merged = upkeep.compact(settings, where, notes.append, _quietly, full)
    swept = upkeep.collect(settings, where, notes.append, _quietly)
    said = [render.compacted(merged).split("\n")[0], *render.collected(swept, False).splitlines()]
    _artifact("penstock-compact", "What compaction and collection did", said, notes)
    data = {"compacted": msgspec.to_builtins(merged), "collected": msgspec.to_builtins(swept)}
    if swept.left_out:
        return Completed(name="Incomplete", message=f"left out: {', '.join(swept.left_out)}", data=data)
    return Completed(message=said[0], data=data)


@flow(
    name="penstock-scrub",
    flow_run_name=naming.by_home,
    description="Read every byte on every replica, and repair what is wrong if that is asked for.",
    retries=0,
    persist_result=False,
)
def scrub(
    home: str | None = None, config: str | None = None, repair: bool = False, rate_mb: Rate | None = None
) -> State[Any]:
    """Verify; with `repair`, make whole what is not. Ends `Failed` while something is wrong: somebody must look.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
        repair: Make whole what is not, from the other replicas.
        rate_mb: At most so many megabytes a second from each replica; none: as the configuration says.
    """
    clean_logs(*PREFECT)
    settings, where = opened_by_flow(home, config)
    if where is None:
        return Completed(name="Skipped", message="nothing was ever committed: there is nothing to care for yet")
    notes: list[str] = []
    findings = upkeep.verify(settings, where, _quietly, rate_mb)
    said = render.findings(findings).splitlines()
    data: dict[str, Any] = {"findings": [msgspec.structs.asdict(finding) for finding in findings]}
    state: State[Any] = Completed(message=said[0], data=data)
    if findings and not repair:
        state = Failed(message=f"{said[0]} Run penstock repair, or this flow with repair=true.", data=data)
    elif findings:
        done = upkeep.repair(settings, where, notes.append, _quietly, rate_mb)
        said += ["", *render.repaired(done).splitlines()]
        data["repaired"] = msgspec.to_builtins(done)
        if not done.whole or done.documents or done.lost:
            state = Failed(message="repaired as far as it goes; see the artifact for what is left", data=data)
        else:
            state = Completed(name="Repaired", message=f"{len(findings)} findings, all repaired", data=data)
    _artifact("penstock-scrub", "What is wrong, and what was repaired", said, notes)
    return state


def _artifact(key: str, description: str, said: list[str], notes: list[str]) -> None:
    lines = [f"    {render.plain(line)}" for line in said]
    if notes:
        lines += ["", "Notes:", "", *(f"    {render.plain(note)}" for note in notes)]
    create_markdown_artifact(markdown="\n".join(lines), key=key, description=description)


def _quietly(what: str, done: int, total: int) -> None:
    return
