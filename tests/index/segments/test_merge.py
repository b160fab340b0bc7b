"""Merging keeps every live row, loses every dead one, and carries over what died meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyroaring
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.segments.merge import merge
from tests.index.shelf import Shelf, refuse, rows_of, unit


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def merged(shelf, refs, trained=None, txn="m"):
    done = merge(refs, [shelf.store], shelf.work, txn, "merged", quantizer=trained, report=refuse)
    if done is not None:
        shelf.put(done.files)
    return done


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    before=st.sampled_from([0.0, 0.3, 1.0]),
    after=st.sampled_from([0.0, 0.3, 1.0]),
    ivf=st.booleans(),
)
def test_a_merged_segment_is_its_inputs_without_the_dead(seed, sizes, before, after, ivf):
    """Row by row: vectors, rows and facets in order, and each row that died meanwhile is dead at its new place."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        parts = []
        for number, size in enumerate(sizes):
            dead = pyroaring.BitMap(np.flatnonzero(rng.random(size) < before).tolist())
            parts.append((unit(size, 16, seed % 999 + number), rows_of(size, source=f"s{number}", rng=rng), dead))
        trained = shelf.train(unit(100, 16)) if ivf else None
        done = merged(shelf, [shelf.build(*part) for part in parts], trained)
        kept = [
            (v, r, n, o)
            for n, (vs, rs, dead) in enumerate(parts)
            for o, (v, r) in enumerate(zip(vs, rs, strict=True))
            if o not in dead
        ]
        if not kept:
            assert done is None
            return
        segment = shelf.open(done.ref)
        assert (done.ref.kind, done.ref.count, done.ref.dead) == ("ivf" if ivf else "flat", len(kept), None)
        assert segment.vectors.tolist() == [v.tolist() for v, _, _, _ in kept]
        assert segment.row(range(len(kept))) == [r for _, r, _, _ in kept]
        labelled = [n for n, (_, row, _, _) in enumerate(kept) if "a" in row.labels]
        assert list(segment.facets.find(["label:a"]).get("label:a", [])) == labelled
        now = [dead | pyroaring.BitMap(np.flatnonzero(rng.random(len(vs)) < after).tolist()) for vs, _, dead in parts]
        assert set(done.carry(now)) == {n for n, (_, _, part, old) in enumerate(kept) if old in now[part]}


def test_merging_again_makes_the_same_bytes(shelf, tmp_path):
    """Another process that merges the same segments names the same blobs."""
    vectors = unit(3000, 16)
    trained = shelf.train(vectors)
    refs = [
        shelf.build(vectors[:1700], rows_of(1700), range(0, 1700, 3)),
        shelf.build(vectors[1700:], rows_of(1300, source="t")),
    ]
    first = merged(shelf, refs, trained)
    (tmp_path / "elsewhere").mkdir()
    again = merge(refs, [shelf.store], tmp_path / "elsewhere", "m", "merged", quantizer=trained, report=refuse)
    assert first.ref == again.ref


def test_merging_ivf_segments_equals_building_at_once(shelf):
    """With a shared quantizer the codes do not depend on how rows came together."""
    vectors, rows = unit(3000, 16), rows_of(3000)
    trained = shelf.train(vectors)
    cut = next(n for n in range(1700, 1800) if rows[n].uri != rows[n - 1].uri)
    halves = [shelf.build(vectors[:cut], rows[:cut], trained=trained), shelf.build(vectors[cut:], rows[cut:])]
    digest = shelf.build(vectors, rows, trained=trained).index.name.split(".")[0]
    assert merged(shelf, halves, trained).ref.index.name.split(".")[0] == digest


def test_provenance_tells_all_origins(shelf):
    """Where the inputs differ, every value is kept, once, also after the next merge."""
    refs = [
        shelf.build(unit(5, 16), rows_of(5, source=f"s{n}"), provenance={"dtype": dtype, "model": "m"})
        for n, dtype in enumerate(["fp32", "bf16", "fp32"])
    ]
    first = merged(shelf, refs[:2]).ref
    assert first.provenance == {"dtype": "bf16 | fp32", "model": "m"}
    assert merged(shelf, [first, refs[2]], txn="m2").ref.provenance == first.provenance


def test_a_document_that_is_live_twice_is_not_merged(shelf):
    """Two live versions of a document would become one document that never was."""
    refs = [shelf.build(unit(6, 16), rows_of(6)), shelf.build(unit(6, 16), rows_of(6))]
    with pytest.raises(ValueError, match="do not follow"):
        merged(shelf, refs)


def test_rows_do_not_come_back_to_life(shelf):
    """A bitmap of other segments, or an older one, is refused."""
    done = merged(shelf, [shelf.build(unit(6, 16), rows_of(6), [1])])
    with pytest.raises(ValueError, match="other segments"):
        done.carry([pyroaring.BitMap([2])])
    with pytest.raises(ValueError):
        done.carry([])
