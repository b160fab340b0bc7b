"""Expiry lets go of what policy says and nothing else, wherever it is cut short, whoever ships at the same time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob, framed
from penstock.index.commits import log
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.recovery.archive import EXPIRING, HOLDS, SNAPSHOTS, Archive, Notice, coming_key
from penstock.index.recovery.expire import Expired, expire
from penstock.index.recovery.policy import Policy
from penstock.index.recovery.snapshots import take
from tests.index.recovery.depot import LINEAGE, Baton, Version, archive, lacking, of_letter, ship

NONE = Policy(keep_last=0, keep_seconds=0.0)
LATE = 10_000.0


def letting_go(found: Archive, policy: Policy = NONE, *, now: float = LATE, **more: object) -> Expired:
    ticks = itertools.count()
    return expire(found, policy, clock=lambda: now, token=lambda: f"n{next(ticks)}", **more)  # type: ignore[arg-type]


def values_of(found: Archive) -> dict[str, bytes]:
    values: dict[str, bytes] = found.store.values  # type: ignore[attr-defined]
    return values


@pytest.fixture
def three() -> Archive:
    """Versions 1 to 3; `c` stays, one letter is new in each."""
    found = archive()
    ship(found, [Version(1, "ac"), Version(2, "bc"), Version(3, "cd")])
    return found


def test_the_newest_version_stays_with_all_that_it_needs(three: Archive) -> None:
    """Even where the policy keeps nothing at all."""
    done = letting_go(three)
    assert (done.versions, done.blobs, done.kept_versions) == ([1, 2], 4, 1)
    newest = Version(3, "cd")
    assert set(values_of(three)) == {"shipped.json", log.key(3, 1), *newest.blobs}
    assert done.bytes == sum(
        len(data) for _, data in (Version(1, "ac").manifest, Version(2, "bc").manifest, of_letter("a"), of_letter("b"))
    )
    again = letting_go(three)
    assert (again.versions, again.blobs) == ([], 0)


def test_a_dry_run_says_the_same_and_changes_nothing(three: Archive) -> None:
    """So that one can look first."""
    before = dict(values_of(three))
    planned = letting_go(three, dry_run=True)
    assert values_of(three) == before
    assert letting_go(three) == planned


@pytest.mark.parametrize(
    ("now", "seconds", "stay"),
    [(300.0, 100.0, {2, 3}), (300.0, 101.0, {1, 2, 3}), (300.0, 0.0, {3}), (399.0, 100.0, {2, 3}), (400.0, 100.0, {3})],
)
def test_a_versions_age_counts_from_when_the_next_one_came(
    three: Archive, now: float, seconds: float, stay: set[int]
) -> None:
    """Whoever asks for a moment within the last `keep_seconds` gets the version that was the newest then."""
    letting_go(three, Policy(0, seconds), now=now)
    assert {version for version, _ in three.versions()} == stay


def test_names_holds_and_times_keep_their_versions(three: Archive) -> None:
    """Held ones for ever, timed ones until their time is over, and the newest few of the others."""
    records = {number: Version(number, letters).record for number, letters in ((1, "ac"), (2, "bc"), (3, "cd"))}
    take(three, records[1], "held", now=1.0, keep_until=2.0, hold=True)
    take(three, records[1], "old", now=1.0)
    take(three, records[2], "timed", now=2.0, keep_until=LATE + 1)
    take(three, records[2], "new", now=3.0)
    take(three, records[3], "over", now=3.0, keep_until=LATE)
    done = letting_go(three, Policy(keep_last=1, keep_seconds=0.0))
    assert (done.snapshots, done.versions, done.kept_snapshots) == (["old", "over"], [], 3)
    done = letting_go(three, Policy(keep_last=0, keep_seconds=0.0), now=LATE + 1)
    assert (done.snapshots, done.versions) == (["new", "timed"], [2])
    three.hold("held", False, LINEAGE, LATE)
    assert letting_go(three).snapshots == ["held"]
    assert {key.split("/")[0] for key in values_of(three)} == {"shipped.json", "log", "blobs"}


def test_what_a_higher_epoch_superseded_goes_unless_it_has_a_name() -> None:
    """It was never acknowledged; a name keeps what it names all the same."""
    found = archive()
    old, true = [Version(2, "ab"), Version(3, "abc")], [Version(1, "a"), Version(2, "ad", 2)]
    ship(found, [true[0], *old])
    take(found, old[0].record, "mine", now=1.0)
    ship(found, true[1:])
    letting_go(found, Policy(keep_last=1, keep_seconds=1e9))
    assert sorted(key for key in values_of(found) if key.startswith("log/")) == [
        log.key(1, 1), log.key(2, 1), log.key(2, 2)
    ]  # fmt: skip
    assert not lacking(values_of(found), [*true, *old]) and blob.key(of_letter("c")[0]) not in values_of(found)


def test_what_is_on_its_way_is_spared(three: Archive) -> None:
    """Its blobs lie there before its record does. What never came, and is old, is not."""
    coming, never = Version(4, "ax"), Version(2, "yz", 1)
    for version in (coming, never):
        three.announce(version.record) if version is coming else None
        for key, (_, data) in version.blobs.items():
            three.store.put_if_absent(key, data)
    letting_go(three)
    assert coming.blobs.keys() <= set(values_of(three)) and coming_key(4, 1) in values_of(three)
    assert not set(values_of(three)) & {blob.key(of_letter(letter)[0]) for letter in "byz"}
    ship(three, [coming])
    letting_go(three)
    assert set(values_of(three)) == {"shipped.json", log.key(4, 1), *coming.blobs}


def test_no_blob_goes_while_it_is_unknown_what_is_coming(three: Archive) -> None:
    """A version was announced and its manifest is not there yet: what it needs might be anything."""
    three.announce(Version(4, "ax").record)
    done = letting_go(three)
    assert (done.versions, done.blobs) == ([1, 2], 0) and "version 4 is on its way" in done.waits
    ship(three, [Version(4, "ax")])
    assert letting_go(three).blobs > 0


@pytest.mark.parametrize("damage", ["manifest", "record", "name"])
def test_nothing_goes_while_what_stays_cannot_be_read(three: Archive, damage: str) -> None:
    """What it needs is not known then."""
    stays = Version(2, "bc")
    take(three, stays.record, "n", now=1.0, keep_until=LATE + 1)
    newest = log.key(3, 1)
    key = {"manifest": blob.key(stays.manifest[0]), "record": newest, "name": SNAPSHOTS + "n"}[damage]
    values_of(three)[key] = b"damage" + values_of(three)[key]
    before = dict(values_of(three))
    with pytest.raises(Unavailable, match="nothing is deleted"):
        letting_go(three)
    assert values_of(three) == before


def test_a_place_where_nothing_was_shipped_is_refused() -> None:
    """It may be somebody's replica."""
    found = archive()
    found.store.put_if_absent("blobs/aa/x", b"x")
    with pytest.raises(WrongIndex):
        letting_go(found)


