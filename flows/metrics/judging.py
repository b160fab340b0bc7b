"""What of a look somebody has to see to, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.flows.answers import readonly
from penstock.flows.answers.health import ANSWER
from penstock.flows.answers.render import count, duration, size
from penstock.flows.metrics.look import Look, Problem, StoreLook
from penstock.flows.recovery import remedies

if TYPE_CHECKING:
    from penstock.flows.answers.health import Health
    from penstock.flows.answers.recovery import Recovery

LASTING = 600.0
"""Seconds for which something may last that passes by itself most of the time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds beyond which something is too old. `since`: the age of the home: what is younger cannot be late."""

    ship_behind: float
    snapshot_age: float
    drill_age: float
    since: float


def problems(
    look: Look, health: Health | None, recovery: Recovery | None, limits: Limits, fault: str
) -> tuple[Problem, ...]:
    """`health` and `recovery` None: not learned. `fault`: why the index could not be read, "" if it could."""
    found = [Problem("index", "", f"the index cannot be read: {fault}")] if fault else []
    found += _writing(health, recovery)
    found += _replicas(look)
    found += _stores(look, recovery, limits)
    found += _freshness(look)
    for name, why in look.held.items():
        if why:
            found.append(Problem("held", name, f"source {name} is held: {why}", f"penstock sources resume {name}"))
    for name, budget in look.budgets.items():
        if budget.breaker_open:
            said = f"source {name} only fails, and is left alone but for probes"
            found.append(Problem("breaker", name, said, f"penstock sources test {name}"))
    return tuple(found)


def _writing(health: Health | None, recovery: Recovery | None) -> Iterator[Problem]:
    fenced = [one.fenced for one in recovery.stores if one.fenced] if recovery else []
    if recovery and (why := next(iter(fenced), recovery.fenced)):
        yield Problem("writing", "", f"writing is refused: {why}", remedies.RESTORED)
    if health is None:
        return
    if health.readonly:
        said = f"nothing can be written, reading goes on: {health.readonly}"
        yield Problem("writing", "", said, readonly.STEP)
    if health.misconfigured:
        yield Problem("writing", "", f"writing is refused: {health.misconfigured}", health.fix or "penstock status")
    for obstacle in health.obstacles[:1]:
        patience = LASTING if health.fix == ANSWER else 0.0  # the catalog's server may be starting anew
        yield Problem("writing", "", f"writing is stopped: {obstacle}", health.fix or "penstock status", patience)
    if health.recovers:
        yield Problem("writing", "catalog", f"{health.recovers}; the next ingest makes it again", "penstock ingest")


def _replicas(look: Look) -> Iterator[Problem]:
    for name, one in look.replicas.items():
        if not one.up:
            lacks = f"; it lacks {size(one.lacks)}" if one.lacks else ""
            patience = LASTING if f"replica {name}" in look.late else 0.0  # slow for a moment, or gone
            yield Problem("replica", name, f"replica {name}: {one.problem}{lacks}", "penstock status", patience)
        elif one.lacks:
            said = f"replica {name} lacks {size(one.lacks)} of version {look.version}"
            yield Problem("replication", name, said, "penstock repair", LASTING)


def _stores(look: Look, recovery: Recovery | None, limits: Limits) -> Iterator[Problem]:
    for one in recovery.stores if recovery else []:
        behind = look.stores[one.place].lag_seconds
        late = behind is not None and behind > limits.ship_behind
        if late and behind is not None:
            said = f"DR store {one.place} lacks {count(one.versions_behind or 0, 'version')}, {duration(behind)} behind"
            yield Problem("ship", one.place, f"{said}: {one.problem}" if one.problem else said, one.step)
        elif one.problem and not one.fenced and (look.version != 0 or limits.since > limits.ship_behind):
            yield Problem("store", one.place, f"DR store {one.place}: {one.problem}", one.step, limits.ship_behind)
    yield from _old(look.stores, "snapshot", limits.snapshot_age, limits.since, "penstock snapshot create")
    yield from _old(look.stores, "drill", limits.drill_age, limits.since, "penstock drill")
    for unproven in recovery.unproven if recovery else []:
        yield Problem("drill-failed", unproven.partition(":")[0], unproven, "penstock drill")


def _old(stores: Mapping[str, StoreLook], what: str, limit: float, since: float, step: str) -> Iterator[Problem]:
    said = "snapshot" if what == "snapshot" else "drill that passed"
    for name, one in stores.items():
        age = one.snapshot_age if what == "snapshot" else one.passed_age
        if what == "snapshot" and not one.snapshots_known:
            continue  # what is wrong is said already
        if age is None and since > limit:
            yield Problem(what, name, f"DR store {name}: there was no {said} yet", step)
        elif age is not None and age > limit:
            yield Problem(what, name, f"DR store {name}: the last {said} is {duration(age)} old", step)


def _freshness(look: Look) -> Iterator[Problem]:
    for name, one in look.freshness.items():
        if one.breached and one.age is not None and one.objective is not None:
            said = f"source {name} is {duration(one.age)} old, and may be {duration(one.objective)}"
            yield Problem("freshness", name, said, f"penstock ingest {name}")
