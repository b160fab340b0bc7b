"""One blob, from whichever replica has it whole, into one other store: read once, and every byte checked on the way."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from penstock.index.blobs import blob, copying
from penstock.index.errors import Corrupt, IndexFault, Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

IN_MEMORY = 16 << 20
"""Blobs up to this size are held whole between reading and putting."""
_Incoming = Callable[[str], AbstractContextManager[Callable[[bytes], None]]]
_T = TypeVar("_T")
_U = TypeVar("_U")


class Unreadable(IndexFault):
    """No replica at hand has this whole. `fault` says why: `Corrupt`, or `Unavailable` where one may have it yet."""

    def __init__(self, fault: IndexFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def carry(ref: BlobRef, stores: Iterable[Store], to: Store, scratch: Path, report: Callable[[str], None]) -> bool:
    """Put the blob under its name; False if it is there already, which is not looked into.

    A copy that is missing or damaged is passed over, and reported where another is whole. Raises `Unreadable` where
    none is, else what `to` does. `scratch` takes a large blob on its way from one bucket to another.
    """
    passed: list[str] = []
    wrong: IndexFault = Unavailable(f"no replica at hand has blob {ref.name}; run penstock repair")
    for store in stores:
        try:
            made = _put(ref, store, to, scratch)
        except Unreadable as fault:
            passed.append(str(fault))
            wrong = wrong if isinstance(wrong, Corrupt) else fault.fault
            continue
        for line in passed:
            report(f"{line}; copied from another replica")
        return made
    raise Unreadable(wrong)


def _put(ref: BlobRef, store: Store, to: Store, scratch: Path) -> bool:
    """Raises `Unreadable` for what is wrong with this copy, else what `to` does."""
    key = blob.key(ref)
    if ref.size <= IN_MEMORY:
        return to.put_if_absent(key, _reading(store, ref, lambda: _whole(store, ref)))
    incoming: _Incoming | None = getattr(to, "incoming", None)
    if incoming is not None:
        if to.size(key) is not None:
            return False
        with incoming(key) as write:
            _stream(store, ref, write)
        return True
    path = _reading(store, ref, lambda: store.local_path(key))
    if path is not None:
        _reading(store, ref, lambda: blob.check(path, ref))
        return _put_file(store, ref, path, to)
    scratch.mkdir(parents=True, exist_ok=True)
    fetched = scratch / f"{ref.name}.copy"
    try:
        with fetched.open("wb") as out:
            _stream(store, ref, out.write)
        return to.put_if_absent(key, fetched)
    finally:
        fetched.unlink(missing_ok=True)


def _put_file(store: Store, ref: BlobRef, path: Path, to: Store) -> bool:
    try:
        return to.put_if_absent(blob.key(ref), path)
    except FileNotFoundError as gone:  # collected, between the check and now
        raise Unreadable(Unavailable(f"{store.name}: blob {ref.name} is missing; run penstock repair")) from gone


def _whole(store: Store, ref: BlobRef) -> bytes:
    data = store.get_range(blob.key(ref), 0, ref.size + 1)
    blob.check(data, ref)
    return data


def _stream(store: Store, ref: BlobRef, write: Callable[[bytes], object]) -> None:
    """Write the pieces as they are read, then raise unless they are the blob: who took them must then let go of it."""

    def through() -> Iterator[bytes]:
        pieces = copying.pieces(store, blob.key(ref), ref.size)
        while (piece := _reading(store, ref, lambda: next(pieces, b""))) != b"":
            write(piece)
            yield piece

    try:
        blob.check(through(), ref)
    except Corrupt as fault:
        raise Unreadable(Corrupt(f"{store.name}: {fault}")) from fault


def _reading(store: Store, ref: BlobRef, work: Callable[[], _T]) -> _T:
    """What `work` returns; what it raises is a fault of this copy."""
    try:
        return work()
    except FileNotFoundError as fault:
        raise Unreadable(Unavailable(f"{store.name}: blob {ref.name} is missing; run penstock repair")) from fault
    except (Corrupt, Unavailable) as fault:
        raise Unreadable(type(fault)(f"{store.name}: {str(fault).removeprefix(f'{store.name}: ')}")) from fault
    except OSError as fault:
        said = fault.strerror or errno.errorcode.get(fault.errno or 0, "unknown")
        raise Unreadable(Unavailable(f"{store.name}: blob {ref.name} cannot be read: {said}")) from fault


def in_parallel(work: Callable[[_U], _T], things: Sequence[_U], threads: int) -> list[_T]:
    """`work` of each, on up to so many threads; the answers come in any order. The first fault stops all of it.

    The threads are daemons: a store that hangs must not keep the process from ending.
    """
    if threads <= 1 or len(things) <= 1:
        return [work(thing) for thing in things]
    todo, lock = list(reversed(things)), threading.Lock()
    done: list[_T] = []
    faults: list[BaseException] = []

    def loop() -> None:
        while not faults:
            with lock:
                if not todo:
                    return
                thing = todo.pop()
            try:
                done.append(work(thing))
            except BaseException as fault:
                faults.append(fault)

    crew = [threading.Thread(target=loop, name="ship", daemon=True) for _ in range(min(threads, len(things)))]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if faults:
        raise faults[0]
    return done
