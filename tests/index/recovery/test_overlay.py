"""Searching an index that is being restored: all of it is there from the first moment, wherever it lies by now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.index import Reader
from penstock.index.blobs import blob
from penstock.index.errors import Corrupt
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.overlay import Overlay, overlays
from penstock.index.stores.store import LocalStore
from tests.index.recovery.shipped import Fresh, archive, content, flip, manifest_at, own_blobs, ship, token
from tests.index.world import World

QUERY = np.ones((1, 8), np.float32)


def answers(stores: list[Overlay]) -> tuple[int, dict[str, tuple[str, float]]]:
    with Reader.open(*stores, report=pytest.fail) as reader:
        return reader.version, {hit.chunk_id: (hit.text, hit.score) for hit in reader.search(QUERY, 100)[0]}


def test_it_is_searched_before_anything_was_copied(tmp_path: Path, old: World, dr: Archive) -> None:
    """The answers are the old index's, under the new number; nothing is said to be wrong."""
    doing = Fresh(tmp_path / "new").restoring([dr])
    assert answers(doing.lay()) == (4, content(old.root))
    assert not list((tmp_path / "new" / "replicas" / "0").rglob("*"))


def test_it_is_searched_at_every_moment_of_the_copying(tmp_path: Path, old: World, dr: Archive) -> None:
    """Before and after each blob, and by a reader that was opened first, also when all is done."""
    expected = (4, content(old.root))
    seen: list[tuple[int, dict[str, tuple[str, float]]]] = []
    laid: list[Overlay] = []
    doing = Fresh(tmp_path / "new").restoring([dr], reach=lambda _: seen.append(answers(laid)) if laid else None)
    laid += doing.lay()
    with Reader.open(*laid, report=pytest.fail) as reader:
        doing.fill(lambda: None)
        assert len(reader.search(QUERY, 100)[0]) == len(expected[1])
    assert len(seen) > 5 and all(each == expected for each in seen)


def test_what_is_damaged_in_one_dr_store_is_read_from_another(tmp_path: Path, old: World, dr: Archive) -> None:
    """Block by block, as ever, and never a wrong answer."""
    other = archive(tmp_path / "other")
    ship(old.stores()["1"], other)
    for number, path in enumerate(sorted(own_blobs(dr, 1), key=str)):
        flip(path if number % 2 else other.store.root / path.relative_to(dr.store.root))  # type: ignore[attr-defined]
    laid = Fresh(tmp_path / "new").restoring([dr, other]).lay()
    with Reader.open(*laid, report=lambda _: None) as reader:
        assert len(reader.search(QUERY, 100)[0]) == len(content(old.root))


def test_a_reader_goes_over_with_the_restore(tmp_path: Path, old: World, dr: Archive) -> None:
    """A blob proves damaged while it is copied: another version gets the same number, and who reads already follows."""
    seen: list[tuple[int, int]] = []
    flip(dr.store.root / blob.key(manifest_at(dr, 3).texts[-1].blob))  # type: ignore[attr-defined]
    doing = Fresh(tmp_path / "new").restoring([dr])
    with Reader.open(*doing.lay(), report=lambda _: None) as reader:
        doing.fill(lambda: seen.append((reader.refresh(), reader.version)))
        assert seen[-1] == (True, 4) and doing.progress.version == 2
        assert {hit.uri for hit in reader.search(QUERY, 100)[0]} == {"s/a", "s/0", "s/1"}
    assert any("version 3 is passed over" in line for line in doing.progress.passed_over)


def test_damage_everywhere_is_an_error_and_no_answer(tmp_path: Path, dr: Archive) -> None:
    """Nothing is served that was not verified."""
    doing = Fresh(tmp_path / "new").restoring([dr])
    laid = doing.lay()
    for path in own_blobs(dr, 3):
        flip(path)
    with pytest.raises(Corrupt), Reader.open(*laid, report=lambda _: None) as reader:
        reader.search(QUERY, 100)


def test_files_of_the_old_lineage_are_not_shown(tmp_path: Path, dr: Archive) -> None:
    """Of a DR store only blobs: its log is that of another index."""
    laid = LocalStore.create(tmp_path / "laid", token=token)
    for overlay in overlays(laid, [], [dr.store]):
        assert list(overlay.list("log/")) == []
        assert overlay.size("shipped.json") is None
        assert overlay.size(f"blobs/{own_blobs(dr, 1)[0].parent.name}/{own_blobs(dr, 1)[0].name}")
        with pytest.raises(FileNotFoundError):
            overlay.get("shipped.json")


def test_what_was_laid_may_go_away(tmp_path: Path, dr: Archive) -> None:
    """When the replicas have it, the folder is removed under whoever reads."""
    fresh = Fresh(tmp_path / "new")
    doing = fresh.restore(dr)
    laid = LocalStore(fresh.world.root / "gone", token=token)
    shown = overlays(laid, list(fresh.world.stores().values()), [dr.store])
    assert answers(shown[:1])[0] == doing.progress.now
