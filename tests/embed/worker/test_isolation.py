"""What is computed next after deaths: everything has an outcome, and only what kills is condemned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed.worker.isolation import MOST_BARREN, MOST_UNEXPLAINED, PARTS, Health, Isolation


class World:
    """An engine of batches of `rows`, longest (here: highest) first, in which some positions kill.

    `accidents`: how many batches go well before each death that has nothing to do with what is computed.
    """

    def __init__(
        self, count: int, poison: Sequence[int], *, rows: int, ahead: int, announces: bool, accidents: Sequence[int]
    ) -> None:
        self.isolation, self.health = Isolation(count, health := Health()), health
        self._poison, self._rows, self._ahead, self._announces = set(poison), rows, ahead, announces
        self._accidents = list(accidents)
        self.outcomes: dict[int, str] = {}
        self.deaths = 0

    def run(self) -> bool:
        """Until all is done; False when the device was called sick."""
        while (group := self.isolation.next()) is not None:
            if not self._compute(group) and self.health.sick:
                return False
            for position in self.isolation.condemned():
                self._settle(position, "condemned")
        return True

    def _compute(self, group: np.ndarray) -> bool:  # type: ignore[type-arg]
        order = np.sort(group)[::-1]
        batches = [order[k : k + self._rows] for k in range(0, len(order), self._rows)]
        for number, batch in enumerate(batches):
            if self._accident() or self._poison & set(batch.tolist()):
                self.deaths += 1
                begun = np.concatenate(batches[: number + 1 + self._ahead])
                self.isolation.died(begun if self._announces else None)
                return False
            for position in batch.tolist():
                self._settle(position, "vector")
            self.isolation.came(batch)
        assert not len(self.isolation.finished())
        return True

    def _accident(self) -> bool:
        if not self._accidents:
            return False
        self._accidents[0] -= 1
        if self._accidents[0] >= 0:
            return False
        self._accidents.pop(0)
        return True

    def _settle(self, position: int, outcome: str) -> None:
        assert position not in self.outcomes, f"{position} came twice"
        self.outcomes[position] = outcome


engines = st.fixed_dictionaries(
    {"rows": st.integers(1, 9), "ahead": st.integers(0, 2), "announces": st.booleans()},
)


@given(
    st.integers(0, 200), st.lists(st.integers(0, 199), max_size=4), engines, st.lists(st.integers(0, 30), max_size=8)
)
@settings(max_examples=300, deadline=None)
def test_every_position_has_one_outcome_or_the_device_is_sick(
    count: int, poison: list[int], engine: dict[str, int], accidents: list[int]
) -> None:
    """Whatever dies when: each position comes once, as a vector or condemned, and what kills never as a vector."""
    world = World(count, poison, accidents=accidents, **engine)  # type: ignore[arg-type]
    if world.run():
        assert set(world.outcomes) == set(range(count))
        assert world.isolation.left == 0
    harmful = {p for p in poison if p < count}
    assert all(world.outcomes.get(p) != "vector" for p in harmful)


@given(st.integers(1, 5000), st.integers(0, 4999), engines)
@settings(max_examples=200, deadline=None)
def test_one_position_that_kills_is_found_in_few_deaths(count: int, poison: int, engine: dict[str, int]) -> None:
    """It alone is condemned, all others come, and the deaths grow with the logarithm of the count."""
    poison %= count
    world = World(count, [poison], accidents=[], **engine)  # type: ignore[arg-type]
    assert world.run()
    assert [p for p, outcome in world.outcomes.items() if outcome == "condemned"] == [poison]
    assert len(world.outcomes) == count
    assert world.deaths <= 4 + math.ceil(math.log(count, PARTS) + 1e-9)


@given(st.integers(2, 300), engines, st.lists(st.integers(0, 20), max_size=3))
@settings(max_examples=200, deadline=None)
def test_three_accidents_condemn_nothing(count: int, engine: dict[str, int], gaps: list[int]) -> None:
    """Wherever they strike: of several texts, none is given up for less than four deaths."""
    world = World(count, [], accidents=gaps, **engine)  # type: ignore[arg-type]
    assert world.run()
    assert world.outcomes == dict.fromkeys(range(count), "vector")


@given(st.integers(1, 300), engines, st.lists(st.integers(1, 9), max_size=400))
@settings(max_examples=200, deadline=None)
def test_accidents_now_and_then_cost_no_text(count: int, engine: dict[str, int], gaps: list[int]) -> None:
    """Processes that each do at least one batch before they die get to the end, and nothing is given up."""
    world = World(count, [], accidents=gaps, **engine)  # type: ignore[arg-type]
    assert world.run()
    assert world.outcomes == dict.fromkeys(range(count), "vector")


@given(st.integers(1, 500), engines)
@settings(max_examples=100, deadline=None)
def test_a_device_that_kills_whatever_it_is_given_is_sick(count: int, engine: dict[str, int]) -> None:
    """No text is condemned for it, unless there are so few that nobody can tell; and it is soon given up."""
    world = World(count, range(count), accidents=[], **engine)  # type: ignore[arg-type]
    finished = world.run()
    assert world.deaths <= MOST_BARREN
    if finished:
        assert count <= 4
    else:
        assert not world.outcomes


def test_deaths_that_nothing_explains_are_bounded() -> None:
    """A process that dies before it was given anything is no text's fault."""
    isolation = Isolation(5, health := Health())
    for death in range(1, MOST_UNEXPLAINED + 1):
        assert not health.sick
        isolation.died()
        assert health.unexplained == death
    assert health.sick
    isolation.next()
    isolation.came(np.array([3]))
    assert not health.sick


def test_what_is_innocent_goes_first() -> None:
    """After two deaths over the same batch, the rest is computed before any part of that batch."""
    isolation = Isolation(100, Health())
    isolation.next()
    isolation.died(np.arange(90, 100))
    assert (group := isolation.next()) is not None and len(group) == 100
    isolation.died(np.arange(90, 100))
    assert (group := isolation.next()) is not None and group.tolist() == list(range(90))


def test_a_verdict_waits_for_a_sign_of_life() -> None:
    """A text that killed twice is condemned only when a vector came afterwards, or nothing else is left."""
    isolation = Isolation(2, Health())
    isolation.next()
    isolation.died()
    isolation.next()
    isolation.died()  # both are suspects now, and go alone
    for _ in range(2):
        group = isolation.next()
        assert group is not None and len(group) == 1
        isolation.died()
    assert isolation.next() is not None
    isolation.died()
    assert isolation.condemned() == []
    last = isolation.next()
    assert last is not None
    isolation.came(last)
    isolation.finished()
    assert len(isolation.condemned()) == 1
    assert isolation.condemned() == []
    assert isolation.left == 0
