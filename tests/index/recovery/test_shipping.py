"""Shipping: what is under log/ in a DR store is whole whenever it stops, and is what the index was at that version."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
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
from penstock.index.recovery.archive import Archive, coming_key
from penstock.index.recovery.shipping import Shipped, Shipper
from penstock.index.stores.store import LocalStore, Store
from tests.fakes.stores import Away
from tests.index.s3 import server, store_at  # noqa: F401 - a fixture is used by its name
from tests.index.world import World, delta, served

SHM = Path("/dev/shm")
POINTS = ("ship.announced", "ship.blob", "ship.blobs", "ship.published")


class Site:
    """A home, and a DR store beside it. `reports` is what shipping said."""

    def __init__(self, root: Path, replicas: int = 2, write_quorum: int = 2) -> None:
        self.root, self.world = root, World(root / "home", replicas, write_quorum)
        if not self.world.root.is_dir():
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


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, made once."""
    site = Site(tmp_path_factory.mktemp("template"))
    site.commit({"s/a": "one two", "s/b": "three"})
    site.commit({"s/b": None, "s/c": "four"})
    return site.root


@pytest.fixture
def site(template: Path) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Site(Path(shutil.copytree(template, Path(folder) / "site")))


def test_each_version_is_there_as_it_was(site: Site) -> None:
    """Two commits, two versions, each with what the index served then."""
    done = site.ship()
    assert (done.versions, done.head, done.blobs > 0) == (2, 2, True)
    assert site.shipped() == {1: {"s/a": ["one", "two"], "s/b": ["three"]}, 2: {"s/a": ["one", "two"], "s/c": ["four"]}}


def test_an_index_without_versions_ships_nothing(tmp_path: Path) -> None:
    """Nothing is put into the DR store before there is something to ship."""
    site = Site(tmp_path)
    assert site.ship() == Shipped(0, 0, 0, 0, ())
    assert site.files() == set()


class Counting(Away):
    """Counts what is asked of a store, by the method's name."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda: False)
        self.asked: list[str] = []

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        self.asked.append(f"put {key}")
        return super().put_if_absent(key, data)

    def get(self, key: str) -> bytes:
        self.asked.append("get")
        return super().get(key)

    def get_range(self, key: str, start: int, end: int) -> bytes:
        self.asked.append("get")
        return super().get_range(key, start, end)

    def size(self, key: str) -> int | None:
        self.asked.append("size")
        return super().size(key)

    def list(self, prefix: str) -> Iterator[str]:
        self.asked.append(f"list {prefix}")
        return super().list(prefix)


def test_an_unchanged_index_costs_a_look(site: Site) -> None:
    """A new session puts nothing; a turn of one that goes on lists the logs, and asks the DR store nothing."""
    site.ship()
    before = site.files()
    replicas = [Counting(store) for store in site.world.stores().values()]
    site.world.wrap = lambda name, _: replicas[int(name)]
    site.store = there = Counting(site.store)
    shipper = site.shipper()
    assert shipper.catch_up() == Shipped(0, 0, 0, 2, ())
    assert not [asked for asked in there.asked if asked.startswith("put")] and site.files() == before
    for store in (there, *replicas):
        store.asked.clear()
    assert shipper.catch_up() == Shipped(0, 0, 0, 2, ())
    assert (there.asked, [store.asked for store in replicas]) == ([], [["list log/"], ["list log/"]])


def test_only_the_difference_is_put(site: Site) -> None:
    """The bytes that are told are those of the blobs that came, and no blob of before is put again."""
    site.ship()
    before = site.files()
    site.commit({"s/d": "five"})
    site.store = there = Counting(site.store)
    done = site.ship()
    came = [key for key in site.files() - before if key.startswith("blobs/")]
    assert sorted(asked for asked in there.asked if asked.startswith("put blobs/")) == [
        f"put {key}" for key in sorted(came)
    ]
    assert (done.blobs, done.bytes) == (len(came), sum(site.store.size(key) or 0 for key in came))


def test_one_more_version_costs_six_requests_and_its_blobs(site: Site) -> None:
    """A bucket is paid by the request: none is made for a blob that the newest version there has."""
    site.store = there = Counting(site.store)
    shipper = site.shipper(threads=1)
    shipper.catch_up()
    there.asked.clear()
    site.commit({"s/d": "five"})
    blobs = shipper.catch_up().blobs
    asked = [what for what in there.asked if not what.startswith("put blobs/")]
    assert len(there.asked) - len(asked) == blobs
    assert asked == ["get", "list fences/", "put " + coming_key(3, 1), "list expiring/", "size", "put " + log.key(3, 1)]


def test_lag_is_from_the_commit_to_the_record_there(site: Site) -> None:
    """One figure for each version, in its clock's seconds."""
    lags = site.ship().lags
    assert lags == tuple(site.now - site.archive.record(version, 1).committed_at for version in (1, 2))


