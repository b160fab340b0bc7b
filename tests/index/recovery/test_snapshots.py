"""Names in a DR store: given once, kept for as long as they say, and all that they need with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs import framed
from penstock.index.care.rollback import rollback
from penstock.index.commits import log
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery import contents
from penstock.index.recovery.archive import EXPIRING, SNAPSHOTS, Archive, Notice, coming_key
from penstock.index.recovery.audit import audit
from penstock.index.recovery.expire import expire
from penstock.index.recovery.policy import Policy
from penstock.index.recovery.shipping import Shipper
from penstock.index.recovery.snapshots import find, hold, take
from penstock.index.stores.store import LocalStore
from tests.index.recovery.depot import LINEAGE, Version, archive, of_letter, ship
from tests.index.world import World, delta, served

V = {number: Version(number, letters) for number, letters in ((1, "ac"), (2, "bc"), (3, "cd"))}


@pytest.fixture
def three() -> tuple[Archive, dict[str, bytes]]:
    """Versions 1 to 3."""
    values: dict[str, bytes] = {}
    found = archive(values)
    ship(found, V.values())
    return found, values


def test_a_version_is_named_once_and_the_same_again_is_fine(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Another version may not have that name; another name may have that version."""
    found, _ = three
    first = take(found, V[1].record, "a", now=5.0, keep_until=9.0)
    assert take(found, V[1].record, "a", now=6.0) == first == find(found, "a")
    assert take(found, V[1].record, "b", now=6.0, hold=True).version == 1
    with pytest.raises(WrongIndex, match="is version 1 there, not 2"):
        take(found, V[2].record, "a", now=7.0)
    assert found.held() == {"b"}


