"""Which version is restored: the one that was wished for, or the newest whole one, and what is said of the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.index.blobs import blob, framed
from penstock.index.commits import log
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery.archive import SNAPSHOTS, Archive, Named
from penstock.index.recovery.choose import Holdings, Wish
from penstock.index.stores.store import LocalStore
from tests.index.recovery.shipped import archive, flip, index, own_blobs, record_at, ship, token
from tests.index.world import World


@pytest.fixture
def dr(dr: Archive) -> Archive:
    """Three versions, of which the second is called `two`."""
    second = record_at(dr, 2)
    dr.name_version(
        Named(framed.FORMAT, second.lineage, "two", 2, second.epoch, second.manifest, second.committed_at, 9.0)
    )
    return dr


def holdings(*archives: Archive) -> Holdings:
    return Holdings.of(archives, lambda _: None)


def picked(of: Archive, **wish: object) -> tuple[int, str]:
    whole, passed = holdings(of).pick(Wish(**wish))  # type: ignore[arg-type]
    return whole.record.version, " ".join(passed)


def record_file(of: Archive, version: int) -> Path:
    record = record_at(of, version)
    path = of.store.local_path(log.key(version, record.epoch))
    assert path is not None
    return path


def manifest_file(of: Archive, version: int) -> Path:
    path = of.store.local_path(blob.key(record_at(of, version).manifest))
    assert path is not None
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_without_a_wish_the_newest_is_taken(dr: Archive) -> None:
    """Nothing is passed over."""
    assert picked(dr) == (3, "")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda dr: flip(record_file(dr, 3)), "digest does not match"),
        (lambda dr: flip(manifest_file(dr, 3)), "no store has a good copy"),
        (lambda dr: cut(manifest_file(dr, 3)), "its manifest .* bytes in"),
        (lambda dr: manifest_file(dr, 3).unlink(), "its manifest .* is missing"),
        (lambda dr: own_blobs(dr, 3)[0].unlink(), "is missing"),
        (lambda dr: cut(own_blobs(dr, 3)[0]), "bytes in"),
        (lambda dr: [path.unlink() for path in own_blobs(dr, 3)], "is missing"),
    ],
    ids=["record", "manifest", "truncated manifest", "no manifest", "no blob", "short blob", "no closure"],
)
def test_a_damaged_version_is_passed_over_or_stops(dr: Archive, harm: object, said: str) -> None:
    """Without a wish the newest whole one is taken, saying why; with a wish for exactly that one nothing is, and the
    newest whole one is named."""
    harm(dr)  # type: ignore[operator]
    version, passed = picked(dr)
    assert version == 2
    assert re.search(rf"version 3 is passed over.*{said}", passed)
    with pytest.raises(Corrupt, match=rf"version 3 cannot be restored.*{said}.*the newest version that is whole is 2"):
        picked(dr, version=3)


def test_where_nothing_is_whole_that_is_said(dr: Archive) -> None:
    """There is nothing to offer."""
    for version in (1, 2, 3):
        flip(record_file(dr, version))
    with pytest.raises(Corrupt, match="no version is whole"):
        picked(dr)
    with pytest.raises(Corrupt, match="no other version there is whole"):
        picked(dr, version=2)


def test_a_snapshot_is_found_by_its_name(dr: Archive) -> None:
    """One that is not there is refused with those that are."""
    assert picked(dr, snapshot="two") == (2, "")
    with pytest.raises(WrongIndex, match="has no snapshot three; there are: two"):
        picked(dr, snapshot="three")
    with pytest.raises(WrongIndex, match="no name of a snapshot"):
        picked(dr, snapshot="../two")


def test_a_damaged_snapshot_stops(dr: Archive) -> None:
    """Nobody guesses which version it was; the versions are still there."""
    path = dr.store.local_path(SNAPSHOTS + "two")
    assert path is not None
    flip(path)
    with pytest.raises(Corrupt, match=r"snapshots/two.*--version V, from 1 to 3"):
        picked(dr, snapshot="two")
    assert picked(dr) == (3, "")


def test_a_time_means_the_newest_version_of_then(dr: Archive) -> None:
    """To the moment itself; before the first there is nothing."""
    times = {version: record_at(dr, version).committed_at for version in (1, 2, 3)}
    assert [picked(dr, at=times[version])[0] for version in (1, 2, 3)] == [1, 2, 3]
    assert picked(dr, at=times[3] - 0.1)[0] == 2
    assert picked(dr, at=1e12)[0] == 3
    with pytest.raises(WrongIndex, match="its oldest version, 1, was committed after that time"):
        picked(dr, at=times[1] - 0.1)


def test_a_time_that_may_mean_a_damaged_record_stops(dr: Archive) -> None:
    """When it was committed cannot be read: taking the one before would be a guess."""
    times = {version: record_at(dr, version).committed_at for version in (1, 3)}
    flip(record_file(dr, 2))
    with pytest.raises(Corrupt, match="version 2 cannot be restored"):
        picked(dr, at=times[3] - 0.1)
    assert picked(dr, at=times[3])[0] == 3


def test_a_version_that_is_not_there_is_refused(dr: Archive) -> None:
    """With what there is."""
    with pytest.raises(WrongIndex, match="has no version 9; there are 3, from 1 to 3"):
        picked(dr, version=9)


def test_what_one_store_has_damaged_another_has(tmp_path: Path, old: World, dr: Archive) -> None:
    """Together they hold the newest version, although neither does alone."""
    other = archive(tmp_path / "other")
    ship(old.stores()["1"], other)
    own_blobs(dr, 3)[0].unlink()
    flip(record_file(other, 3))
    whole, passed = holdings(dr, other).pick(Wish())
    assert (whole.record.version, passed) == (3, [])


def test_stores_of_two_indexes_are_refused(tmp_path: Path, dr: Archive) -> None:
    """Nothing is mixed."""
    other = archive(tmp_path / "other")
    ship(index(tmp_path / "another").stores()["0"], other)
    with pytest.raises(WrongIndex, match="versions of different indexes"):
        holdings(dr, other)


def test_a_store_that_is_away_is_done_without(tmp_path: Path, dr: Archive) -> None:
    """While there is another; alone it is an error that passes."""
    away = Archive(LocalStore(tmp_path / "unmounted", token=token), print)
    assert [store.name for store in holdings(away, dr).stores] == [dr.name]
    with pytest.raises(Unavailable, match="unmounted"):
        holdings(away)


def test_a_damaged_first_file_is_done_without(dr: Archive) -> None:
    """The records say whose they are, too."""
    path = dr.store.local_path("shipped.json")
    assert path is not None
    flip(path)
    assert picked(dr) == (3, "")


def test_a_place_where_nothing_was_shipped_is_refused(tmp_path: Path) -> None:
    """It is probably another one that was meant: what is there is said, and nothing to be run is."""
    of = archive(tmp_path / "place")
    with pytest.raises(WrongIndex, match="is empty; check the place"):
        holdings(of)
    (tmp_path / "place" / "my photo.jpg").touch()
    with pytest.raises(WrongIndex, match=r"nothing was ever shipped here.*my photo.jpg.*check the place"):
        holdings(of)
    (tmp_path / "place" / "my photo.jpg").unlink()
    (tmp_path / "place").rmdir()
    with pytest.raises(Unavailable, match="not there"):
        holdings(of)


def test_what_was_announced_and_is_not_listed_is_said(dr: Archive) -> None:
    """Nobody can see whether shipping was cut short or a record was lost; the newest that is there is restored."""
    record_file(dr, 3).unlink()
    version, passed = picked(dr)
    assert version == 2 and "version 3 was on its way" in passed
    with pytest.raises(WrongIndex, match=r"has no version 3.*was on its way"):
        picked(dr, version=3)


def test_a_snapshot_without_its_record_is_damage(tmp_path: Path, old: World, dr: Archive) -> None:
    """It is said with every restore; asked for by its name, what is whole is named. Another store's record will do."""
    other = archive(tmp_path / "other")
    ship(old.stores()["1"], other)
    record_file(dr, 2).unlink()
    version, passed = picked(dr)
    assert version == 3 and "the record of version 2, which snapshot two names, is lost" in passed
    with pytest.raises(Corrupt, match=r"snapshot two is version 2.*whole is 3: --version 3"):
        picked(dr, snapshot="two")
    assert holdings(dr, other).pick(Wish())[1] == []


def test_the_command_that_looks_there_is_named(dr: Archive) -> None:
    """Not those that look at replicas."""
    harms: list[tuple[Path, dict[str, object]]] = [
        (dr.store.root / SNAPSHOTS / "two", {"snapshot": "two"}),  # type: ignore[attr-defined]
        (manifest_file(dr, 3), {"version": 3}),
        (record_file(dr, 2), {"version": 2}),
    ]
    for path, wish in harms:
        flip(path)
        with pytest.raises(Corrupt) as caught:
            picked(dr, **wish)
        assert f"run `penstock snapshot verify --store {dr.name}`" in str(caught.value)
        assert "penstock verify" not in str(caught.value)