class Died(BaseException):
    """What a process does at a crash point, in this process."""


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("point", "after"), [*((point, n) for point in POINTS for n in (0, 1)), ("ship.blob", 3), ("ship.blob", 7)]
)
def test_a_repeat_goes_on_from_any_point(site: Site, point: str, after: int, threads: int) -> None:
    """Whatever had been reached, what is published is whole, and the end is that of an undisturbed run."""
    left = [after]

    def reach(at: str) -> None:
        if at == point:
            left[0] -= 1
            if left[0] == -1:
                raise Died

    shipper = site.shipper(reach, threads)
    with pytest.raises(Died):
        shipper.catch_up()
    assert site.shipped().keys() <= {1, 2}
    shipper.catch_up()
    assert site.shipped().keys() == {1, 2}
    again = site.files()
    site.store = LocalStore.create(site.root / "undisturbed", token=site.world.token)
    site.ship()
    assert again == site.files()


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_leaves_nothing_half(site: Site, point: str) -> None:
    """SIGKILL, and another process goes on."""
    pid = os.fork()
    if pid == 0:
        seen: list[str] = []

        def reach(at: str) -> None:
            seen.append(at)
            if at == point and (at != "ship.blob" or seen.count(at) == 3):
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            site.shipper(reach, threads=1).catch_up()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    before = site.shipped()
    done = site.ship()
    assert site.shipped().keys() == {1, 2} and done.versions == 2 - len(before)


def test_what_expired_before_it_was_shipped_is_a_gap(site: Site) -> None:
    """The log of a DR store may have gaps; what follows is whole."""
    site.ship()
    for n in range(3):
        site.commit({"s/d": f"word{n}"})
    with site.world.open() as writer:
        collect(writer, Retention(1, 0.0), now=1e9)
    site.ship()
    assert sorted(site.shipped()) == [1, 2, 5]
    assert site.shipped()[5] == site.head()


def test_a_collection_while_a_version_is_shipped_is_passed_over(site: Site) -> None:
    """Its blobs go in the middle: shipping says so and goes on with what is retained."""
    for n in range(3):
        site.commit({"s/a": f"word{n}"})
    with site.world.open() as writer:
        compact(writer, Policy(), full=True)
    swept: list[str] = []

    def reach(point: str) -> None:
        if point == "ship.announced" and not swept:
            swept.append(point)
            with site.world.open() as writer:
                collect(writer, Retention(1, 0.0), now=1e9)

    done = site.shipper(reach).catch_up()
    with site.world.open() as writer:
        head = writer.head().version
    assert (done.head, sorted(site.shipped())) == (head, [head])
    assert site.shipped()[head] == site.head()
    assert any("version 1 is passed over: it expired" in line for line in site.reports), site.reports


