"""The one door to FAISS: flat and IVF inner-product indexes, made, written, read and searched.

Files are read into memory and never mapped: a mapped file that is cut short kills the process (SIGBUS),
and the vectors of a flat file start at byte 45, which no float array should. FAISS is imported at the
first call, because a reader that only looks at the manifest should not pay for it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.index.errors import Corrupt, NoSpace

THREADS = 4
"""More threads than this gain a flat search little, and FAISS shares the machine with torch's own."""
HEADER = 45
"""Bytes before the vectors in a flat index file: fourcc, header, number of floats."""
_TOTAL, _FLOATS = 8, 37
"""Where in that header the number of vectors and the number of floats stand, both u64."""
_PIECE = 1 << 22


@cache
def _faiss() -> Any:
    """Import FAISS, once. Raises `ImportError` when both distributions lie over one another."""
    refuse_two(lambda name: metadata.version(name))
    import faiss

    faiss.omp_set_num_threads(min(THREADS, faiss.omp_get_max_threads()))
    return faiss


def refuse_two(version: Callable[[str], str]) -> None:
    """Raise `ImportError` if faiss-cpu and faiss-gpu are both installed: they overwrite each other."""
    found = []
    for name in ("faiss-cpu", "faiss-gpu"):
        try:
            found.append(f"{name} {version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(found) > 1:
        raise ImportError(
            f"{' and '.join(found)} are both installed and overwrite each other: "
            "pip uninstall -y faiss-cpu faiss-gpu, then pip install the one that you want"
        )


def flat_header(count: int, dim: int) -> bytes:
    """Return the bytes that stand before `count` float32 vectors of `dim` components in an IndexFlatIP file."""
    faiss = _faiss()
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dim)).tobytes())
    struct.pack_into("<Q", header, _TOTAL, count)
    struct.pack_into("<Q", header, _FLOATS, count * dim)
    return bytes(header)


def flat_shape(header: bytes, size: int) -> tuple[int, int]:
    """Return (count, dim) of the IndexFlatIP file of `size` bytes that begins with `header`. Raises `Corrupt`."""
    if len(header) == HEADER:
        dim, count = struct.unpack_from("<iQ", header, 4)
        if dim > 0 and HEADER + count * dim * 4 == size and header == flat_header(count, dim):
            return count, dim
    raise Corrupt("not an index file of flat inner product; run penstock verify")


def open_flat(source: Path | Callable[[int, int], bytes], size: int = -1) -> Any:
    """Read a flat index from a file, or through `source(start, end)` of `size` bytes.

    The second way lets FAISS see exactly the bytes that the caller verified. Whatever `source` raises
    comes out again. Raises `Corrupt` when the bytes are no flat inner-product index.
    """
    return _open(source, size, "IndexFlat", "flat inner product")


def open_ivf(source: Path | Callable[[int, int], bytes], size: int = -1) -> Any:
    """Read an IVF index with scalar codes, as `open_flat` does a flat one. Its codes are then in memory."""
    return _open(source, size, "IndexIVFScalarQuantizer", "IVF with scalar codes, by inner product")


def _open(source: Path | Callable[[int, int], bytes], size: int, kind: str, words: str) -> Any:
    faiss = _faiss()
    pull = None
    reader: Any = str(source)
    if not isinstance(source, Path):
        pull = _Pull(source, size)
        reader = faiss.PyCallbackIOReader(pull)
    try:
        index = faiss.read_index(reader)
    except RuntimeError as fault:
        if pull is not None and pull.fault is not None:
            raise pull.fault from None
        raise Corrupt("not a FAISS index file; run penstock verify") from fault
    if not isinstance(index, getattr(faiss, kind)) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise Corrupt(f"a FAISS index of another kind than {words}; run penstock verify")
    return index


def write(index: Any, path: Path) -> None:
    """Write `index` to `path`. Raises `NoSpace`: FAISS's own writer says nothing about a full disk."""
    faiss = _faiss()
    fault: list[OSError] = []

    def push(data: bytes) -> None:
        try:
            if not fault:
                out.write(data)
        except OSError as failed:
            fault.append(failed)

    try:
        with path.open("wb") as out:
            faiss.write_index(index, faiss.PyCallbackIOWriter(push, _PIECE))
    except OSError as failed:
        fault.append(failed)
    if fault:
        raise NoSpace(f"{path}: cannot write: {fault[0].strerror}; make room and run again") from fault[0]


