"""A source that can say what changed: an accelerator, and never the truth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from penstock.connectors.types import SourceError
from tests.fakes.rough.faults import LANDS, Faults, spread
from tests.rough.conftest import DAY, Rough
from tests.rough.judging import same, states, whole

MakeRough = Callable[..., Rough]
HOURS = 3600.0


def test_what_changed_is_fetched_and_what_failed_is_not_forgotten(make_rough: MakeRough) -> None:
    """The feed names five, two of them are forbidden; hours later exactly these two are fetched, by no full listing."""
    rough = make_rough(41, documents=60, feed=True)
    rough.world.attached = 0
    rough.ingest()
    for number in (3, 5, 8, 13, 21):
        rough.world.edit(number)
    rough.world.add()
    rough.source.forbidden = {3, 5}
    rough.server.ledger.clear()
    rough.later = HOURS
    account = rough.ingest()
    assert (account.indexed, account.failed, account.deleted) == (4, 2, 0), account
    assert all("updated_since" in seen.target for seen in rough.server.ledger.asked("/api/offset")), "all was listed"
    clean = rough.clean()
    rough.later = 6 * HOURS
    account = rough.ingest()
    assert (account.indexed, account.exit_code()) == (2, 0), account
    assert rough.server.ledger.deliveries() == {"items/3": 1, "items/5": 1}
    same(rough.home, clean)


def test_what_the_feed_does_not_show_is_found_by_the_next_full_listing(make_rough: MakeRough) -> None:
    """Removals are in no feed: the document stays until everything is listed again, a day later."""
    rough = make_rough(42, documents=30, feed=True)
    rough.world.attached = 0
    rough.ingest()
    rough.world.remove(7)
    rough.later = HOURS
    assert rough.ingest().deleted == 0
    rough.later = DAY + HOURS
    assert rough.ingest().deleted == 1
    assert whole(states(rough.home)) == rough.expected()


def test_a_feed_that_breaks_off_loses_no_change(make_rough: MakeRough) -> None:
    """Whatever goes wrong while changes are read, they are in the index after the next run."""
    rough = make_rough(43, documents=30, feed=True, page_size=5, attempts=2, retry_seconds=2.0, patience=2.0)
    rough.world.attached = 0
    rough.ingest()
    for number in range(5, 25):
        rough.world.edit(number)
    rough.source.faults = Faults(43, spread(0.4, LANDS), at_most=None, wait=0)
    rough.later = HOURS
    with suppress(SourceError):
        account = rough.ingest()
        assert account.deleted == 0, account
    clean = rough.clean()
    rough.later = 12 * HOURS
    assert rough.ingest().exit_code() == 0
    same(rough.home, clean)
