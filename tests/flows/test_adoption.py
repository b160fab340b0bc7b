"""What runs that ended early left in the spool is used as far as it is still right."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.connectors.types import Gap, Item
from penstock.flows.plans import adoption
from penstock.flows.plans.plan import SourcePlan, Todo
from penstock.flows.spools.shard_writer import ShardWriter
from penstock.flows.spools.spool import Shard, closed
from penstock.index.types import DocState, DocText


def state(name: str, version: str = "v1", **said: object) -> DocState:
    return DocState(f"far/{name}", "far", **{"status": "indexed", "version": version, "chunks": 1, **said})  # type: ignore[arg-type]


def shard_of(folder: Path, *states: DocState, touched: tuple[str, ...] = ()) -> Shard:
    """A shard of these; `touched` ones bring no text along."""
    writer = ShardWriter(folder / "shard-01800000000000-x", "far", "")
    for each in states:
        fresh = each.status == "indexed" and each.uri not in touched
        writer.add(each, DocText(each.uri, each.content, "text") if fresh else None, [])
    return closed(writer)


def plan_of(*todo: tuple[str, str, DocState | None], complete: bool = False) -> SourcePlan:
    entries = [Todo(Item(f"far/{name}", name, version), prior) for name, version, prior in todo]
    return SourcePlan("far", complete, todo=entries)


def used(shard: Shard, plan: SourcePlan, carried: str = "", *known: DocState) -> adoption.Use:
    index = {each.uri: each for each in known}
    return adoption.use_of(shard, plan, carried, lambda uris: {uri: index[uri] for uri in uris if uri in index})


def test_what_changed_failed_or_is_said_differently_now_is_not_wanted(tmp_path: Path) -> None:
    """Another version, a failure, and labels that the configuration no longer gives."""
    shard = shard_of(
        tmp_path,
        state("a"),
        state("b", "v1"),
        state("c", status="failed", chunks=0),
        state("d", carried="old."),
        state("e", status="rejected", chunks=0),
    )
    plan = plan_of(*((name, "v2" if name == "b" else "v1", None) for name in "abcde"))
    assert used(shard, plan) == adoption.Use(frozenset({"far/a", "far/e"}))
    assert used(shard, plan, "old") == adoption.Use(frozenset({"far/d", "far/e"}))


def test_a_touched_document_must_be_what_the_index_serves(tmp_path: Path) -> None:
    """It brings no rows along: over another content it would say of the rows what they are not."""
    shard = shard_of(tmp_path, state("a", content="x"), touched=("far/a",))
    same, other = state("a", "v0", content="x"), state("a", "v0", content="y")
    assert used(shard, plan_of(("a", "v1", same))).worth
    assert not used(shard, plan_of(("a", "v1", other))).worth
    assert not used(shard, plan_of(("a", "v1", None))).worth


def test_a_failure_beside_it_keeps_nothing_from_use(tmp_path: Path) -> None:
    """Nor does what is in the index meanwhile: only documents that nobody else has count as kept for later."""
    shard = shard_of(tmp_path, state("a"), state("b", status="failed", chunks=0), state("c"), state("d"))
    plan = plan_of(("a", "v1", None))
    assert used(shard, plan, "", state("c"), state("d", "v2", fetched_at=5.0)) == adoption.Use(frozenset({"far/a"}))
    assert used(shard, plan, "", state("c")).worth
    assert not used(shard, plan).worth, "two are lost for one"
    plan.complete, plan.listed = True, 1
    assert used(shard, plan).worth, "what a whole listing does not want is done"


@pytest.mark.parametrize("left", ["gap", "filter", "withheld"])
def test_what_was_left_out_on_purpose_is_kept_for_later(tmp_path: Path, left: str) -> None:
    """A complete listing with a gap, of what changed lately, or that is not believed does not name all there is."""
    shard = shard_of(tmp_path, state("a"), state("b"), state("c"))
    plan = plan_of(("a", "v1", None), complete=True)
    plan.listed, plan.gaps = 1, [Gap("far/", "no")] if left == "gap" else []
    plan.filtered, plan.withheld = 2 * (left == "filter"), 2 * (left == "withheld")
    use = used(shard, plan)
    assert (use.worth, use.later) == (False, 2)


def test_nobody_comes_for_it_after_a_month(tmp_path: Path) -> None:
    """A shard's name says when it was begun."""
    shard = shard_of(tmp_path, state("a"))
    assert not adoption.stale(shard, 1_800_000_000.0 + 86_400)
    assert adoption.stale(shard, 1_800_000_000.0 + 40 * 86_400)
