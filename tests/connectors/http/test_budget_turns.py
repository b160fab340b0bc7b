"""The state of a budget: whatever the source does and whatever the clocks say, no promise is broken."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.http import breaker, turns
from penstock.connectors.http.budget_state import LEASE, decoded, encoded
from penstock.connectors.http.types import BudgetLimits, Outcome
from tests.connectors.http.budget_world import NOON, World

rates = st.sampled_from([None, 0.5, 3.0, 50.0])
worlds = st.tuples(st.integers(0, 2**32), rates, st.integers(1, 6), st.integers(1, 8))


def fine(_random: Random, _now: float) -> Outcome:
    return Outcome("ok", 0.05)


def rough(random: Random, now: float) -> Outcome:
    """Two minutes of trouble of every kind, then health."""
    if now > NOON + 120:
        return Outcome("ok", random.random())
    verdict = random.choice(["ok", "throttled", "failed", "failed", "cancelled"])
    cooldown = random.choice([0.0, 0.0, 0.0, 2.0, 15.0, -1.0, float("nan")])
    return Outcome(verdict, random.choice([0.01, 0.2, 5.0]), cooldown)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_a_rough_source_never_sees_more_than_its_budget_and_everybody_gets_a_turn(
    drawn: tuple[int, float | None, int, int],
) -> None:
    """Rate, places, cooldowns and probes hold for each grant; once the source is well, nobody waits for ever."""
    seed, rate, concurrency, callers = drawn
    world = World(BudgetLimits(rate, concurrency, patience=1e9), seed, rough)
    for number in range(callers):
        world.worker(f"w{number}", "here", requests=12)
    world.run(until=3_600)
    assert len(world.grants) == callers * 12
    assert not world.flying and not world.state().places and not world.state().queue


@settings(max_examples=20, deadline=None)
@given(worlds, st.floats(-1e5, 0))
def test_machines_whose_clocks_differ_keep_to_one_budget(
    drawn: tuple[int, float | None, int, int], wrong: float
) -> None:
    """A second is a second on both: rate and cooldowns hold."""
    seed, rate, concurrency, callers = drawn
    world = World(BudgetLimits(rate, concurrency, patience=1e9), seed, rough, {"here": 0.0, "there": wrong})
    for host in ("here", "there"):
        # Each is seen once before anything is measured: from then on it is known how much they differ.
        world.end(world.caller("-", host), Outcome("cancelled"))
    for number in range(callers):
        world.worker(f"w{number}", "here" if number % 2 else "there", requests=10)
    world.run(until=10_000)
    assert len(world.grants) == callers * 10


@settings(max_examples=20, deadline=None)
@given(worlds, st.floats(-3e8, 0), st.integers(0, 100))
def test_a_clock_that_is_set_back_breaks_nothing(
    drawn: tuple[int, float | None, int, int], back: float, after: int
) -> None:
    """By seconds or by years: nobody waits for the time to come again, nobody goes too early."""
    seed, rate, concurrency, callers = drawn
    world = World(BudgetLimits(rate, concurrency, patience=1e9), seed, rough)
    for number in range(callers):
        world.worker(f"w{number}", "here", requests=10)
    world.at(NOON + after, lambda: world.clocks.update(here=back))
    world.run(until=10_000)
    assert len(world.grants) == callers * 10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(1, 5))
def test_the_quota_of_a_day_is_never_exceeded(seed: int, per_day: int, callers: int) -> None:
    """Who asks for more is stopped until midnight; what fails counts as well."""
    world = World(BudgetLimits(None, 4, per_day, 1e9), seed, rough)
    for number in range(callers):
        world.worker(f"w{number}", "here", requests=10)
    world.run(until=40_000)
    assert len(world.grants) == min(per_day, callers * 10)
    assert all(stop.why == "quota" and 0 < stop.seconds <= 43_200 for stop in world.stops)
    world.time = NOON + 43_200
    assert isinstance(world.ask(world.caller("next day", "here")), turns.Go) is (per_day > 0)


def test_waiting_callers_go_in_the_order_in_which_they_came() -> None:
    """Whoever asks again first does not overtake; who overslept is passed, and keeps its turn."""
    world = World(BudgetLimits(1.0, 4), 1, fine)
    first, second, third = (world.caller(name, "here") for name in "abc")
    assert isinstance(world.ask(first), turns.Go)
    world.end(first, Outcome("ok", 0.0))
    waits = [world.ask(caller) for caller in (second, third)]
    assert [round(wait.seconds) for wait in waits if isinstance(wait, turns.Wait)] == [1, 1]
    world.time += 1.0
    assert isinstance(world.ask(third), turns.Wait), "the second one came first"
    assert isinstance(world.ask(second), turns.Go)
    world.end(second, Outcome("ok", 0.0))
    sleeper = world.caller("sleeper", "here")
    world.ask(sleeper)
    world.time += 3.0
    assert isinstance(world.ask(third), turns.Go)


def test_the_limit_grows_only_while_it_is_used_and_halves_once_for_each_round_trip() -> None:
    """One caller alone proves nothing about eight; four refusals of one burst are one refusal."""
    world = World(BudgetLimits(None, 8), 1, fine)
    for number in range(20):
        assert isinstance(world.ask(world.caller(f"{number}", "here")), turns.Go)
        world.time += 0.1
        world.end(world.caller(f"{number}", "here"), Outcome("ok", 0.1))
    assert world.state().concurrency.limit == 2, "it never needed more than one"
    for burst in range(20):
        callers = [world.caller(f"{burst}.{number}", "here") for number in range(8)]
        going = [caller for caller in callers if isinstance(world.ask(caller), turns.Go)]
        world.time += 0.1
        for caller in going:
            world.end(caller, Outcome("ok", 0.1))
        for caller in callers:
            world.end(caller, Outcome("cancelled"))
    assert world.state().concurrency.limit == 8
    burst_of_four = [world.caller(f"x{number}", "here") for number in range(4)]
    assert all(isinstance(world.ask(caller), turns.Go) for caller in burst_of_four)
    for caller in burst_of_four:
        world.time += 0.01
        world.end(caller, Outcome("throttled", 0.1))
    assert world.state().concurrency.limit == 4


def test_a_time_out_halves_the_limit_and_a_quick_error_does_not() -> None:
    """Whether the caller says how long it took, or only that there was no answer."""
    for verdict, held, seconds, limit in (("failed", 0.2, 0.2, 8), ("failed", 10.0, 0.0, 4), ("failed", 10.0, 9.0, 4)):
        world = World(BudgetLimits(None, 8), 1, fine)
        state = world.state()
        state.clock.time, state.concurrency.limit = NOON, 8.0
        world.stored = encoded(state)
        world.ask(caller := world.caller("one", "here"))
        world.time += held
        world.end(caller, Outcome(verdict, seconds))
        assert world.state().concurrency.limit == limit


def test_the_limit_stays_where_answers_grow_slow() -> None:
    """A source that answers five times slower than it used to is full, though it does not say so."""
    world = World(BudgetLimits(None, 50), 1, fine)
    state = world.state()
    for _ in range(5):
        state.concurrency.answered(0.1, 50, 50)
    before = state.concurrency.limit
    for _ in range(5):
        state.concurrency.answered(0.6, 50, 50)
    assert state.concurrency.limit <= before + 1


def test_a_cooldown_is_not_shortened_by_a_smaller_one() -> None:
    """Sixty seconds stay sixty, whatever a late answer says; beyond patience it is a stop."""
    world = World(BudgetLimits(None, 2, patience=100.0), 1, fine)
    one = world.caller("one", "here")
    world.ask(one)
    world.end(one, Outcome("throttled", 0.1, cooldown=60.0))
    world.end(one, Outcome("throttled", 0.1, cooldown=1.0))
    world.time += 59.0
    assert world.ask(world.caller("two", "here")) == turns.Wait(1.0, "cooldown", left=1.0)
    world.time += 1.001
    assert isinstance(world.ask(world.caller("two", "here")), turns.Go)
    world.end(world.caller("two", "here"), Outcome("throttled", 0.1, cooldown=90.0))
    stop = world.ask(world.caller("three", "here"))
    assert isinstance(stop, turns.Stop) and stop.why == "cooldown" and 89 < stop.seconds <= 90
    assert not world.state().queue


def test_throttling_that_does_not_say_for_how_long_makes_everybody_pause() -> None:
    """From the third time in a row on, and longer each time."""
    world = World(BudgetLimits(None, 1, patience=1e9), 1, lambda *_: Outcome("throttled", 0.1))
    world.worker("w", "here", requests=10)
    world.run(until=600)
    gaps = [b - a for a, b in zip(world.grants, world.grants[1:], strict=False)]
    assert max(gaps[:2]) < 1 < max(gaps[5:])


def down(world: World) -> None:
    """The source fails until its breaker opens."""
    for number in range(breaker.FAILURES):
        caller = world.caller(f"down{number}", "here")
        assert isinstance(world.ask(caller), turns.Go)
        world.end(caller, Outcome("failed", 0.01))
    assert world.state().breaker.open


def test_a_source_that_only_fails_is_probed_by_one_and_given_up_after_patience() -> None:
    """The pauses grow, with a bound; each failed probe is one request; then everybody stops, and is told for how
    long. A later run begins anew."""
    world = World(BudgetLimits(None, 4, patience=300.0), 7, lambda *_: Outcome("failed", 0.01))
    for number in range(3):
        world.worker(f"w{number}", "here", requests=200)
    world.run(until=500)
    assert len(world.grants) < 60
    assert {stop.why for stop in world.stops} == {"down"} and len(world.stops) == 3
    assert all(0 < stop.seconds <= breaker.LONGEST_PAUSE for stop in world.stops)
    world.time += 3_600
    world.judge = fine
    world.worker("later", "here", requests=5)
    world.run(until=5_000)
    assert len(world.stops) == 3 and not world.state().breaker.open


def test_a_probe_whose_holder_died_is_made_by_another() -> None:
    """At once where its death can be seen, and after two minutes where nobody can know."""
    world = World(BudgetLimits(None, 4, patience=1e9), 7, fine, {"here": 0.0, "far": 0.0})
    down(world)
    world.time += 2
    assert isinstance(world.ask(world.caller("probe", "here", "victim")), turns.Go)
    assert isinstance(world.ask(world.caller("next", "here")), turns.Wait)
    world.dead.add("here/victim")
    assert isinstance(world.ask(world.caller("next", "here")), turns.Go)
    world.end(world.caller("next", "here"), Outcome("cancelled"))
    assert isinstance(world.ask(world.caller("far probe", "far")), turns.Go)
    world.flying.clear()
    assert isinstance(world.ask(world.caller("other", "here")), turns.Wait)
    world.time += breaker.PROBE_SECONDS
    assert isinstance(world.ask(world.caller("other", "here")), turns.Go)


def test_a_dead_process_frees_its_places_and_its_turn() -> None:
    """On this machine at once; on another one when its lease is over, unless it shows life."""
    world = World(BudgetLimits(None, 1, patience=1e9), 7, fine, {"here": 0.0, "far": 0.0})
    assert isinstance(world.ask(world.caller("held", "here", "victim")), turns.Go)
    assert isinstance(world.ask(world.caller("waits", "here", "victim")), turns.Wait)
    assert isinstance(world.ask(world.caller("mine", "here")), turns.Wait)
    world.dead.add("here/victim")
    world.flying.clear()
    assert isinstance(world.ask(world.caller("mine", "here")), turns.Go)
    world.end(world.caller("mine", "here"), Outcome("ok", 0.1))
    state = world.state()
    state.concurrency.limit = 1.0
    world.stored = encoded(state)
    assert isinstance(world.ask(world.caller("far", "far")), turns.Go)
    world.time += LEASE - 1
    world.ask(world.caller("far sign of life", "far"))
    world.end(world.caller("far sign of life", "far"), Outcome("cancelled"))
    world.time += LEASE - 1
    assert isinstance(world.ask(world.caller("mine again", "here")), turns.Wait)
    world.time += 2
    world.flying.clear()
    assert isinstance(world.ask(world.caller("mine again", "here")), turns.Go)


def test_changed_limits_hold_at_once() -> None:
    """A lower ceiling, a slower rate and a smaller quota hold for the next request, whatever was granted before."""
    world = World(BudgetLimits(None, 8, per_day=100), 1, fine)
    for number in range(5):
        world.ask(caller := world.caller(f"{number}", "here"))
        world.end(caller, Outcome("ok", 0.1))
    world.limits = BudgetLimits(0.1, 8, per_day=100)
    assert isinstance(world.ask(world.caller("slow", "here")), turns.Wait)
    world.limits = BudgetLimits(None, 8, per_day=5)
    assert isinstance(world.ask(world.caller("slow", "here")), turns.Stop)
    world.limits = BudgetLimits(None, 8, per_day=6)
    assert isinstance(world.ask(world.caller("slow", "here")), turns.Go)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.sampled_from([b'{"last":9e18}', b'{"quota":{"spent":-5}}', b"{}", b"null"]))
def test_a_value_that_cannot_be_read_is_a_careful_beginning(value: bytes) -> None:
    """One request at a time, and the first one not before the usual distance."""
    state = decoded(value, NOON)
    assert state.concurrency.allowed(16) == 1
    if value:
        world = World(BudgetLimits(0.5, 4), 1, fine, stored=value)
        assert isinstance(world.ask(world.caller("first", "here")), turns.Wait)
        world.time += 2.001
        assert isinstance(world.ask(world.caller("first", "here")), turns.Go)
