"""For every seed: one state for each document, an account that sums, a budget that is kept, nothing deleted; and a
second run without faults is as a clean one and fetches only what was missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from penstock.connectors.types import SourceError
from penstock.flows.runs.accounting import Accounting
from tests.fakes.rough.credentials import Guard
from tests.fakes.rough.faults import HOSTILE, LANDS, LIES, SLOW, Faults, spread
from tests.fakes.rough.listing import STYLES
from tests.rough.conftest import DAY, Rough
from tests.rough.judging import accounted, delivered_name, same, whole, within_budget

MakeRough = Callable[..., Rough]
ENDED = (0, 1)


def drawn(
    make_rough: MakeRough, seed: int, kinds: list[str], rate: float, at_most: int | None, most: int = 22
) -> Rough:
    """A source of at most `most` documents and a configuration by seed."""
    dice = random.Random(seed)
    guard = Guard("oauth", uses=dice.choice([30, 60, None]), rotating=dice.random() < 0.5)
    rough = make_rough(
        seed,
        documents=dice.randint(18, most),
        guard=guard if dice.random() < 0.7 else Guard(),
        style=dice.choice(STYLES),
        page_size=dice.choice([7, 20, 50]),
        rate=dice.choice([60.0, 150.0]),
        concurrency=dice.randint(1, 6),
        read_seconds=0.5,
    )
    rough.source.latency = dice.choice([0.0, 0.01])
    rough.source.skew = dice.choice([0.0, -7200.0, 86400.0])
    rates = spread(rate, kinds) | {"throttled": 0.01, "throttled_date": 0.01}
    rough.source.faults = Faults(seed, rates, at_most, stall=2.0)
    return rough


def first_run(rough: Rough, why: str) -> tuple[Accounting, set[str]]:
    """The rough run, judged. Returns its account, and what is whole after it."""
    try:
        account = rough.ingest()
    except SourceError:  # the listing itself could not be had: nothing is known, so nothing changed
        within_budget(rough.server.ledger, rough.setting, why)
        return Accounting(unlisted=1), set()
    assert account.exit_code() in ENDED and account.deleted == account.withheld == 0, (why, account)
    found = whole(accounted(rough.home, account, why)) if account.version else set()
    assert found <= rough.expected(), why
    within_budget(rough.server.ledger, rough.setting, why)
    return account, found


def second_run(rough: Rough, before: set[str], why: str) -> None:
    """A day later, without faults: as a clean build, and nothing is fetched that was there."""
    clean = rough.clean()
    rough.later = DAY
    account = rough.ingest()
    assert account.exit_code() == 0, (why, account)
    accounted(rough.home, account, why)
    same(rough.home, clean, why)
    missing = {delivered_name(uri) for uri in rough.expected() - before}
    fetched = rough.server.ledger.deliveries()
    assert set(fetched) - missing == set() and max(fetched.values(), default=1) == 1, (
        why,
        fetched - dict.fromkeys(missing, 1),
    )
    within_budget(rough.server.ledger, rough.setting, why)


def lands(make_rough: MakeRough, seed: int, most: int = 22) -> None:
    rough = drawn(make_rough, seed, [*LANDS, *LIES], 0.25, at_most=3, most=most)
    account, found = first_run(rough, why := f"PENSTOCK_ROUGH_SEED={seed}")
    assert found == rough.expected() and account.exit_code() == 0, (why, account)
    assert rough.source.ledger.faults(), why
    assert set(rough.source.ledger.deliveries().values()) == {1}, (why, "a body was fetched twice in one run")
    second_run(rough, found, why)


def survives(make_rough: MakeRough, seed: int, kinds: list[str], most: int = 22) -> None:
    rough = drawn(make_rough, seed, kinds, 0.3, at_most=None, most=most)
    rough.setting.attempts, rough.setting.patience, rough.setting.retry_seconds = 3, 3.0, 5.0
    rough.source.forbidden = set(random.Random(seed).sample(range(1, 18), 3))
    if seed % 4:  # else the listing and the tokens are struck as well
        rough.source.faults = replace(rough.source.faults, only=("/api/items", "/files"))
    _, found = first_run(rough, why := f"PENSTOCK_ROUGH_SEED={seed}")
    second_run(rough, found, why)


@pytest.mark.parametrize("seed", [1, 2], indirect=True)
def test_everything_lands_when_each_request_succeeds_in_the_end(make_rough: MakeRough, seed: int) -> None:
    """At most three faults for each thing asked: every document is in the index after one run, fetched once."""
    lands(make_rough, seed)


@pytest.mark.parametrize("seed", [11], indirect=True)
def test_faults_without_end_leave_holes_that_the_next_run_fills(make_rough: MakeRough, seed: int) -> None:
    """Whatever could not be had is counted as failed or deferred, with a reason, and comes with the next run."""
    survives(make_rough, seed, [*LANDS, *LIES, *HOSTILE])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140), indirect=True)
def test_everything_lands_whatever_the_seed(make_rough: MakeRough, seed: int) -> None:
    """As above, forty seeds."""
    lands(make_rough, seed, most=120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 240), indirect=True)
def test_any_seed_leaves_only_holes_that_are_filled(make_rough: MakeRough, seed: int) -> None:
    """As above, forty seeds, with everything that the source can do: stalls, drips and slow heads too."""
    survives(make_rough, seed, [*LANDS, *LIES, *HOSTILE, *SLOW], most=60)
