"""A segment gives back its vectors and rows, knows its documents and its dead, and refuses half of anything."""

from __future__ import annotations

import itertools
import resource
import shutil

import faiss
import msgspec
import numpy as np
import pyroaring
import pytest

from penstock.index.blobs.blob import key
from penstock.index.errors import Corrupt, NoSpace
from penstock.index.segments.segment import Segment, build, dead_blob, read_dead
from penstock.index.stores.store import LocalStore
from penstock.index.types import Row


def refuse(line):
    raise AssertionError(line)


def rows_of(*uris):
    return [Row(f"c{n}", uri, f"text {n}", 0, 6, tokens=n + 1) for n, uri in enumerate(uris)]


def vectors_of(count, dim=4):
    return np.random.default_rng(5).standard_normal((count, dim)).astype(np.float32)


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def store(tmp_path):
    numbers = itertools.count()
    return LocalStore.create(tmp_path / "store", token=lambda: f"t{next(numbers)}")


def stored(store, ref, files):
    for name, path in files.items():
        store.put_if_absent(f"blobs/{name[:2]}/{name}", path)
    return Segment(ref, [store], refuse)


URIS = ["s/b", "s/b", "s/a", "s/c", "s/c", "s/c"]


def test_what_was_built_is_what_is_read(work, store):
    """Vectors, rows by ordinal, and documents with their first ordinal and count."""
    ref, files = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={"dtype": "fp32"})
    segment = stored(store, ref, files)
    assert (ref.count, ref.tokens, ref.kind, ref.provenance) == (6, 21, "flat", {"dtype": "fp32"})
    assert segment.vectors.tolist() == vectors_of(6).tolist()
    assert segment.row([4, 0, 4]) == [rows_of(*URIS)[n] for n in (4, 0, 4)]
    assert list(segment.documents()) == [("s/a", 2, 1), ("s/b", 0, 2), ("s/c", 3, 3)]
    assert segment.locate(["s/c", "s/nowhere"]) == {"s/c": (3, 3)}
    assert len(segment.dead) == 0 and segment.live.all()
    assert faiss.read_index(str(store.local_path(key(ref.index)))).ntotal == 6


def test_building_again_makes_the_same_bytes(tmp_path, work):
    """A retry of the same transaction names the same blobs."""
    first, _ = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    (tmp_path / "again").mkdir()
    again, _ = build(tmp_path / "again", "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    assert first == again
    other, _ = build(tmp_path / "again", "seg1", vectors_of(6), rows_of(*URIS), "txn2", provenance={})
    assert other.index.name.split(".")[0] == first.index.name.split(".")[0]
    assert other.index.name != first.index.name


@pytest.mark.parametrize("count", [5, 7])
def test_every_vector_has_its_row(work, count):
    """One row too few or too many is refused: everything after it would be somebody else's."""
    with pytest.raises(ValueError, match="rows"):
        build(work, "seg1", vectors_of(count), rows_of(*URIS), "txn", provenance={})


def test_a_document_is_in_one_piece(work):
    """Rows of one uri with another's between them are refused."""
    with pytest.raises(ValueError, match="s/a do not follow"):
        build(work, "seg1", vectors_of(3), rows_of("s/a", "s/b", "s/a"), "txn", provenance={})


def test_vectors_that_cannot_be_compared_are_refused(work):
    """NaN, infinity, other types and shapes never get into a segment."""
    bad = vectors_of(6)
    bad[3, 1] = np.nan
    for vectors in (bad, vectors_of(6).astype(np.float64), vectors_of(6)[0], vectors_of(0)):
        with pytest.raises(ValueError, match="vector"):
            build(work, "seg1", vectors, rows_of(*URIS), "txn", provenance={})


def test_the_dead_are_kept_beside_the_segment(work, store):
    """A bitmap comes back as it was, and marks those rows as not live."""
    ref, files = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    dead, path = dead_blob(work, pyroaring.BitMap([0, 5]), "txn")
    store.put_if_absent(key(dead), path)
    assert read_dead([store], dead, report=refuse) == pyroaring.BitMap([0, 5])
    whole = stored(store, ref, files)
    segment = whole.renewed(msgspec.structs.replace(ref, dead=dead, dead_count=2), [store])
    assert segment.live.tolist() == [False, True, True, True, True, False]
    assert whole.live.all()
    assert np.shares_memory(segment.vectors, whole.vectors)


def test_dead_rows_that_do_not_exist_are_corrupt(work, store):
    """A bitmap of some other segment is not applied to this one."""
    ref, files = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    dead, path = dead_blob(work, pyroaring.BitMap([6]), "txn")
    store.put_if_absent(key(dead), path)
    stored(store, ref, files)
    with pytest.raises(Corrupt, match="do not exist"):
        _ = Segment(msgspec.structs.replace(ref, dead=dead), [store], refuse).dead


def test_an_index_of_another_size_is_corrupt(work, store):
    """A manifest that pairs a segment with some other index file is caught before it answers."""
    ref, files = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    stored(store, ref, files)
    with pytest.raises(Corrupt, match="5 vectors"):
        _ = Segment(msgspec.structs.replace(ref, count=5), [store], refuse).vectors


def test_an_open_segment_outlives_its_store(work, store, tmp_path):
    """Vectors and rows can still be read when the directory is gone."""
    ref, files = build(work, "seg1", vectors_of(6), rows_of(*URIS), "txn", provenance={})
    segment = stored(store, ref, files)
    shutil.rmtree(tmp_path / "store")
    assert segment.vectors.tolist() == vectors_of(6).tolist()
    assert segment.row([2])[0].uri == "s/a"


@pytest.mark.parametrize("limit", [1_000, 40_000])
def test_a_disk_that_takes_no_more_is_no_space(work, limit):
    """Be it while rows or while vectors are written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(NoSpace, match="make room"):
            build(work, "seg1", vectors_of(900, 16), rows_of(*(f"s/{n}" for n in range(900))), "txn", provenance={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
