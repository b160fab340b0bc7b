"""How far a DR store is behind: versions, bytes, seconds; and a reason instead where that cannot be learned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.index.commits import log
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.lag import Lag, measure
from penstock.index.recovery.shipping import Shipper
from penstock.index.stores.store import LocalStore, Store
from tests.fakes.stores import Away
from tests.index.world import World, delta

SHM = Path("/dev/shm")


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder in memory, where there is one: nothing here is about power failures."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)


class Site:
    def __init__(self, root: Path) -> None:
        self.root, self.world, self.reports = root, World(root / "home"), list[str]()
        with self.world.create() as writer:
            self.lineage = writer.meta.lineage
        self.archive = Archive(LocalStore.create(root / "dr", token=self.world.token), self.reports.append)

    @property
    def replicas(self) -> list[Store]:
        return list(self.world.stores().values())

    def commit(self, docs: dict[str, str | None]) -> float:
        """Seconds since the epoch at which it was committed."""
        with self.world.open() as writer:
            version = writer.commit(delta(writer.head().version, docs)).version
        return log.read(self.replicas[0], version, 1).committed_at

    def ship(self) -> int:
        shipper = Shipper(
            self.replicas,
            self.archive,
            lineage=self.lineage,
            scratch=self.root / "scratch",
            clock=lambda: 0.0,
            report=self.reports.append,
        )
        return shipper.catch_up().bytes

    def lag(self, now: float = 5000.0) -> Lag:
        return measure(self.replicas, self.archive, self.lineage, now, self.reports.append)


@pytest.fixture
def site(root: Path) -> Site:
    return Site(root)


def test_nothing_is_lacking_where_nothing_was_committed(site: Site) -> None:
    """An empty DR store of an empty index."""
    assert site.lag() == Lag(0, 0, 0, 0.0)


def test_the_lag_is_what_shipping_then_ships(site: Site) -> None:
    """The bytes are those that it puts, the seconds those since the oldest version that is lacking."""
    first = site.commit({"s/a": "one two"})
    site.commit({"s/b": "three"})
    before = site.lag()
    assert (before.version, before.versions, before.seconds) == (0, 2, 5000.0 - first)
    assert site.ship() == before.bytes > 0
    assert site.lag() == Lag(2, 0, 0, 0.0)
    third = site.commit({"s/b": None})
    behind = site.lag()
    assert (behind.version, behind.versions, behind.seconds) == (2, 1, 5000.0 - third)
    assert site.ship() == behind.bytes < before.bytes


def test_a_clock_that_went_back_gives_no_negative_lag(site: Site) -> None:
    """Zero is the least."""
    site.commit({"s/a": "one"})
    assert site.lag(now=0.0).seconds == 0.0


@pytest.mark.parametrize("which", ["dr", "replicas"])
def test_who_does_not_answer_is_the_reason(site: Site, which: str) -> None:
    """Nothing is raised, and nothing is claimed."""
    site.commit({"s/a": "one"})
    if which == "dr":
        site.archive = Archive(Away(site.archive.store), print)
    else:
        site.world.wrap = lambda _, store: Away(store)
    found = site.lag()
    assert not found.reachable and "no answer" in found.reason


def test_another_index_s_place_is_the_reason(site: Site) -> None:
    """Its versions are not ours."""
    site.archive.claim("another")
    assert "another index" in site.lag().reason and not site.lag().reachable


def test_a_fence_is_the_reason_why_nothing_more_will_come(site: Site) -> None:
    """The figures still say how far it is."""
    site.commit({"s/a": "one"})
    site.ship()
    site.commit({"s/b": "two"})
    site.archive.fence(site.lineage, "M", 1, 1.0)
    found = site.lag()
    assert (found.reachable, found.version, found.versions) == (True, 1, 1) and "was restored" in found.reason


def test_a_manifest_that_cannot_be_read_is_said_and_not_counted(site: Site) -> None:
    """The versions and the seconds are still told."""
    site.commit({"s/a": "one"})
    name = log.read(site.replicas[0], 1, 1).manifest.name
    for replica in site.world.ids:
        (site.world.folder(replica) / "blobs" / name[:2] / name).unlink()
    found = site.lag()
    assert (found.versions, found.bytes, found.reachable) == (1, 0, True)
    assert [line for line in site.reports if name in line]
