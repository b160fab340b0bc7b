"""Shipping: what is under log/ in a DR store is whole whenever it stops, and is what the index was at that version."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.index.blobs import blob, copying
from penstock.index.care.collect import Retention, collect
from penstock.index.care.compact import Policy, compact
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.errors import Corrupt, Fenced, NoSpace, Unavailable, WrongIndex
from penstock.index.recovery import carrying
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.shipping import Shipped, Shipper
from penstock.index.stores.store import LocalStore, Store
from tests.fakes.stores import Away, OnlyBlobs
from tests.index.s3 import server, store_at  # noqa: F401 - a fixture is used by its name
from tests.index.world import World, delta, served

POINTS = ("ship.announced", "ship.blob", "ship.blobs", "ship.published")


class Site:
    """A home, and a DR store beside it. `reports` is what shipping said."""

    def __init__(self, root: Path, replicas: int = 2, write_quorum: int = 2) -> None:
        self.root, self.world = root, World(root / "home", replicas, write_quorum)
        self.world.create().close()
        self.reports: list[str] = []
        self.store: Store = LocalStore.create(root / "dr", token=self.world.token)
        self.now = 5000.0
        with self.world.open() as writer:
            self.lineage = writer.meta.lineage

    @property
    def archive(self) -> Archive:
        return Archive(self.store, self.reports.append)

    def shipper(self, reach: Callable[[str], None] = lambda _: None, threads: int = 2) -> Shipper:
        return Shipper(
            list(self.world.stores().values()),
            self.archive,
            lineage=self.lineage,
            scratch=self.root / "scratch",
            clock=lambda: self.now,
            report=self.reports.append,
            reach=reach,
            threads=threads,
        )

    def ship(self) -> Shipped:
        return self.shipper().catch_up()

    def commit(self, docs: dict[str, str | None]) -> int:
        with self.world.open() as writer:
            return writer.commit(delta(writer.head().version, docs)).version

    def head(self) -> dict[str, list[str]]:
        with self.world.open() as writer:
            return served(writer.head(), self.world.stores())

    def files(self) -> set[str]:
        return set(self.store.list(""))

    def shipped(self) -> dict[int, dict[str, list[str]]]:
        return contents(self.archive)


def contents(archive: Archive) -> dict[int, dict[str, list[str]]]:
    """What each version in a DR store holds: read from there alone, every byte of its closure checked."""
    found = {}
    for version, epoch in archive.versions():
        record = archive.record(version, epoch)
        manifest = archive.manifest(record.manifest)
        assert (manifest.version, manifest.lineage) == (version, archive.lineage())
        for ref in (record.manifest, *manifests.closure(manifest).values()):
            copying.check_stored(archive.store, ref)
        found[version] = served(manifest, {"dr": archive.store})
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.commit({"s/a": "one two", "s/b": "three"})
    site.commit({"s/b": None, "s/c": "four"})
    return site


def test_each_version_is_there_as_it_was(site: Site) -> None:
    """Two commits, two versions, each with what the index served then."""
    done = site.ship()
    assert (done.versions, done.head, done.blobs > 0) == (2, 2, True)
    assert site.shipped() == {1: {"s/a": ["one", "two"], "s/b": ["three"]}, 2: {"s/a": ["one", "two"], "s/c": ["four"]}}
