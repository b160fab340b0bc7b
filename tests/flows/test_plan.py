"""Planning: a listing compared with what the index knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.types import Gap, Item
from penstock.flows.plans.plan import DeletionGuard, Find, Rules, SourcePlan, compare, defer_beyond
from penstock.index.types import DocState

PARSERS = frozenset({"text/1"})


def item(number: int, version: str = "1") -> Item:
    return Item(f"s/{number:04d}", str(number), version, 10)


def known(number: int, version: str = "1", status: str = "indexed", parser: str = "text/1") -> DocState:
    chunks = 1 if status == "indexed" else 0
    return DocState(f"s/{number:04d}", "s", status, version=version, content="c", parser=parser, chunks=chunks)


def plan_of(
    listing: Iterable[Item | Gap], states: Iterable[DocState], *, complete: bool = True, confirmed: int = 0
) -> SourcePlan:
    rules, known = Rules(DeletionGuard(confirmed=confirmed), PARSERS), {state.uri: state for state in states}
    return compare("s", listing, known.values(), finding(known), complete=complete, rules=rules)


def finding(known: Mapping[str, DocState]) -> Find:
    return lambda uris: {uri: known[uri] for uri in uris if uri in known}


def test_equal_version_tokens_need_nothing() -> None:
    """A document whose token did not move is unchanged, and the plan is idle."""
    plan = plan_of([item(1)], [known(1)])
    assert (plan.unchanged, plan.idle) == (1, True)


def test_a_new_token_and_an_unknown_item_are_to_do() -> None:
    """New and changed items are to be fetched, in order of uri."""
    plan = plan_of([item(3), item(2, "2"), item(1)], [known(1), known(2)])
    assert [todo.item.uri for todo in plan.todo] == ["s/0002", "s/0003"]


def test_what_is_no_longer_listed_is_gone() -> None:
    """A complete listing deletes what it does not name."""
    plan = plan_of([item(1), item(2)], [known(1), known(2), known(3)])
    assert [state.uri for state in plan.gone] == ["s/0003"]


def test_a_partial_listing_deletes_nothing() -> None:
    """No deletion is inferred from a part of a source."""
    assert plan_of([item(1)], [known(1), known(2)], complete=False).gone == []


def test_an_empty_listing_is_not_believed() -> None:
    """When everything is gone at once, a person is asked, however little it is."""
    plan = plan_of([], [known(1)])
    assert (plan.gone, plan.withheld) == ([], 1)


def test_a_large_loss_is_withheld_until_confirmed() -> None:
    """More than 20 and more than 20 % gone is withheld; the same with a ceiling is done."""
    states = [known(number) for number in range(100)]
    listing = [item(number) for number in range(70)]
    assert plan_of(listing, states).withheld == 30
    assert plan_of(listing, states, confirmed=29).withheld == 30
    assert len(plan_of(listing, states, confirmed=30).gone) == 30


def test_nothing_below_a_gap_is_deleted() -> None:
    """What could not be listed keeps what is known of it."""
    plan = plan_of([item(1), Gap("s/000", "permission denied")], [known(1), known(2), known(3)])
    assert plan.gone == [] and len(plan.gaps) == 1


def test_a_rejected_item_is_tried_again_only_by_another_parser() -> None:
    """Rejections stand until the content or the parser changes."""
    same, other = known(1, status="rejected"), known(2, status="rejected", parser="text/0")
    plan = plan_of([item(1), item(2)], [same, other])
    assert sum(plan.still_rejected.values()) == 1
    assert [todo.item.uri for todo in plan.todo] == ["s/0002"]


def test_a_failed_item_is_tried_again() -> None:
    """A failure is to do, whatever its token says."""
    assert len(plan_of([item(1)], [known(1, status="failed")]).todo) == 1


def test_a_limit_defers_the_rest_across_sources() -> None:
    """The first N of all sources together are kept, the others counted as deferred."""
    plans = [plan_of([item(1), item(2)], []), plan_of([item(3), item(4)], [])]
    defer_beyond(plans, 3)
    assert [(len(plan.todo), plan.deferred) for plan in plans] == [(2, 0), (1, 1)]


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.booleans())
def test_every_listed_item_is_in_exactly_one_place(listed: set[int], before: set[int], complete: bool) -> None:
    """listed = unchanged + rejected + to do, and gone + withheld is what is known and not listed."""
    states = [known(number, status="rejected" if number % 7 == 0 else "indexed") for number in before]
    plan = plan_of([item(number, "1" if number % 3 else "2") for number in listed], states, complete=complete)
    assert plan.listed == plan.unchanged + sum(plan.still_rejected.values()) + len(plan.todo) == len(listed)
    assert len(plan.gone) + plan.withheld == (len(before - listed) if complete else 0)
