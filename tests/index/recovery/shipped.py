"""A small index with its DR store, made by hand, and a restore of it into a fresh home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.index import Reader
from penstock.index.blobs import blob
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.recovery import founding, restore
from penstock.index.recovery import progress as steps
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.choose import Holdings, Wish
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import Manifest
from tests.index.world import World, delta


def token() -> str:
    return os.urandom(8).hex()


def archive(folder: Path) -> Archive:
    return Archive(LocalStore.create(folder, token=token), print)


def ship(source: Store, to: Archive, *, upto: int = 10**9) -> None:
    """Copy every published version and its closure, as shipping does."""
    for version, epoch in log.entries(source):
        if version > upto:
            continue
        record = log.read(source, version, epoch)
        to.claim(record.lineage)
        to.announce(record)
        manifest = read_manifest([source], record.manifest, print)
        for ref in (record.manifest, *manifests.closure(manifest).values()):
            to.store.put_if_absent(blob.key(ref), source.get(blob.key(ref)))
        to.publish(record)


def index(root: Path, versions: int = 3) -> World:
    """Each version adds s/{version} and changes s/a."""
    world = World(root)
    with world.create() as writer:
        for number in range(versions):
            writer.commit(delta(number, {"s/a": f"first{number}", f"s/{number}": f"word{number} more{number}"}))
    return world


def manifest_at(to: Archive, version: int) -> Manifest:
    return to.manifest(record_at(to, version).manifest)


def record_at(to: Archive, version: int) -> log.LogRecord:
    return to.record(*next(key for key in to.versions() if key[0] == version))


def own_blobs(to: Archive, version: int) -> list[Path]:
    """The files of the blobs that the version before did not need, its manifest's not among them."""
    closure = manifests.closure(manifest_at(to, version))
    known = set(manifests.closure(manifest_at(to, version - 1))) if version > 1 else set()
    paths = [to.store.local_path(blob.key(ref)) for name, ref in closure.items() if name not in known]
    return [path for path in paths if path is not None]


def flip(path: Path, at: int = 20) -> None:
    """One bit is another one."""
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


class Fresh:
    """A home to restore into: what flows does, without configuration."""

    def __init__(self, root: Path, replicas: int = 2) -> None:
        self.world = World(root, replicas, replicas)
        root.mkdir(parents=True, exist_ok=True)
        self.said: list[str] = []

    def restoring(
        self,
        archives: list[Archive],
        wish: Wish = Wish(),  # noqa: B008
        reach: Callable[[str], None] = lambda _: None,
    ) -> restore.Restoring:
        """Begun, or taken up again."""
        home, said = self.world.root, self.said.append
        holdings = Holdings.of(archives, said)
        half = steps.unfinished(home)
        if half is None:
            whole, passed = holdings.pick(wish)
            half = founding.begin(
                whole, self.world.ids, self.world.write_quorum, origins=(), exact=wish.exact, fork=False,
                passed_over=tuple(passed), token=token, clock=lambda: 5000.0,
            )  # fmt: skip
            for name in self.world.ids:
                LocalStore.create(self.world.folder(name), token=token)
            steps.note(home, half)
        else:
            half, whole = restore.resumed(home, holdings, half, token, said)
        return restore.Restoring(
            home, holdings, self.world.stores(), half, whole,
            token=token, report=said, report_progress=lambda *_: None, reach=reach,
        )  # fmt: skip

    def restore(self, *archives: Archive, wish: Wish = Wish()) -> restore.Restoring:  # noqa: B008
        doing = self.restoring(list(archives), wish)
        doing.lay()
        doing.fill(lambda: None)
        doing.fence(6000.0)
        doing.found(Catalog(self.world.catalog), 6000.0)
        return doing


def content(home: Path) -> dict[str, tuple[str, float]]:
    """Every row that is served, by chunk id: its text, and its score for one query."""
    import numpy as np

    with Reader.open(home, report=lambda _: None) as reader:
        query = np.ones((1, 8), np.float32)
        return {hit.chunk_id: (hit.text, hit.score) for hit in reader.search(query, 100)[0]}


def same_but_lineage(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests say the same of documents, sources and vectors."""
    fields = ("spaces", "state", "texts", "sources", "counts", "live")
    return all(msgspec.json.encode(getattr(one, name)) == msgspec.json.encode(getattr(other, name)) for name in fields)