class Killed(BaseException):
    """The process is gone."""


def test_killed_anywhere_and_repeated_it_ends_the_same(three: Archive) -> None:
    """In between, what is published or has a name is whole."""
    versions = [Version(1, "ac"), Version(2, "bc"), Version(3, "cd")]
    take(three, versions[0].record, "a", now=1.0)
    take(three, versions[1].record, "b", now=2.0)
    three.hold("a", True, LINEAGE, 1.0), three.hold("a", False, LINEAGE, 1.0)
    policy, before = Policy(keep_last=1, keep_seconds=0.0), dict(values_of(three))
    letting_go(three, policy)
    end = dict(values_of(three))
    for last in itertools.count():
        values = dict(before)
        steps = itertools.count()

        def reach(_: str, last: int = last, steps: itertools.count[int] = steps) -> None:
            if next(steps) == last:
                raise Killed

        try:
            letting_go(archive(values), policy, reach=reach)
            break
        except Killed:
            assert not lacking(values, versions)
        letting_go(archive(values), policy, now=LATE + 7200)
        assert values == end
    assert last > 10


def test_at_any_point_of_an_expiry_a_version_that_goes_back_is_shipped_whole_or_later(three: Archive) -> None:
    """It needs again what is just going: it is spared, or it is put again when the expiry is done."""
    back, before = Version(4, "abd"), dict(values_of(three))
    outcomes = set()
    for last in itertools.count():
        values, steps = dict(before), itertools.count()

        def reach(
            _: str, last: int = last, steps: itertools.count[int] = steps, values: dict[str, bytes] = values
        ) -> None:
            if next(steps) == last:
                try:
                    ship(archive(values), [back], lambda: LATE)
                    outcomes.add("shipped")
                except Unavailable:
                    outcomes.add("later")

        letting_go(archive(values), reach=reach)
        assert not lacking(values, [back])
        if next(steps) <= last:
            break
        ship(archive(values), [back], lambda: LATE)
        assert not lacking(values, [back]) and archive(values).versions()[-1] == (4, 1)
    assert outcomes == {"shipped", "later"}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_who_ships_names_and_expires_at_the_same_time_leaves_nothing_torn(data: st.DataObject) -> None:
    """Every published version and every name that was given is whole, in any order of operations; also one that goes
    back to what an expiry was about to delete."""
    letters = st.text("abcd", min_size=1, max_size=3).map(lambda text: "".join(sorted(set(text))))
    versions = [Version(n, data.draw(letters)) for n in range(1, data.draw(st.integers(3, 6)) + 1)]
    there = data.draw(st.integers(1, len(versions) - 1))
    values: dict[str, bytes] = {}
    ship(archive(values), versions[:there])
    order = itertools.cycle(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=120)))
    baton = Baton(lambda n: next(order) % n)
    seen = [archive(values, baton.turn(actor)) for actor in range(3)]
    named: list[str] = []

    def shipping() -> None:
        with contextlib.suppress(Unavailable):
            ship(seen[0], versions[there:], lambda: LATE)

    def naming() -> None:
        with contextlib.suppress(Unavailable):
            take(seen[2], versions[there - 1].record, "n", now=LATE)
            named.append("n")

    expiries: list[Callable[[], None]] = [lambda: None]
    policy = Policy(keep_last=3, keep_seconds=0.0)
    expiries.append(lambda: letting_go(seen[1], policy) and None)
    baton.run(shipping, expiries[1], naming)
    published = archive(values).versions()
    torn = [fault for fault in lacking(values, versions)
            if named or fault.split(" lacks")[0] in map(str, published)]  # fmt: skip
    assert not torn
    ship(archive(values), versions[there:], lambda: LATE)
    letting_go(archive(values), policy, now=LATE + 7200)
    last = versions[-1]
    kept = [last] + ([versions[there - 1]] if named else [])
    if named or not archive(values).snapshots():
        assert {key for key in values if key.startswith("blobs/")} == {key for one in kept for key in one.blobs}
        assert archive(values).versions() == sorted({one.key for one in kept})


def test_a_notice_of_an_expiry_that_died_is_cleared_away(three: Archive) -> None:
    """Not while it might be alive."""
    notice = Notice(framed.FORMAT, LINEAGE, LATE, blobs=("x",))
    three.store.put_if_absent(EXPIRING + "dead", framed.encode(notice))
    three.store.put_if_absent(EXPIRING + "damaged", b"x")
    three.store.put_if_absent(HOLDS + "gone.00000001", b"x")
    letting_go(three, now=LATE + 3599)
    assert [key for key in values_of(three) if key.startswith((EXPIRING, HOLDS))] == [EXPIRING + "dead"]
    letting_go(three, now=LATE + 3600)
    assert not [key for key in values_of(three) if key.startswith(EXPIRING)]


def test_nothing_is_deleted_where_the_marker_of_the_place_is_missing(three: Archive) -> None:
    """Its records say well enough whose it is to restore from it, not to delete there."""
    before = values_of(three)
    before.pop("shipped.json")
    there = dict(before)
    with pytest.raises(Unavailable, match="penstock ship"):
        letting_go(three)
    assert values_of(three) == there