def needed(site: Site, version: int) -> list[str]:
    """The keys of the blobs of a version that no other one needs, of segments and of state."""
    archive = Archive(site.world.stores()["0"], print)
    names = {}
    for one, epoch in archive.versions():
        names[one] = set(manifests.closure(archive.manifest(archive.record(one, epoch).manifest)).values())
    others = set().union(*(refs for one, refs in names.items() if one != version))
    return sorted(blob.key(ref) for ref in names[version] - others)


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_copy_is_passed_over(site: Site, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a byte from there: the other replica's is taken, and the damage is said."""
    if large:
        monkeypatch.setattr(carrying, "IN_MEMORY", 0)
    key = needed(site, 2)[0]
    spoil(site.world.folder("0") / key)
    site.ship()
    assert site.shipped()[2] == site.head()
    assert [line for line in site.reports if site.world.folder("0").name in line and "another replica" in line]


def test_a_version_that_is_whole_nowhere_is_passed_over_for_a_newer_one(site: Site) -> None:
    """Said with its number; where it is the newest, that is the fault that stops it."""
    with site.world.open() as writer:
        compact(writer, Policy(), full=True)
    for name in site.world.ids:
        spoil(site.world.folder(name) / needed(site, 1)[0])
    site.ship()
    assert sorted(site.shipped()) == [2, 3, 4]
    assert [line for line in site.reports if line.startswith("version 1 is passed over")]


def test_the_newest_version_being_whole_nowhere_is_a_fault(site: Site) -> None:
    """What is there stays; when a replica is mended, shipping goes on."""
    path = site.world.folder("1") / needed(site, 2)[0]
    good = path.read_bytes()
    for name in site.world.ids:
        spoil(site.world.folder(name) / needed(site, 2)[0])
    shipper = site.shipper()
    with pytest.raises(Corrupt):
        shipper.catch_up()
    assert sorted(site.shipped()) == [1]
    path.unlink()
    path.write_bytes(good)
    assert shipper.catch_up().versions == 2, "what had been shipped before the fault is told with the rest"
    assert sorted(site.shipped()) == [1, 2]


def test_a_fence_stops_it_also_in_the_middle_of_a_session(site: Site) -> None:
    """Not one version more, once an index that was restored from there goes on."""
    shipper = site.shipper()
    shipper.catch_up()
    site.archive.fence(site.lineage, "M", 2, 1.0)
    site.commit({"s/d": "five"})
    for _ in range(2):
        with pytest.raises(Fenced):
            shipper.catch_up()
    assert sorted(site.shipped()) == [1, 2]


def test_another_index_s_place_is_refused(site: Site) -> None:
    """As is one with something else in it."""
    site.archive.claim("another")
    with pytest.raises(WrongIndex, match="another index"):
        site.ship()
    site.store = LocalStore.create(site.root / "pictures", token=site.world.token)
    site.store.put_if_absent("holiday", b"x")
    with pytest.raises(WrongIndex, match="not empty"):
        site.ship()
    assert site.files() == {"holiday"}


def test_a_place_that_is_emptied_under_way_gets_no_version_without_its_blobs(site: Site) -> None:
    """It may be a disk that is not mounted. Another session means it, and ships all that is published."""
    shipper = site.shipper()
    shipper.catch_up()
    for path in (site.root / "dr").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    site.commit({"s/d": "five"})
    for _ in range(2):
        with pytest.raises(Unavailable, match="mounted"):
            shipper.catch_up()
    assert site.files() == set()
    site.ship()
    assert sorted(site.shipped()) == [1, 2, 3]


def test_a_session_begins_by_making_the_newest_version_whole(site: Site) -> None:
    """What is missing of it is put again, with nothing new to ship."""
    site.ship()
    lost = needed(site, 2)[0]
    site.store.delete(lost)
    done = site.ship()
    assert (done.versions, done.blobs) == (0, 1)
    assert [line for line in site.reports if "is there again" in line]
    assert site.shipped()[2] == site.head()


def test_a_blob_of_the_wrong_size_there_is_said_and_nothing_is_built_on_it(site: Site) -> None:
    """It is never overwritten. Deleted there, it comes again."""
    site.ship()
    path = site.root / "dr" / needed(site, 2)[0]
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:-1])
    assert site.ship().versions == 0
    assert [line for line in site.reports if "penstock snapshot verify" in line]
    site.commit({"s/d": "five"})
    with pytest.raises(Corrupt, match="snapshot verify"):
        site.ship()
    path.unlink()
    site.ship()
    assert sorted(site.shipped()) == [1, 2, 3]


class Full(Away):
    """A store whose disk is full while `gone()` is True."""

    def _there(self) -> Store:
        return self._store

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if self._gone():
            raise NoSpace(f"{self.name}: the disk is full; make room and run again")
        return self._store.put_if_absent(key, data)


@pytest.mark.parametrize(("kind", "fault"), [(Away, Unavailable), (Full, NoSpace)])
@pytest.mark.parametrize("last", range(1, 30, 4))
def test_a_dr_store_that_goes_away_or_is_full_is_a_fault_and_loses_nothing(
    site: Site, kind: type[Away], fault: type[Exception], last: int
) -> None:
    """Whenever that is: what is published is whole, and the same session goes on when it is back."""
    there, asked, well = site.store, [0], [False]

    def gone() -> bool:
        asked[0] += 1
        return asked[0] > last and not well[0]

    site.store = kind(there, gone)
    shipper = site.shipper(threads=1)
    if last < 20:
        with pytest.raises(fault):
            shipper.catch_up()
    well[0] = True
    contents(Archive(there, print)) if there.size("shipped.json") else None
    shipper.catch_up()
    assert sorted(site.shipped()) == [1, 2]


def test_it_stops_between_two_blobs(site: Site) -> None:
    """What had been put counts; the next call goes on."""
    calls = iter([False] * 4 + [True])
    shipper = site.shipper(threads=1)
    first = shipper.catch_up(lambda: next(calls, True))
    assert (first.versions, first.head) == (0, 0) and 0 < first.blobs < 5
    second = shipper.catch_up()
    whole = Shipped(2, first.blobs + second.blobs, first.bytes + second.bytes, 2, second.lags)
    site.store = LocalStore.create(site.root / "undisturbed", token=site.world.token)
    assert site.ship() == whole


