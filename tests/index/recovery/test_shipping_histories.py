"""Any history of an index, shipped whenever and with any faults: a DR store never holds half a version or a wrong one.

An example that fails is shrunk and printed; `--hypothesis-seed` replays a run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs import copying
from penstock.index.care.collect import Retention, collect
from penstock.index.care.compact import Policy, compact
from penstock.index.commits import manifest as manifests
from penstock.index.errors import IndexFault
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.lag import measure
from penstock.index.recovery.shipping import Shipped, Shipper
from penstock.index.stores.store import LocalStore, Store
from tests.fakes.stores import Away, OnlyBlobs
from tests.index.world import World, delta, served

SHM = Path("/dev/shm")
POINTS = ("ship.announced", "ship.blob", "ship.blobs", "ship.published")
Docs = dict[str, list[str]]

COMMIT = st.tuples(
    st.just("commit"),
    st.dictionaries(
        st.sampled_from(["s/a", "s/b", "s/c"]), st.sampled_from([None, "one", "one two", "uno dos tres"]), min_size=1
    ),
)
UPKEEP = st.sampled_from([("compact", None), ("collect", 1), ("collect", 2), ("epoch", None), ("half", None)])
SHIP = st.one_of(
    st.tuples(st.just("ship"), st.none()),
    st.tuples(st.just("die"), st.tuples(st.sampled_from(POINTS), st.integers(0, 6))),
    st.tuples(st.just("lose"), st.tuples(st.sampled_from(["dr", "0", "1"]), st.integers(0, 25))),
    st.tuples(st.just("expire"), st.tuples(st.sampled_from(POINTS), st.integers(0, 6))),
)
HISTORY = st.lists(st.one_of(COMMIT, COMMIT, UPKEEP, SHIP, SHIP), min_size=3, max_size=10)


class Died(BaseException):
    """What a process does at a crash point, in this process."""


class Telling:
    """One index, its DR store, and what was served at each version that there ever was."""

    def __init__(self, root: Path) -> None:
        self.world = World(root / "home")
        with self.world.create() as writer:
            self.lineage = writer.meta.lineage
        self.dr: Store = LocalStore.create(root / "dr", token=self.world.token)
        self.kept: dict[int, Docs] = {0: {}}
        self.scratch = root / "scratch"
        self.shipper: Shipper | None = None
        self.point: Callable[[str], None] = lambda _: None
        self.gone: Callable[[str], bool] = lambda _: False

    def step(self, what: str, how: object) -> None:
        match what:
            case "commit" | "compact" | "collect":
                with self.world.open() as writer:
                    self.note()
                    if what == "commit":
                        writer.commit(delta(writer.head().version, how))  # type: ignore[arg-type]
                    elif what == "compact":
                        compact(writer, Policy(fan_in=2), full=True)
                    else:
                        collect(writer, Retention(how, 0.0), now=1e9)  # type: ignore[arg-type]
                self.note()
            case "epoch":
                (self.world.root / self.world.database).unlink()
                self.world.open().close()
                self.note()
            case "half":
                self.half()
            case "ship":
                self.ship()
            case "die" | "expire":
                self.hurt(what, *how)  # type: ignore[misc]
            case "lose":
                self.lose(*how)  # type: ignore[misc]

    def note(self) -> None:
        """What the head serves now; versions that came with it hold the same."""
        with self.world.open() as writer:
            head = writer.head()
        docs = served(head, self.world.stores())
        for version in range(max(self.kept) + 1, head.version + 1):
            self.kept[version] = docs

    def half(self) -> None:
        """A commit that is ratified, and published on one replica of the two that must have it."""
        whole, self.world.wrap = self.world.wrap, lambda name, store: OnlyBlobs(store, lambda: name == "1")
        try:
            with self.world.open() as writer:
                writer.commit(delta(writer.head().version, {"s/half": f"turn{len(self.kept)}"}))
        except IndexFault:
            pass
        before, shipped = max(self.kept), self.ship().head
        assert shipped <= before, "nothing is shipped that is not acknowledged"
        self.world.wrap = whole

    def ship(self) -> Shipped:
        """The same session as the last time, unless that one died."""
        if self.shipper is None:
            archive = Archive(Away(self.dr, lambda: self.gone("dr")), lambda _: None)
            self.shipper = Shipper(
                [_Late(self, name) for name in self.world.ids],
                archive,
                lineage=self.lineage,
                scratch=self.scratch,
                clock=lambda: 1e6,
                report=lambda _: None,
                reach=lambda point: self.point(point),
                threads=1,
            )
        return self.shipper.catch_up()

    def hurt(self, what: str, point: str, count: int) -> None:
        """At the n-th time that a point is reached: the shipper dies, or all old versions are collected."""
        left = [count]

        def reach(at: str) -> None:
            left[0] -= at == point
            if left[0] == -1 and what == "expire":
                left[0] -= 1
                self.step("collect", 1)
            elif left[0] == -1:
                raise Died

        self.point = reach
        try:
            self.ship()
        except Died:
            self.shipper = None
        finally:
            self.point = lambda _: None

    def lose(self, place: str, count: int) -> None:
        """From the n-th request on one of the stores does not answer, for the rest of this call."""
        left = [count]

        def gone(name: str) -> bool:
            left[0] -= name == place
            return name == place and left[0] < 0

        self.gone = gone
        try:
            self.ship()
        except IndexFault:
            pass
        finally:
            self.gone = lambda _: False

    def check(self) -> None:
        """Whatever was done: each version there is whole, and holds what the index held."""
        archive = Archive(self.dr, lambda _: None)
        for version, epoch in archive.versions():
            record = archive.record(version, epoch)
            manifest = archive.manifest(record.manifest)
            for ref in (record.manifest, *manifests.closure(manifest).values()):
                copying.check_stored(self.dr, ref)
            assert served(manifest, {"dr": self.dr}) == self.kept[version]


class _Late(Away):
    """A replica as the world has it when it is asked."""

    def __init__(self, telling: Telling, name: str) -> None:
        self._telling, self._name = telling, name
        super().__init__(telling.world.stores()[name], lambda: telling.gone(name))

    def _there(self) -> Store:
        super()._there()
        return self._telling.world.stores()[self._name]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORY)
def test_what_is_in_a_dr_store_is_whole_and_true_whatever_happens(history: list[tuple[str, object]]) -> None:
    """Commits, compactions, collections, new epochs, half commits; deaths, outages and expiry while it is shipped."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        telling = Telling(Path(folder))
        for what, how in history:
            telling.step(what, how)
            telling.check()
        telling.note()
        telling.ship()
        telling.check()
        head = max(telling.kept)
        assert telling.ship() == Shipped(0, 0, 0, head, ())
        lag = measure(list(telling.world.stores().values()), Archive(telling.dr, print), telling.lineage, 1e6, print)
        assert (lag.version, lag.versions, lag.bytes, lag.seconds) == (head, 0, 0, 0.0)
