"""The source is there, and then it is not; or it lists less than it has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from tests.fakes.rough.faults import Faults, Spell
from tests.fakes.rough.listing import STYLES, Listing
from tests.rough.conftest import DAY, Rough
from tests.rough.judging import accounted, delivered_name, same, states, whole, within_budget

MakeRough = Callable[..., Rough]


def slowly(*values: object) -> object:
    """A case for `make proof` only."""
    return pytest.param(*values, marks=pytest.mark.slow)


LIES = ("remove", "insert", "repeats", "skips")
UNTELLABLE = {("cursor", "skips"), ("next", "skips"), ("link", "skips")}
"""Without a total nobody can tell that a page left one out."""
SHIFTS = [slowly(*case) for case in product(STYLES, LIES) if case not in UNTELLABLE]


@pytest.mark.parametrize("kind", ["reset", slowly("error_503"), slowly("maintenance")])
def test_a_source_that_goes_down_for_good_leaves_the_rest_to_the_next_run(make_rough: MakeRough, kind: str) -> None:
    """What was prepared is committed, the run ends with 1 and says what is left; the next does only that."""
    rough = make_rough(7, documents=60, patience=1.0, attempts=3, retry_seconds=2.0, read_seconds=0.5)
    rough.source.latency = 0.005
    rough.source.spells = (Spell(kind, after=40),)
    account = rough.ingest()
    left = len(rough.expected()) - account.indexed
    assert account.exit_code() == 1 and account.indexed >= 30 and account.deleted == 0, account
    assert left == account.deferred + account.failed and account.deferred > 0, account
    assert any("desk" in message for message in account.messages), account
    found = whole(accounted(rough.home, account))
    assert {delivered_name(uri) for uri in found} == set(rough.server.ledger.deliveries()), "what came was not kept"
    within_budget(rough.server.ledger, rough.setting)
    clean = rough.clean()
    rough.later = DAY
    assert rough.ingest().exit_code() == 0
    missing = {delivered_name(uri) for uri in rough.expected() - found}
    assert rough.server.ledger.deliveries() == dict.fromkeys(missing, 1)
    same(rough.home, clean)


def test_a_source_that_is_down_from_the_start_changes_nothing(make_rough: MakeRough) -> None:
    """Nothing is known to have changed: the index stays as it is, and the run does not end well."""
    rough = make_rough(8, documents=30, patience=1.0, attempts=2, retry_seconds=2.0)
    before = rough.ingest()
    rough.server.down()
    account = rough.ingest()
    assert (account.unlisted, account.exit_code(), account.version) == (1, 1, before.version)
    rough.server.up()
    account = rough.ingest()
    assert (account.unchanged, account.version) == (before.indexed, before.version)


def test_a_maintenance_window_is_waited_out(make_rough: MakeRough) -> None:
    """503 with Retry-After is a cooldown for everybody: one run, no failures, few requests in vain."""
    rough = make_rough(9, documents=30)
    rough.source.spells = (Spell("maintenance", after=12, seconds=0.7),)
    account = rough.ingest()
    assert account.exit_code() == 0 and account.indexed == len(rough.expected()), account
    assert rough.server.ledger.faults()["spell:maintenance"] <= rough.setting.concurrency


@pytest.mark.parametrize(
    ("share", "style"),
    [(0.0, "offset"), (0.4, "cursor"), slowly(0.4, "page"), slowly(0.0, "link"), slowly(0.0, "next")],
)
def test_a_listing_that_is_empty_or_much_shorter_deletes_nothing(
    make_rough: MakeRough, share: float, style: str
) -> None:
    """The report says what was withheld, and on which condition it would be believed; an honest listing ends it."""
    rough = make_rough(10, documents=60, style=style)
    first = rough.ingest()
    rough.source.listing = Listing(share=share)
    account = rough.ingest()
    gone = first.indexed - account.listed
    assert (account.deleted, account.withheld, account.exit_code()) == (0, gone, 1), account
    assert any(f"--confirm-deletions {gone}" in message for message in account.messages), account
    assert whole(states(rough.home)) == rough.expected()
    rough.source.calm()
    assert rough.ingest().exit_code() == 0
    assert rough.server.ledger.deliveries() == {}


@pytest.mark.parametrize(("style", "lie"), [("offset", "remove"), ("page", "skips"), ("link", "remove"), *SHIFTS])
def test_a_listing_that_shifts_while_it_is_read_deletes_only_what_is_gone(
    make_rough: MakeRough, style: str, lie: str
) -> None:
    """A document that moved from one page to another while they were read is still there."""
    rough = make_rough(11, documents=40, style=style, page_size=10)
    rough.source.world.attached = 0
    rough.ingest()
    match lie:
        case "remove" | "insert":
            rough.source.listing = Listing(shifts={2: lie, 3: lie})
        case "repeats":
            rough.source.listing = Listing(repeats=frozenset({2}))
        case "skips":
            rough.source.listing = Listing(skips=frozenset({2}))
    account = rough.ingest()
    assert rough.expected() <= whole(states(rough.home)) | new(rough), account
    rough.source.calm()
    account = rough.ingest()
    assert account.exit_code() == 0 and whole(states(rough.home)) == rough.expected(), account


def new(rough: Rough) -> set[str]:
    """What came to the source since it was first listed."""
    return {f"desk/items/{entry.number}" for entry in rough.world.listed() if entry.number > 40}


def test_what_is_forbidden_for_a_while_stays_served_and_comes_back(make_rough: MakeRough) -> None:
    """403 on some documents that changed: the old text is served, the account says why, the next run has the new."""
    rough = make_rough(12, documents=30)
    rough.source.world.attached = 0
    rough.ingest()
    for number in (3, 5, 8):
        rough.world.edit(number)
    rough.source.forbidden = {3, 5}
    account = rough.ingest()
    assert (account.indexed, account.failed, account.reasons["failed"]) == (1, 2, {"forbidden": 2}), account
    found = states(rough.home)
    assert len(found) == 30
    assert whole(found) == rough.expected() - {"desk/items/3", "desk/items/5"}
    rough.source.forbidden.clear()
    rough.later = DAY
    assert rough.ingest().indexed == 2
    assert whole(states(rough.home)) == rough.expected()


@pytest.mark.slow
def test_a_page_in_place_of_a_file_is_not_taken_for_it(make_rough: MakeRough) -> None:
    """A proxy's excuse with status 200 has another size than the listed file: it fails, and comes with the next run."""
    rough = make_rough(15, documents=30)
    clean = rough.clean()
    rough.source.faults = Faults(15, {"other_page": 1.0}, at_most=1, only=("/files",))
    rough.ingest()
    rough.source.calm()
    rough.later = DAY
    assert rough.ingest().exit_code() == 0
    same(rough.home, clean)


def test_what_really_went_away_is_deleted(make_rough: MakeRough) -> None:
    """A few removals in an honest listing are believed at once."""
    rough = make_rough(13, documents=30)
    rough.ingest()
    for number in (1, 2, 14):
        rough.world.remove(number)
    account = rough.ingest()
    assert (account.deleted, account.exit_code()) == (4, 0), account
    assert whole(states(rough.home)) == rough.expected()


def test_an_unchanged_source_is_listed_and_nothing_more(make_rough: MakeRough) -> None:
    """The second run fetches no body, embeds nothing, commits nothing, asks for the pages and nothing else."""
    rough = make_rough(14, documents=60)
    first = rough.ingest()
    rough.server.ledger.clear()
    embedded = len(rough.encoder.embedded)
    account = rough.ingest()
    assert (account.unchanged, account.fetched, account.version) == (first.indexed, 0, first.version)
    assert len(rough.encoder.embedded) == embedded
    assert {seen.target.partition("?")[0] for seen in rough.server.ledger.seen} == {"/api/offset/items"}