def test_an_expiry_that_deletes_what_is_needed_is_waited_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published meanwhile."""
    site.ship()
    site.commit({"s/d": "five"})
    said: list[set[str]] = []

    def busy(self: Archive, now: float, *, blobs: dict[str, object], **_: object) -> None:
        said.append(set(blobs))
        if len(self.coming()) == 3:
            raise Unavailable("an expiry")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "check_stays", busy)
        with pytest.raises(Unavailable):
            site.ship()
    assert sorted(site.shipped()) == [1, 2]
    site.ship()
    assert sorted(site.shipped()) == [1, 2, 3]
    newest = site.archive.manifest(site.archive.record(3, 1).manifest)
    assert said[-1] == {site.archive.record(3, 1).manifest.name, *manifests.closure(newest)}


def test_a_catalog_made_again_goes_on_in_the_same_place(site: Site) -> None:
    """The first version of the new epoch follows the last of the old one."""
    site.ship()
    (site.world.root / site.world.database).unlink()
    site.commit({"s/d": "five"})
    site.ship()
    assert site.archive.versions() == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert site.shipped()[4] == site.head()


def test_two_may_ship_to_one_place_at_the_same_time(site: Site) -> None:
    """A lock that failed costs time, and nothing else."""
    other = site.shipper()
    started: list[str] = []

    def reach(point: str) -> None:
        if point == "ship.blob" and not started:
            started.append(point)
            other.catch_up()

    site.shipper(reach, threads=1).catch_up()
    assert sorted(site.shipped()) == [1, 2]


def test_a_session_that_was_overtaken_brings_again_what_has_expired(site: Site) -> None:
    """Another ships to the same place, and an expiry takes what the newest version does not need any more."""
    slow = site.shipper()
    slow.catch_up()
    site.commit({"s/d": "five"})
    with site.world.open() as writer:
        compact(writer, Policy(), full=True)
    site.ship()
    newest = site.archive.versions()[-1]
    manifest = site.archive.record(*newest).manifest
    kept = {blob.key(manifest), *map(blob.key, manifests.closure(site.archive.manifest(manifest)).values())}
    for key in site.files():
        if key.startswith(("blobs/", "log/")) and key not in kept | {log.key(*newest)}:
            site.store.delete(key)
    slow.catch_up()
    assert sorted(site.shipped()) == [*range(3, newest[0] + 1)]


def test_a_disk_that_cannot_read_a_blob_is_passed_over(site: Site) -> None:
    """EIO from one replica: the other's copy is taken."""

    class Rotten(Away):
        def get_range(self, key: str, start: int, end: int) -> bytes:
            if key.startswith("blobs/"):
                raise OSError(5, "Input/output error")
            return super().get_range(key, start, end)

    site.world.wrap = lambda name, store: Rotten(store, lambda: False) if name == "0" else store
    site.ship()
    site.world.wrap = lambda _, store: store
    assert site.shipped()[2] == site.head()


@pytest.mark.parametrize("large", [False, True])
def test_it_ships_from_bucket_to_bucket_and_between_bucket_and_folder(
    tmp_path: Path,
    server,  # noqa: F811 - the fixture of the import
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real S3 API: the same versions, whatever is on which side."""
    if large:
        monkeypatch.setattr(carrying, "IN_MEMORY", 0)
    site = Site(tmp_path, 1, 1)
    bucket = store_at(f"s3://{server.bucket()}/replica", server.environ)
    kept = {}
    for n in range(1, 3):
        site.commit({"s/a": f"word{n}", f"s/{n}": "more"})
        kept[n] = site.head()
    folder = site.store
    for key in site.world.stores()["0"].list(""):
        bucket.put_if_absent(key, site.world.stores()["0"].get(key))
    site.store = first = store_at(f"s3://{server.bucket()}/dr", server.environ)
    assert site.ship().versions == 2  # from a folder
    site.world.wrap = lambda *_: bucket
    site.store = store_at(f"s3://{server.bucket()}/dr", server.environ)
    assert site.ship().versions == 2  # from a bucket to a bucket
    site.store = folder
    assert site.ship().versions == 2  # from a bucket to a folder
    assert contents(Archive(first, print)) == site.shipped() == kept
    assert not list((tmp_path / "scratch").glob("*"))
