"""Versions made by hand in a DR store in memory: each needs blobs that are named by a letter."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.index.blobs import blob, framed
from penstock.index.commits import manifest as manifests
from penstock.index.commits.log import LogRecord
from penstock.index.recovery.archive import Archive
from penstock.index.stores.store import checked
from penstock.index.types import BlobRef, Manifest, Membership, RunRef

LINEAGE = "L"


class Memory:
    """The contract of a store, over a mapping. `turn` is called before each operation."""

    def __init__(self, values: dict[str, bytes], name: str = "dr", turn: Callable[[], None] = lambda: None) -> None:
        self.values, self.name, self.turn = values, name, turn

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        self.turn()
        value = data.read_bytes() if isinstance(data, Path) else data
        return self.values.setdefault(checked(key), value) is value

    def get(self, key: str) -> bytes:
        self.turn()
        if key not in self.values:
            raise FileNotFoundError(key)
        return self.values[key]

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self.get(key)[start:end]

    def size(self, key: str) -> int | None:
        self.turn()
        return len(self.values[key]) if key in self.values else None

    def list(self, prefix: str) -> Iterator[str]:
        self.turn()
        return iter(sorted(key for key in self.values if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        self.turn()
        self.values.pop(key, None)

    def local_path(self, key: str) -> Path | None:
        return None

    def probe(self) -> None:
        self.turn()


class Version:
    """Version `number` of `epoch`, which needs a blob for each letter. Committed at 100 times its number."""

    def __init__(self, number: int, letters: str, epoch: int = 1) -> None:
        self.key, self.letters = (number, epoch), letters
        runs = tuple(RunRef(of_letter(letter)[0], 1) for letter in letters)
        made = Manifest(
            2, LINEAGE, number, epoch, "t", "", 100.0 * number, Membership((), 1), state=runs, counts={"documents": 1}
        )
        self.manifest = sealed(manifests.encode(made), f"v{number}e{epoch}")
        self.record = LogRecord(framed.FORMAT, LINEAGE, number, epoch, "e", "t", self.manifest[0], 100.0 * number)

    @property
    def blobs(self) -> dict[str, tuple[BlobRef, bytes]]:
        """By key: the manifest, and all that it needs."""
        return {blob.key(ref): (ref, data) for ref, data in (self.manifest, *map(of_letter, self.letters))}


def of_letter(letter: str) -> tuple[BlobRef, bytes]:
    return sealed(f"what {letter} holds".encode(), "t")


@cache
def sealed(content: bytes, txn: str) -> tuple[BlobRef, bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "blob"
        path.write_bytes(content)
        ref = blob.seal(path, txn)
        return ref, path.read_bytes()


def archive(values: dict[str, bytes] | None = None, turn: Callable[[], None] = lambda: None) -> Archive:
    return Archive(Memory({} if values is None else values, turn=turn), lambda _: None)


def ship(to: Archive, versions: Iterable[Version], now: Callable[[], float] = lambda: 0.0) -> None:
    """As who ships does: announce, look whether anything is expiring, put what is missing, publish."""
    to.claim(LINEAGE)
    for version in versions:
        to.announce(version.record)
        to.check_stays(now(), blobs=[ref.name for ref, _ in version.blobs.values()])
        for key, (_, data) in version.blobs.items():
            if to.store.size(key) is None:
                to.store.put_if_absent(key, data)
        to.publish(version.record)


def lacking(values: dict[str, bytes], versions: Iterable[Version]) -> list[str]:
    """What versions that are published, or have a name, lack."""
    seen = archive(values)
    published = set(seen.versions()) | {(one.version, one.epoch) for one in seen.snapshots().values()}
    return [
        f"{version.key} lacks {key}"
        for version in versions
        if version.key in published
        for key in version.blobs
        if key not in values
    ]


class Baton:
    """Runs actors on threads, one operation at a time; `choose(n)`, which must not raise, says which of n goes on."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self._choose, self._turns, self._done = choose, dict[int, threading.Semaphore](), set[int]()
        self._back, self.failed = threading.Semaphore(0), list[BaseException]()

    def turn(self, actor: int) -> Callable[[], None]:
        """What `actor` calls before each operation."""

        def wait() -> None:
            self._back.release()
            self._turns[actor].acquire()

        return wait

    def run(self, *actors: Callable[[], None]) -> None:
        """Until all have ended. What one of them raises is raised here."""
        threads = [threading.Thread(target=self._guarded, args=(n, work), daemon=True) for n, work in enumerate(actors)]
        self._turns = {n: threading.Semaphore(0) for n in range(len(actors))}
        for thread in threads:
            thread.start()
            self._back.acquire()
        for _ in itertools.count():
            ready = [n for n in self._turns if n not in self._done]
            if not ready:
                break
            self._turns[ready[self._choose(len(ready)) if len(ready) > 1 else 0]].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        for error in self.failed:
            raise error

    def _guarded(self, actor: int, work: Callable[[], None]) -> None:
        try:
            self.turn(actor)()
            work()
        except BaseException as error:
            self.failed.append(error)
        finally:
            self._done.add(actor)
            self._back.release()