def train_ivf(sample: NDArray[np.float32], lists: int, *, seed: int, rounds: int, bits: int) -> Any:
    """Return an empty IVF index trained on `sample` (n, d), n >= lists: codes of `bits` (4, 6 or 8) a component.

    The same sample gives the same index: one thread, and the seed that is given.
    """
    faiss = _faiss()
    codes = getattr(faiss.ScalarQuantizer, f"QT_{bits}bit")
    dim = sample.shape[1]
    with one_thread():
        means = faiss.Kmeans(
            dim, lists, niter=rounds, seed=seed, spherical=True, max_points_per_centroid=len(sample), gpu=False
        )
        means.min_points_per_centroid = means.cp.min_points_per_centroid = 1  # says nothing on stderr about few
        means.train(sample)
        coarse = faiss.IndexFlatIP(dim)
        coarse.add(means.centroids)
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, codes, faiss.METRIC_INNER_PRODUCT, True)
        index.train(sample)
    coarse.this.disown()
    index.own_fields = True
    return index


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """FAISS computes with one thread inside: what is built must not depend on how many there are."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _Pull:
    """Gives FAISS its bytes in order. An error is kept: it would not survive the way through C++."""

    def __init__(self, source: Callable[[int, int], bytes], size: int) -> None:
        self._source, self._size, self._at = source, size, 0
        self._ahead = memoryview(b"")
        self.fault: Exception | None = None

    def __call__(self, count: int) -> bytes:
        try:
            if not self._ahead:
                end = min(self._at + _PIECE, self._size)
                self._ahead = memoryview(self._source(self._at, end))
                self._at = end
        except Exception as fault:
            self.fault = fault
            raise
        given, self._ahead = self._ahead[:count], self._ahead[count:]
        return bytes(given)


def vectors(index: Any) -> NDArray[np.float32]:
    """Return the raw vectors, float32 (n, d), read-only. A view: it holds the index alive."""
    flat = _faiss().rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    view: NDArray[np.float32] = _Held(flat, index).view.reshape(index.ntotal, index.d)
    view.flags.writeable = False
    return view


class _Held:
    """An array over an index's memory that keeps the index alive (numpy only keeps what it was made of)."""

    def __init__(self, flat: NDArray[np.float32], index: Any) -> None:
        self.__array_interface__ = flat.__array_interface__
        self.index = index
        self.view = np.asarray(self)


def search(
    index: Any, queries: NDArray[np.float32], k: int, live: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return float32 scores and ids, both (q, k), best first; id -1 where there are fewer than k.

    `live`: bit i (little-endian within bytes) is set if vector i may be found; None means all. The scores
    carry float32 rounding that depends on batch and thread count: candidates, never answers.
    """
    # Made for this call alone: FAISS's wrappers change the caller's parameters.
    parameters = None if live is None else _faiss().SearchParameters(sel=_faiss().IDSelectorBitmap(live))
    scores, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)
    return scores, ids


def probe(
    index: Any, query: NDArray[np.float32], k: int, lists: int, live: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return estimated scores and ids, both (n,), n <= k, best first, of one `query` (d,) in its nearest `lists` lists.

    The scores are those of the codes, not of the vectors. `live`: as in `search`.
    """
    selector = None if live is None else _faiss().IDSelectorBitmap(live)
    parameters = _faiss().SearchParametersIVF(sel=selector, nprobe=lists)
    scores, ids = index.search(np.ascontiguousarray(query[None], dtype=np.float32), k, params=parameters)
    found = ids[0] >= 0
    return scores[0][found].astype(np.float64), ids[0][found]


def nearest(
    queries: NDArray[np.float32], rows: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return float32 scores and positions in `rows` (n, d), both (q, k), best first, for k <= n; as `search`."""
    faiss = _faiss()
    scores, places = faiss.knn(np.ascontiguousarray(queries), rows, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, places
