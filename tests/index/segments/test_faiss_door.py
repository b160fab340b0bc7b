"""The door to FAISS: plain files, whole or refused; candidates that leave out the dead."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import faiss
import numpy as np
import pytest

from penstock.index.blobs.blob import seal
from penstock.index.errors import Corrupt, NoSpace
from penstock.index.segments import faiss_door


def write_flat(path, vectors):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss_door.write(index, path)


def some(count=50, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def test_both_distributions_are_refused_with_the_way_out():
    """faiss-cpu and faiss-gpu lie over one another: say what to uninstall."""
    with pytest.raises(ImportError, match="pip uninstall -y faiss-cpu faiss-gpu"):
        faiss_door.refuse_two({"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}.__getitem__)

    def only_cpu(name):
        if name != "faiss-cpu":
            raise metadata.PackageNotFoundError(name)
        return "1.15.1"

    faiss_door.refuse_two(only_cpu)


def test_plain_faiss_reads_a_sealed_file(tmp_path):
    """No lock-in: the trailer of the blob does not disturb faiss.read_index."""
    path = tmp_path / "index"
    write_flat(path, some())
    seal(path, "txn")
    index = faiss.read_index(str(path))
    assert index.reconstruct_n(0, 50).tolist() == some().tolist()


def test_vectors_come_back_and_cannot_be_changed(tmp_path):
    """The view shows the stored float32 values, is read-only, and keeps the index alive."""
    write_flat(tmp_path / "index", some())
    view = faiss_door.vectors(faiss_door.open_flat(tmp_path / "index"))
    assert view.dtype == np.float32 and view.tolist() == some().tolist()
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1


def test_a_full_disk_is_no_space(tmp_path):
    """FAISS says nothing about a full disk, so its bytes are written here."""
    (tmp_path / "index").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="No space left"):
        write_flat(tmp_path / "index", some())


def test_the_header_is_the_one_that_faiss_writes(tmp_path):
    """A flat file can be streamed: header, then vectors; and its shape be known without reading it."""
    write_flat(tmp_path / "index", some(50, 8))
    data = (tmp_path / "index").read_bytes()
    assert data == faiss_door.flat_header(50, 8) + some(50, 8).tobytes()
    assert faiss_door.flat_shape(data[: faiss_door.HEADER], len(data)) == (50, 8)
    for header, size in ((data[: faiss_door.HEADER], len(data) - 4), (b"x" * 45, len(data)), (b"", 0)):
        with pytest.raises(Corrupt):
            faiss_door.flat_shape(header, size)


def test_reading_through_a_function_sees_its_bytes_and_its_errors(tmp_path):
    """FAISS reads what the function gives; what the function raises comes out unchanged."""
    write_flat(tmp_path / "index", some())
    data = (tmp_path / "index").read_bytes()
    index = faiss_door.open_flat(lambda start, end: data[start:end], len(data))
    assert faiss_door.vectors(index).tolist() == some().tolist()

    def broken(start, end):
        raise Corrupt("block 0 is damaged")

    with pytest.raises(Corrupt, match="block 0"):
        faiss_door.open_flat(broken, len(data))


def test_what_is_no_flat_inner_product_index_is_corrupt(tmp_path):
    """Garbage, a cut file, and other kinds of index are refused, not searched."""
    (tmp_path / "garbage").write_bytes(b"IxFI" + b"\xff" * 100)
    write_flat(tmp_path / "cut", some())
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:300])
    faiss.write_index(faiss.IndexFlatL2(8), str(tmp_path / "other"))
    for name in ("garbage", "cut", "other"):
        with pytest.raises(Corrupt):
            faiss_door.open_flat(tmp_path / name)


def test_the_dead_are_not_candidates(tmp_path):
    """Only vectors whose bit is set are found; the rest of k is -1."""
    write_flat(tmp_path / "index", some())
    index = faiss_door.open_flat(tmp_path / "index")
    live = np.zeros(50, dtype=bool)
    live[[3, 49]] = True
    _, ids = faiss_door.search(index, some(3, seed=1), 5, np.packbits(live, bitorder="little"))
    assert all(sorted(row) == [-1, -1, -1, 3, 49] for row in ids.tolist())


def test_training_again_makes_the_same_index():
    """The same sample, the same bytes, whatever FAISS does with threads otherwise."""

    def trained():
        return faiss.serialize_index(faiss_door.train_ivf(some(400), 16, seed=7, rounds=3, bits=4)).tobytes()

    first, before = trained(), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    assert trained() == first and faiss.omp_get_max_threads() == 3
    faiss.omp_set_num_threads(before)


def test_probing_leaves_out_the_dead(tmp_path):
    """An IVF index finds what is live in the lists that it looks into, and only that."""
    index = faiss_door.train_ivf(some(400), 16, seed=7, rounds=3, bits=4)
    index.add(some(400))
    faiss_door.write(index, tmp_path / "index")
    index = faiss_door.open_ivf(tmp_path / "index")
    live = np.arange(400) % 7 == 0
    scores, ids = faiss_door.probe(index, some(1, seed=3)[0], 400, 16, np.packbits(live, bitorder="little"))
    assert sorted(ids) == np.flatnonzero(live).tolist()
    assert sorted(scores, reverse=True) == scores.tolist()
    assert len(faiss_door.probe(index, some(1)[0], 400, 1)[1]) < 400


def test_importing_the_door_does_not_import_faiss():
    """Faiss costs a tenth of a second: only those who search pay for it."""
    code = "import sys, penstock.index.segments.faiss_door; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
