"""The end of a run compares what it says with the index, a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
import pytest

from penstock.flows.runs import proof
from penstock.flows.runs.accounting import Unbalanced
from penstock.index.commits.state import StateView
from penstock.index.types import DocState


class Index:
    """A view of states that remembers how many it was asked for at a time."""

    def __init__(self, states: Mapping[str, DocState]) -> None:
        self.states, self.asked = states, list[int]()

    def find(self, uris: Iterable[str]) -> dict[str, DocState]:
        wanted = list(uris)
        self.asked.append(len(wanted))
        return {uri: self.states[uri] for uri in wanted if uri in self.states}


def state(number: int, **other: Any) -> DocState:
    said = DocState(f"docs/{number:03d}", "docs", "indexed", content="c", run="ours", chunks=2)
    return msgspec.structs.replace(said, **other)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_AT_ONCE", 7)


def prove(landed: Mapping[str, DocState], index: Index, before: Mapping[str, DocState] = {}) -> None:
    proof.prove(landed, cast(StateView, index), lambda: cast(StateView, Index(before)))


def test_states_are_read_a_few_at_a_time() -> None:
    """However many the run committed."""
    landed = {one.uri: one for one in map(state, range(23))}
    index = Index(landed)
    prove(landed, index)
    assert index.asked == [7, 7, 7, 2]


@pytest.mark.parametrize("number", [0, 6, 7, 13, 22])
def test_one_document_that_is_missing_is_found_wherever_it_is(number: int) -> None:
    """First or last of a part, or of all."""
    landed = {one.uri: one for one in map(state, range(23))}
    there = {uri: one for uri, one in landed.items() if uri != f"docs/{number:03d}"}
    with pytest.raises(Unbalanced, match=f"of 1 documents .* docs/{number:03d} among them"):
        prove(landed, Index(there))


def test_wrong_ones_of_all_parts_are_counted() -> None:
    """Gone, of other content, with fewer chunks, and deleted but still there."""
    landed = {one.uri: one for one in map(state, range(23))}
    there = dict(landed)
    del there["docs/003"]
    there |= {"docs/008": state(8, content="other"), "docs/016": state(16, chunks=1)}
    landed["docs/022"] = state(22, status="deleted")
    with pytest.raises(Unbalanced, match="of 4 documents"):
        prove(landed, Index(there))


def test_what_another_run_brought_in_since_is_no_fault_in_any_part() -> None:
    """Its name is on it, and it is not what was there before this run."""
    landed = {one.uri: one for one in map(state, range(23))}
    theirs = {one.uri: one for one in (state(n, content="newer", run="theirs") for n in (2, 9, 20))}
    prove(landed, Index({**landed, **theirs}))
    with pytest.raises(Unbalanced, match="of 3 documents"):
        prove(landed, Index({**landed, **theirs}), before=theirs)
