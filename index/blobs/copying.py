"""Blobs from here to there: put, read back, and copied only from a copy whose every byte was checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from penstock.index.blobs import blob
from penstock.index.errors import Corrupt, IndexFault, Unavailable, of_local_disk
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

PIECE = 8 << 20
"""Bytes asked of a store that has no local files at a time."""


def pieces(store: Store, key: str, size: int) -> Iterator[bytes]:
    """The value's bytes, at most one more than `size` of them. Raises `FileNotFoundError`, `Unavailable`."""
    at = 0
    while at <= size:
        piece = store.get_range(key, at, min(at + PIECE, size + 1))
        if not piece:
            return
        yield piece
        at += len(piece)


def check_stored(store: Store, ref: BlobRef) -> None:
    """Read a stored blob whole and compare its sha256 with its name. Raises `Corrupt`, `FileNotFoundError`."""
    key = blob.key(ref)
    blob.check(store.local_path(key) or pieces(store, key, ref.size), ref)


def put_blob(store: Store, ref: BlobRef, source: Path) -> None:
    """Put one blob and read it back. Raises `Corrupt` if what lies there is not what its name says."""
    store.put_if_absent(blob.key(ref), source)
    try:
        check_stored(store, ref)
    except FileNotFoundError as error:
        raise Corrupt(f"{store.name}: blob {ref.name} is missing right after it was put") from error


@contextlib.contextmanager
def good_copy(ref: BlobRef, stores: Iterable[Store], scratch: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """A local file with the blob, every byte checked, from the first store that has it whole.

    A copy from a store without local files lies below `scratch` while it is needed. Raises `Corrupt` where
    copies are damaged and none is whole, `Unavailable` where none could be looked at.
    """
    wrong: IndexFault | None = None
    for store in stores:
        with contextlib.ExitStack() as stack:
            try:
                path = _local(store, ref, scratch, stack)
            except (Corrupt, Unavailable) as error:
                report(f"{store.name}: {error}")
                if wrong is None or not (isinstance(wrong, Corrupt) or blob.suspicion(store) == blob.SPARE):
                    wrong = error
                continue
            except FileNotFoundError:
                report(f"{store.name}: blob {ref.name} is missing; run penstock repair")
                continue
            except OSError as error:  # of its local file, or of `scratch`
                fault = of_local_disk(error, scratch)
                report(f"{store.name}: {fault}")
                wrong = wrong or fault
                continue
            yield path
            return
    raise wrong or Unavailable(f"no replica at hand has blob {ref.name}; run penstock repair")


def _local(store: Store, ref: BlobRef, scratch: Path, stack: contextlib.ExitStack) -> Path:
    key = blob.key(ref)
    path = store.local_path(key)
    if path is not None:
        blob.check(path, ref)
        return path
    scratch.mkdir(parents=True, exist_ok=True)
    fetched = scratch / f"{ref.name}.copy"
    stack.callback(fetched.unlink, missing_ok=True)
    with fetched.open("wb") as out:
        for piece in pieces(store, key, ref.size):
            out.write(piece)
    blob.check(fetched, ref)
    return fetched
