"""When a source's cursor may move: never past a document that is not in the index, as itself or as a failure with a
next try.

A cursor is part of what a run commits anyway. A run that found nothing to do commits none, or quiet sources would make
a version each time; only that everything was listed, which is due once in a while, is worth a commit of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from penstock.flows.plans.plan import SourcePlan
from penstock.flows.plans.targets import Target
from penstock.index.types import DocState, SourceState


def moved(
    plans: Iterable[SourcePlan], targets: Iterable[Target], landed: Collection[DocState], now: float
) -> dict[str, SourceState | None]:
    """The sources whose cursor moves, as they are to be committed. `landed` is what this run committed."""
    states = {target.source.name: target for target in targets}
    done: dict[str, set[str]] = {}
    for state in landed:
        done.setdefault(state.source, set()).add(state.uri)
    found: dict[str, SourceState | None] = {}
    for plan in plans:
        target, mine = states[plan.source], done.get(plan.source, set())
        if plan.cursor is None or not plan.settled or not _all_done(plan, mine):
            continue
        source = target.source
        late = now - source.listed_at >= target.full_every
        due = plan.complete and (late or not source.cursor or source.described != target.described)
        if plan.complete:
            source = msgspec.structs.replace(source, listed_at=now, described=target.described)
        if mine or due:
            found[plan.source] = msgspec.structs.replace(source, cursor=plan.cursor)
    return found


def _all_done(plan: SourcePlan, done: Collection[str]) -> bool:
    wanted = {todo.item.uri for todo in plan.todo} | plan.adopted | {state.uri for state in plan.gone}
    return wanted <= set(done)
