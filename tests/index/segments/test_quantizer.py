"""Quantizers: the same for the same vectors, of a size that fits, and replaced when a space outgrew them."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from penstock.index.blobs.blob import seal
from penstock.index.errors import Corrupt
from penstock.index.segments import quantizer
from penstock.index.types import BlobRef, SpaceRef
from tests.index.shelf import Shelf, refuse, rows_of, unit


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def test_training_again_names_the_same_blob(shelf, tmp_path):
    """Content-addressed: two that trained on the same vectors share a quantizer."""
    vectors = unit(500, 16)
    first = shelf.train(vectors).ref.name.split(".")[0]
    assert shelf.train(vectors).ref.name.split(".")[0] == first
    assert shelf.train(unit(500, 16, 2)).ref.name.split(".")[0] != first


def test_what_was_stored_is_what_is_read(shelf):
    """Out of a store it makes the same index; plain FAISS reads it too."""
    trained = shelf.train(unit(500, 16))
    read = quantizer.read([shelf.store], trained.ref, report=refuse)
    assert read == trained and read.index().nlist == quantizer.lists(500)
    path = shelf.store.local_path(f"blobs/{trained.ref.name[:2]}/{trained.ref.name}")
    plain = faiss.read_index(str(path))
    assert plain.is_trained and plain.ntotal == 0


def test_a_quantizer_of_another_kind_is_refused(shelf, tmp_path):
    """A flat index is no quantizer; nor one of other dimensions, nor one that has vectors."""
    path = tmp_path / "flat"
    faiss.write_index(faiss.IndexFlatIP(16), str(path))
    with pytest.raises(Corrupt):
        quantizer.Quantizer(seal(path, "txn"), path.read_bytes()).index()
    with pytest.raises(ValueError, match="8 dimensions"):
        shelf.build(unit(20, 8), rows_of(20), trained=shelf.train(unit(100, 16)))


def test_the_number_of_lists_grows_with_the_root_of_the_space():
    """A power of two, near twice the square root."""
    counts = [1, 1_000, 10_000, 100_000, 1_000_000, 16_000_000, 10**12]
    assert [quantizer.lists(n) for n in counts] == [16, 64, 256, 512, 2048, 8192, 65_536]
    assert all(quantizer.sample_size(n) <= n for n in counts)
    assert quantizer.sample_size(1_000_000) == 131_072


def test_too_few_vectors_train_nothing(shelf):
    """There must be one for each list at least."""
    with pytest.raises(ValueError, match="too few"):
        shelf.train(unit(20, 16), count=100_000)


def test_a_space_outgrows_its_quantizer():
    """None yet, or eight times as many vectors as it was trained for."""
    ref = BlobRef("a" * 64 + ".t", 1, "")
    assert quantizer.outgrown(SpaceRef(16), 1)
    trained = SpaceRef(16, quantizer=ref, trained_for=100_000)
    assert not quantizer.outgrown(trained, 799_999)
    assert quantizer.outgrown(trained, 800_000)


def test_a_sample_is_of_the_living_and_the_same_each_time(shelf):
    """Drawn over all segments; dead rows are never in it; a small space is sampled whole."""
    whole = unit(400, 16)
    refs = [shelf.build(whole[:100], rows_of(100), range(50)), shelf.build(whole[100:], rows_of(300))]
    opened = [shelf.open(ref) for ref in refs]
    drawn = quantizer.sample(opened, 120)
    assert drawn.tolist() == quantizer.sample([shelf.open(ref) for ref in refs], 120).tolist()
    living = {vector.tobytes() for vector in whole[50:]}
    assert len({vector.tobytes() for vector in drawn} & living) == 120
    assert np.array_equal(quantizer.sample(opened, 1000), whole[50:])