def test_what_is_not_there_gets_no_name(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Nor what was superseded: nobody would keep it."""
    found, _ = three
    with pytest.raises(Unavailable, match="version 4 is not there"):
        take(found, Version(4, "e").record, "x", now=1.0)
    ship(found, [Version(3, "e", 2)])
    with pytest.raises(Unavailable, match="version 3 is not there"):
        take(found, V[3].record, "x", now=1.0)
    assert not found.snapshots()


def test_a_version_that_is_just_expiring_is_named_later(three: tuple[Archive, dict[str, bytes]]) -> None:
    """And so is a snapshot that is to be held: the notice says what is going."""
    found, values = three
    take(found, V[1].record, "old", now=1.0)
    notice = Notice(framed.FORMAT, LINEAGE, 100.0, ("old",), ((2, 1),))
    values[EXPIRING + "x"] = framed.encode(notice)
    with pytest.raises(Unavailable, match="try again"):
        take(found, V[2].record, "x", now=101.0)
    with pytest.raises(Unavailable, match="try again"):
        hold(found, "old", True, 101.0)
    assert hold(found, "old", False, 102.0).name == "old" and found.held() == frozenset()


def test_a_name_whose_version_expired_meanwhile_is_said(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Between the look at what is there and the look at what has the name."""
    found, values = three
    turns = itertools.count()

    def turn() -> None:
        if SNAPSHOTS + "x" in values and next(turns) == 0:
            values.pop(log.key(2, 1))

    with pytest.raises(Unavailable, match="expired while it was named"):
        take(archive(values, turn), V[2].record, "x", now=1.0)
    done = audit(found)
    assert [flaw.snapshots for flaw in done.flaws] == [["x"]] and done.whole == 3


def test_what_is_listed_says_what_each_needs_alone(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Bytes of its closure, and those that no other version there needs; the rest is a range of time."""
    found, values = three
    take(found, V[1].record, "a", now=5.0, hold=True)
    take(found, V[3].record, "c", now=6.0, keep_until=7.0)
    found.announce(Version(4, "e").record)
    said = contents.contents(found)
    sizes = {number: sum(ref.size for ref, _ in version.blobs.values()) for number, version in V.items()}
    shared = of_letter("c")[0].size
    assert [(one.name, one.bytes, one.unique, one.held) for one in said.snapshots] == [
        ("a", sizes[1], sizes[1] - shared, True),
        ("c", sizes[3], sizes[3] - shared, False),
    ]
    assert said.versions == contents.Span(3, 1, 3, 100.0, 300.0) and said.coming == [4]
    values[SNAPSHOTS + "x"] = b"x"
    values[next(key for key in V[1].blobs if values[key] == V[1].manifest[1])] = b"x"
    said = contents.contents(found)
    assert len(said.faults) == 1 and said.snapshots[0].fault and said.snapshots[0].bytes is None
    with pytest.raises(Corrupt):
        find(found, "x")


class Model:
    """What should be there: versions by number, names, holds; and what policy lets go of, by the plain words of it."""

    def __init__(self) -> None:
        self.shipped: list[Version] = []
        self.names: dict[str, tuple[Version, float, float]] = {}
        self.held: set[str] = set()

    def expire(self, policy: Policy, now: float) -> None:
        free = [name for name, (_, _, until) in self.names.items() if not until and name not in self.held]
        free = sorted(free, key=lambda name: self.names[name][1])[max(0, len(free) - policy.keep_last) :]
        stay = {name for name, (_, _, until) in self.names.items() if name in self.held or name in free or until > now}
        self.names = {name: self.names[name] for name in stay}
        self.held &= stay
        kept = {version.key for version, _, _ in self.names.values()} | {self.shipped[-1].key}
        for version, following in itertools.pairwise(self.shipped):
            if following.record.committed_at > now - policy.keep_seconds:
                kept.add(version.key)
        self.shipped = [version for version in self.shipped if version.key in kept]

    def keys(self) -> set[str]:
        logs = {log.key(*version.key) for version in self.shipped}
        blobs = {key for version in self.shipped for key in version.blobs}
        return logs | blobs | {SNAPSHOTS + name for name in self.names} | {"shipped.json"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ship"), st.text("abcde", min_size=1, max_size=3)),
        st.tuples(st.just("name"), st.sampled_from([0.0, 0.0, 150.0, 400.0])),
        st.tuples(st.sampled_from(["hold", "release"]), st.integers(0, 5)),
        st.tuples(st.just("expire"), st.tuples(st.integers(0, 2), st.sampled_from([0.0, 100.0, 250.0]))),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_what_policy_keeps_is_whole_and_everything_else_is_gone(steps: list[tuple[str, Any]]) -> None:
    """After any history of shipping, naming, holding and expiring."""
    values: dict[str, bytes] = {}
    found, model, now, tokens = archive(values), Model(), 100.0, itertools.count()
    for step, (what, how) in enumerate([("ship", "a"), *steps, ("expire", (1, 100.0))]):
        names = sorted(model.names)
        now += 10
        if what == "ship":
            number = model.shipped[-1].key[0] + 1 if model.shipped else 1
            version = Version(number, "".join(sorted(set(how))))
            now = max(now, version.record.committed_at)
            ship(found, [version])
            model.shipped.append(version)
        elif what == "name":
            name, until = f"n{step}", now + how if how else 0.0
            take(found, model.shipped[-1].record, name, now=now, keep_until=until)
            model.names[name] = (model.shipped[-1], now, until)
        elif what in ("hold", "release") and names:
            name = names[how % len(names)]
            hold(found, name, what == "hold", now)
            (model.held.add if what == "hold" else model.held.discard)(name)
        elif what == "expire":
            policy = Policy(*how)
            expire(found, policy, clock=lambda now=now: now, token=lambda: f"t{next(tokens)}")
            model.expire(policy, now)
            assert {key for key in values if not key.startswith("holds/")} == model.keys()
            assert found.held() == model.held
            done = audit(found, every=True)
            assert not done.flaws and done.whole == model.shipped[-1].key[0]


def test_versions_of_a_real_index_are_kept_whole_and_can_be_read(tmp_path: Path) -> None:
    """Shipped by the shipper, named, let go: what stays answers as it did when it was committed."""
    world = World(tmp_path)
    found = Archive(LocalStore.create(tmp_path / "dr", token=world.token), world.reports.append)
    expected: dict[int, dict[str, list[str]]] = {}
    with world.create() as writer:
        lineage = writer.meta.lineage
        shipper = Shipper(
            list(world.stores().values()),
            found,
            lineage=lineage,
            scratch=tmp_path / "scratch",
            clock=lambda: 2000.0,
            report=world.reports.append,
        )
        docs: dict[str, str] = {}
        for number in range(1, 7):
            docs = {**docs, f"d{number % 3}": f"text of turn {number}"}
            base = writer.head().version
            writer.commit(delta(base, docs))
            shipper.catch_up()
            newest = found.versions()[-1]
            expected[newest[0]] = {uri: text.split() for uri, text in docs.items()}
            if number == 2:
                take(found, found.record(*newest), "two", now=2000.0)
        kept = found.versions()
        done = expire(found, Policy(1, 0.0), clock=lambda: 3000.0, token=world.token)
        assert done.blobs > 0 and found.versions() == [kept[1], kept[-1]]
        assert not audit(found, every=True, threads=3).flaws
        for key in found.versions():
            manifest = found.manifest(found.record(*key).manifest)
            assert served(manifest, {"dr": found.store}) == expected[key[0]]
        assert not found.store.size(coming_key(*kept[0]))
        writer.commit(delta(writer.head().version, {"d9": "after expiry"}))
        assert shipper.catch_up().versions == 1 and not audit(found, every=True).flaws


def test_a_rollback_is_shipped_whole_at_any_point_of_an_expiry_and_the_other_way_round(tmp_path: Path) -> None:
    """The real shipper beside the real expiry: each is run whole at each point of the other, on a version that needs
    again what only expired ones needed."""
    world, values = World(tmp_path, replicas=1, write_quorum=1), dict[str, bytes]()
    replicas = list(world.stores().values())
    ticks = itertools.count()

    def shipping(values: dict[str, bytes], reach: Callable[[str], None] = lambda _: None) -> None:
        shipper = Shipper(
            replicas,
            archive(values),
            lineage=lineage,
            scratch=tmp_path / "scratch",
            clock=lambda: 2000.0,
            report=world.reports.append,
            reach=reach,
            threads=1,
        )
        shipper.catch_up()

    def expiring(values: dict[str, bytes], reach: Callable[[str], None] = lambda _: None) -> None:
        expire(archive(values), Policy(0, 0.0), clock=lambda: 2000.0, token=lambda: f"t{next(ticks)}", reach=reach)

    with world.create() as writer:
        lineage = writer.meta.lineage
        for text in ("one", "two words", "three words here"):
            writer.commit(delta(writer.head().version, {"a": text}))
        shipping(values)
        before = values
        back = rollback(writer, 1).version
    for outer, inner in ((expiring, shipping), (shipping, expiring)):
        outcomes = set[str]()
        for last in itertools.count():
            now, steps = dict(before), itertools.count()

            def reach(
                _: str,
                last: int = last,
                steps: itertools.count[int] = steps,
                now: dict[str, bytes] = now,
                inner: Callable[..., None] = inner,
                outcomes: set[str] = outcomes,
            ) -> None:
                if next(steps) == last:
                    try:
                        inner(now)
                        outcomes.add("done")
                    except Unavailable:
                        outcomes.add("later")

            outer(now, reach)
            assert not audit(archive(now), every=True).flaws
            shipping(now)
            assert audit(archive(now), every=True).whole == back
            if next(steps) <= last:
                break
        assert last > 3 and outcomes == ({"done", "later"} if inner is shipping else {"done"})


@pytest.mark.parametrize(
    "damage", [lambda values: values.pop("shipped.json"), lambda v: v.update({"shipped.json": b"x"})]
)
def test_a_place_without_its_marker_is_still_listed_and_shown(
    three: tuple[Archive, dict[str, bytes]], damage: Callable[[dict[str, bytes]], object]
) -> None:
    """With what is wrong: its records say whose it is."""
    take(three[0], V[1].record, "first", now=1.0)
    damage(three[1])
    found = contents.contents(three[0])
    assert ([one.name for one in found.snapshots], found.lineage) == (["first"], LINEAGE)
    assert any("shipped.json" in fault for fault in found.faults)
    assert contents.show(three[0], "first").version == 1
