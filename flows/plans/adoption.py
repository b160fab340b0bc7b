"""What a run may still use of a shard that an interrupted run left in the spool.

Whoever decides this must not believe the shard: since it was made, the source, the index and the configuration went on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from penstock.flows.plans.plan import Find, SourcePlan, Todo
from penstock.flows.spools.spool import Shard
from penstock.index.types import DocState

LINGER = 30 * 86_400.0
"""Seconds after which a shard that no run could use is removed: its source was removed, or is never listed whole."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A shard that an interrupted run left, and which of its documents this run still wants."""

    shard: Shard
    wanted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Use:
    """`wanted`: the uris to take over. `later`: how many others another run may want."""

    wanted: frozenset[str]
    later: int = 0

    @property
    def worth(self) -> bool:
        """Whether the shard is to be used up now, although what it has for later is lost then."""
        return len(self.wanted) > 0 and len(self.wanted) >= self.later


def use_of(shard: Shard, plan: SourcePlan, carried: str, find: Find) -> Use:
    """What `plan` wants of a shard whose fingerprint is right. `carried` is today's `Rules.carried`."""
    whole = shard.uris_with_text()
    todo = {each.item.uri: each for each in plan.todo}
    wanted = frozenset(state.uri for state in shard.states() if _wanted(state, whole, todo.get(state.uri), carried))
    if plan.complete and plan.listed and not (plan.filtered or plan.gaps or plan.withheld):
        return Use(wanted)  # whatever the plan does not name is as it should be, or gone
    others = [s for s in shard.states() if s.uri not in todo and s.uri not in plan.adopted and s.status != "failed"]
    known = find([state.uri for state in others])
    return Use(wanted, sum(not _superseded(state, known.get(state.uri)) for state in others))


def _wanted(state: DocState, whole: Collection[str], todo: Todo | None, carried: str) -> bool:
    """The same item at the same version, not a failure, under what the configuration says of it today. One that was
    only touched brings no rows along: it must be as the index has it now."""
    if todo is None or state.status == "failed" or state.version != todo.item.version:
        return False
    if state.status != "indexed":
        return True
    if state.carried.partition(".")[0] != carried:
        return False
    prior = todo.prior
    served = (prior.content, prior.carried, prior.chunks) if prior is not None else ("", "", 0)
    return state.uri in whole or (state.content, state.carried, state.chunks) == served


def _superseded(state: DocState, known: DocState | None) -> bool:
    """Whether the index has this version by now, or one that was fetched later."""
    return known is not None and (known.version == state.version or known.fetched_at >= state.fetched_at)


def stale(shard: Shard, now: float) -> bool:
    """Whether it was begun so long ago that nobody will come for it."""
    return now - shard.begun > LINGER
