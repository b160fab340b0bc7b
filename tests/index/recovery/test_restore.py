"""Restoring one version out of DR stores into fresh replicas: whole, verified, resumable, as a new lineage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.index import Reader
from penstock.index.blobs import blob
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, Fenced, Unavailable
from penstock.index.recovery import progress as steps
from penstock.index.recovery import restore
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.choose import Wish
from penstock.index.types import BlobRef
from tests.index.recovery.shipped import (
    Fresh,
    archive,
    content,
    flip,
    manifest_at,
    own_blobs,
    same_but_lineage,
    ship,
)
from tests.index.s3 import S3Server, server, store_at  # noqa: F401 - a fixture is used by its name
from tests.index.world import World, delta


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    return Fresh(tmp_path / "new")


def test_a_restored_index_answers_as_the_old_one_did(old: World, dr: Archive, fresh: Fresh) -> None:
    """The same rows with the same scores, nothing to be found wrong, and versions go on counting."""
    doing = fresh.restore(dr)
    assert content(fresh.world.root) == content(old.root)
    assert fresh.world.findings() == []
    assert (doing.progress.version, doing.progress.now) == (3, 4)


def test_it_is_a_new_lineage_and_can_be_written(old: World, dr: Archive, fresh: Fresh) -> None:
    """Content, cursors and blob names stay; lineage, membership and what follows are its own."""
    doing = fresh.restore(dr)
    with fresh.world.open() as writer:
        head = writer.head()
        assert head.lineage == doing.progress.lineage != doing.progress.was
        assert same_but_lineage(head, manifest_at(dr, 3))
        assert head.committed_at > manifest_at(dr, 3).committed_at
        assert writer.commit(delta(4, {"s/new": "one"})).version == 5
    assert fresh.world.findings() == []


def text_blob(dr: Archive, version: int) -> Path:
    """A blob that only this version brought, and that no search reads."""
    return dr.store.root / blob.key(manifest_at(dr, version).texts[-1].blob)  # type: ignore[attr-defined]


def test_damage_found_while_copying_goes_over_to_the_next_whole_version(dr: Archive, fresh: Fresh) -> None:
    """What had arrived stays; the number stays and the epoch goes up, so that every reader follows."""
    flip(text_blob(dr, 3))
    doing = fresh.restore(dr)
    assert (doing.progress.version, doing.progress.now, doing.progress.epoch) == (2, 4, 2)
    (line,) = doing.progress.passed_over
    assert "version 3 is passed over" in line and "not what the name says" in line
    assert same_but_lineage(manifest_at(dr, 2), read_manifest([fresh.world.stores()["0"]], newest(fresh), print))
    with fresh.world.open() as writer:
        assert writer.commit(delta(4, {"s/new": "one"})).version == 5
    assert fresh.world.findings() == []


def newest(fresh: Fresh) -> BlobRef:
    record = log.newest(fresh.world.stores()["0"])
    assert record is not None
    return record.manifest


def test_damage_in_what_was_asked_for_stops(dr: Archive, fresh: Fresh) -> None:
    """Saying what is damaged, and which version is whole; no replica says that it is one."""
    flip(text_blob(dr, 3))
    with pytest.raises(Corrupt, match=r"version 3 cannot be restored.*newest version that is whole is 2"):
        fresh.restore(dr, wish=Wish(version=3))
    assert markers.replica(fresh.world.stores()["0"]) is None


def test_what_is_damaged_in_one_dr_store_comes_from_another(
    tmp_path: Path, old: World, dr: Archive, fresh: Fresh
) -> None:
    """Every blob is good in one of the two, and the newest version is restored."""
    other = archive(tmp_path / "other")
    ship(old.stores()["1"], other)
    for number, path in enumerate(sorted(own_blobs(dr, 3))):
        flip(path if number % 2 else other.store.root / path.relative_to(dr.store.root))  # type: ignore[attr-defined]
    assert fresh.restore(dr, other).progress.version == 3
    assert fresh.world.findings() == []
    helped = [line for line in fresh.said if "from another DR store" in line]
    assert helped and all(line.startswith(f"{dr.name}: blob ") for line in helped)


def test_nothing_is_under_its_name_before_all_of_it_was_checked(dr: Archive, fresh: Fresh) -> None:
    """A damaged blob is on no replica, not even for a moment that a kill could keep."""
    damaged = text_blob(dr, 3)
    flip(damaged)
    fresh.restore(dr)
    for name in fresh.world.ids:
        assert not list(fresh.world.folder(name).glob(f"blobs/*/{damaged.name}"))
        assert not list(fresh.world.folder(name).glob("tmp/*"))


def test_the_old_lineage_is_shut_out_before_the_new_one_can_be_written(dr: Archive, fresh: Fresh) -> None:
    """Whoever looks at a moment when the new one can be written finds the fence."""
    doing = fresh.restoring([dr])
    doing.lay()
    doing.fill(lambda: None)
    dr.check_not_fenced(doing.progress.was)
    assert all(markers.replica(store) is None for store in fresh.world.stores().values())
    doing.fence(1.0)
    with pytest.raises(Fenced, match="version 3"):
        dr.check_not_fenced(doing.progress.was)


def test_a_dr_store_that_cannot_be_written_names_the_way_out(dr: Archive, fresh: Fresh) -> None:
    """Credentials that may only read copy everything, and then it takes a decision."""
    doing = fresh.restoring([dr])
    doing.lay()
    doing.fill(lambda: None)
    refusing(dr)
    with pytest.raises(Unavailable, match="--fork"):
        doing.fence(1.0)


def refusing(dr: Archive) -> None:
    def put(key: str, data: bytes | Path) -> bool:
        raise Unavailable(f"{dr.name}: no right to write")

    dr.store.put_if_absent = put  # type: ignore[method-assign]


def test_a_second_restore_from_one_place_is_said(tmp_path: Path, dr: Archive, fresh: Fresh) -> None:
    """Two successors may be meant, or a mistake."""
    fresh.restore(dr)
    second = Fresh(tmp_path / "second")
    second.restore(dr)
    assert any("another index was restored from there before" in line for line in second.said)


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("point", restore.CRASH_POINTS[1:])
def test_a_restore_that_died_is_finished_by_the_same_one(dr: Archive, fresh: Fresh, point: str) -> None:
    """Wherever it dies, with the same lineage; what had arrived is not fetched again."""

    def reach(here: str) -> None:
        if here == point:
            raise Killed

    def carry_out(doing: restore.Restoring) -> None:
        doing.lay()
        doing.fill(lambda: None)
        doing.fence(6000.0)
        doing.found(Catalog(fresh.world.catalog), 6000.0)

    first = fresh.restoring([dr], reach=reach)
    with pytest.raises(Killed):
        carry_out(first)
    again = first
    if steps.unfinished(fresh.world.root) is not None:
        again = fresh.restoring([dr])
        carry_out(again)
        whole = len(manifests.closure(manifest_at(dr, 3)))
        assert first.fetched[0] + again.fetched[0] == whole
    done = steps.finished(fresh.world.root)
    assert done is not None and done.lineage == first.progress.lineage == again.progress.lineage
    assert fresh.world.findings() == []


def test_a_version_that_expired_meanwhile_is_replaced(dr: Archive, fresh: Fresh) -> None:
    """The DR store went on between a kill and the next try."""
    fresh.restoring([dr], Wish())
    text_blob(dr, 3).unlink()
    doing = fresh.restore(dr)
    assert (doing.progress.version, doing.progress.now) == (2, 4)
    assert fresh.world.findings() == []


def test_replicas_may_be_buckets(tmp_path: Path, dr: Archive, server: S3Server) -> None:  # noqa: F811
    """A folder and a bucket are filled from one reading of the DR store."""
    fresh = Fresh(tmp_path / "new")
    bucket = store_at(f"s3://{server.bucket()}/replica", server.environ)
    fresh.world.wrap = lambda name, store: bucket if name == "1" else store
    fresh.restore(dr)
    assert fresh.world.findings() == []
    with Reader.open(bucket, report=pytest.fail) as reader:
        assert reader.version == 4


def test_a_dr_store_may_be_a_bucket(tmp_path: Path, old: World, fresh: Fresh, server: S3Server) -> None:  # noqa: F811
    """It is searched by ranges until the blobs are here."""
    dr = Archive(store_at(f"s3://{server.bucket()}/dr", server.environ), print)
    ship(old.stores()["0"], dr)
    doing = fresh.restoring([dr])
    with Reader.open(*doing.lay(), report=pytest.fail) as reader:
        assert len(reader.search(np.ones((1, 8), np.float32), 100)[0]) == len(content(old.root))
    fresh.restore(dr)
    assert fresh.world.findings() == []
