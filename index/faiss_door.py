"""The one door to FAISS: flat inner-product indexes, written, read and searched.

Files are read into memory and never mapped: a mapped file that is cut short kills the process (SIGBUS),
and the vectors of a flat file start at byte 45, which no float array should. FAISS is imported at the
first call, because a reader that only looks at the manifest should not pay for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.index.errors import Corrupt, NoSpace

THREADS = 4
"""More threads than this gain a flat search little, and FAISS shares the machine with torch's own."""
_HEADER = 45
"""Bytes before the vectors in a flat index file: fourcc, header, vector count."""
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


def write_flat(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write an IndexFlatIP of `vectors` (n, d), float32, to `path`.

    `write_index` on a full disk raises nothing, so the size is compared with what it must be: `NoSpace`.
    """
    faiss = _faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    try:
        faiss.write_index(index, os.fspath(path))
    except RuntimeError as fault:
        raise NoSpace(f"{path}: cannot write the index file; make room and run again") from fault
    if path.stat().st_size != _HEADER + vectors.size * 4:
        raise NoSpace(f"{path}: the index file was cut short; make room and run again")


def open_flat(source: Path | Callable[[int, int], bytes], size: int = -1) -> Any:
    """Read a flat index from a file, or through `source(start, end)` of `size` bytes.

    The second way lets FAISS see exactly the bytes that the caller verified. Whatever `source` raises
    comes out again. Raises `Corrupt` when the bytes are no flat inner-product index.
    """
    faiss = _faiss()
    if isinstance(source, Path):
        reader: Any = os.fspath(source)
    else:
        pull = _Pull(source, size)
        reader = faiss.PyCallbackIOReader(pull)
    try:
        index = faiss.read_index(reader)
    except RuntimeError as fault:
        if not isinstance(source, Path) and pull.fault is not None:
            raise pull.fault from None
        raise Corrupt("not a FAISS index file; run penstock verify") from fault
    if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise Corrupt("a FAISS index of another kind than flat inner product; run penstock verify")
    return index


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
    faiss = _faiss()
    # Made for this call alone: FAISS's wrappers change the caller's parameters.
    parameters = None
    if live is not None:
        selector = faiss.IDSelectorBitmap(live)
        parameters = faiss.SearchParameters(sel=selector)
    scores, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)
    return scores, ids
