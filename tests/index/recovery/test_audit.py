"""Verifying a DR store: what is wrong is named, with the versions that it spoils, and the newest that is whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.index.blobs import blob
from penstock.index.commits import log
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.recovery.archive import HOLDS, SNAPSHOTS, Archive
from penstock.index.recovery.audit import Audit, audit
from penstock.index.recovery.fencing import FENCES
from penstock.index.recovery.snapshots import take
from tests.fakes.stores import Away
from tests.index.recovery.depot import LINEAGE, Version, archive, of_letter, ship

V = {number: Version(number, letters) for number, letters in ((1, "ac"), (2, "bc"), (3, "cd"))}


@pytest.fixture
def three() -> tuple[Archive, dict[str, bytes]]:
    """Versions 1 to 3, of which 1 has a name."""
    values: dict[str, bytes] = {}
    found = archive(values)
    ship(found, V.values())
    take(found, V[1].record, "first", now=1.0)
    return found, values


def key_of(letter: str) -> str:
    return blob.key(of_letter(letter)[0])


def flip(data: bytes) -> bytes:
    return data[:3] + bytes([data[3] ^ 1]) + data[4:]


def said(done: Audit) -> list[tuple[str, list[int], list[str]]]:
    return [(flaw.key, flaw.versions, flaw.snapshots) for flaw in done.flaws]


def test_what_is_whole_has_no_flaws(three: tuple[Archive, dict[str, bytes]]) -> None:
    """The newest version and the named ones are looked at, each blob once; all of them if that is asked for."""
    read: list[str] = []
    done = audit(three[0], report_progress=lambda what, done, total: read.append(f"{done}/{total}"))
    assert (done.versions, done.blobs, done.flaws, done.whole) == ([1, 3], 5, [], 3)
    assert read == [f"{n}/5" for n in range(1, 6)]
    assert (audit(three[0], every=True, threads=3).versions, audit(three[0], every=True).blobs) == ([1, 2, 3], 7)
    assert audit(three[0], name="first").versions == [1] == audit(three[0], version=1).versions


DAMAGES: dict[str, tuple[Callable[[dict[str, bytes]], object], tuple[str, list[int], list[str]], int | None]] = {
    "a flipped byte": (
        lambda values: values.update({key_of("d"): flip(values[key_of("d")])}),
        (key_of("d"), [3], []),
        2,
    ),
    "a missing blob that all need": (lambda values: values.pop(key_of("c")), (key_of("c"), [1, 3], ["first"]), None),
    "a truncated manifest": (
        lambda values: values.update({blob.key(V[3].manifest[0]): V[3].manifest[1][:40]}),
        (blob.key(V[3].manifest[0]), [3], []),
        2,
    ),
    "a named version without its manifest": (
        lambda values: values.pop(blob.key(V[1].manifest[0])),
        (blob.key(V[1].manifest[0]), [1], ["first"]),
        3,
    ),
    "a name without its record": (lambda values: values.pop(log.key(1, 1)), (log.key(1, 1), [1], ["first"]), 3),
    "a damaged record": (lambda values: values.update({log.key(3, 1): b"x"}), (log.key(3, 1), [3], []), 2),
    "another version's record": (
        lambda values: values.update({log.key(3, 1): values[log.key(2, 1)]}),
        (log.key(3, 1), [3], []),
        2,
    ),
    "a damaged name": (lambda values: values.update({SNAPSHOTS + "x": b"x"}), (SNAPSHOTS + "x", [], ["x"]), 3),
    "a damaged fence": (lambda values: values.update({FENCES + "x": b"x"}), (FENCES + "x", [], []), 3),
    "a damaged hold": (lambda values: values.update({HOLDS + "x.1": b"x"}), (HOLDS + "x.1", [], []), 3),
    "a damaged marker of the place": (
        lambda values: values.update({"shipped.json": b"x"}),
        ("shipped.json", [], []),
        3,
    ),
    "no marker of the place": (lambda values: values.pop("shipped.json"), ("shipped.json", [], []), 3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_named_with_what_it_spoils(three: tuple[Archive, dict[str, bytes]], damage: str) -> None:
    """And the newest version that is whole is found, though nobody asked for it."""
    break_, flaw, whole = DAMAGES[damage]
    break_(three[1])
    done = audit(three[0])
    assert (said(done), done.whole) == ([flaw], whole)
    assert done.flaws[0].what and done.flaws[0].remedy


def test_a_record_without_its_closure_names_each_blob(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Nothing of what the record promises is there."""
    for key in V[3].blobs:
        three[1].pop(key)
    done = audit(three[0], version=3)
    assert said(done) == [(blob.key(V[3].manifest[0]), [3], [])] and done.whole is None
    done = audit(three[0], name="first")
    assert said(done) == [(key_of("c"), [1], ["first"])]


def test_what_is_not_there_is_refused(three: tuple[Archive, dict[str, bytes]]) -> None:
    """With what there is."""
    with pytest.raises(WrongIndex, match="no snapshot second"):
        audit(three[0], name="second")
    with pytest.raises(WrongIndex, match="no version 9"):
        audit(three[0], version=9)


def test_what_expires_meanwhile_is_not_missed(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Its record went before its blobs did."""

    def progress(what: str, done: int, total: int) -> None:
        for key in (log.key(1, 1), SNAPSHOTS + "first", key_of("a"), blob.key(V[1].manifest[0])):
            three[1].pop(key, None)

    three[1].pop(key_of("a"))
    assert not audit(three[0], report_progress=progress).flaws


def test_a_store_that_goes_away_is_no_damage(three: tuple[Archive, dict[str, bytes]]) -> None:
    """Nothing is said of blobs that could not be looked at."""
    gone = False

    def leave(what: str, done: int, total: int) -> None:
        nonlocal gone
        gone = True

    with pytest.raises(Unavailable):
        audit(Archive(Away(three[0].store, lambda: gone), print), report_progress=leave)


def test_the_lineage_is_that_of_the_records_where_the_marker_is_damaged(
    three: tuple[Archive, dict[str, bytes]],
) -> None:
    """So that all else is still looked at."""
    three[1]["shipped.json"] = b""
    three[1].pop(key_of("d"))
    assert [flaw.key for flaw in audit(three[0]).flaws] == ["shipped.json", key_of("d")] and LINEAGE
