"""Requests under way: what was begun comes out, whoever stops and whenever."""

from threading import Barrier

from penstock.embed.remote.flights import Flights


def test_who_stops_early_gets_the_rest_of_what_was_begun() -> None:
    """Also of those that ended at the same moment as the last that was taken."""
    for _ in range(20):
        together = Barrier(4)

        def act(number: int, together: Barrier = together) -> int:
            together.wait(60)
            return number

        flights = Flights(iter(range(4)), act, 4)
        outcomes = flights.outcomes()
        taken = [next(outcomes)]
        assert sorted([*taken, *flights.rest()]) == [0, 1, 2, 3]
        flights.close()
