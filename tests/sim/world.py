"""One schedule: a world is made, lived in, struck, and then everything is mended and looked at."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.index.commits.crew import Crew, Sequential
from penstock.index.errors import IndexFault
from penstock.index.stores.store import Store
from tests.sim import actors, shipping
from tests.sim.catalog import CatalogFile, SimCatalog
from tests.sim.crew import SimCrew
from tests.sim.damage import Damage
from tests.sim.disk import Disk, SimStore
from tests.sim.ending import mend_and_look
from tests.sim.folder import Folder, SimLocal
from tests.sim.locks import LockTable
from tests.sim.oracle import KEEP, Intent, Oracle
from tests.sim.reading import without_threads
from tests.sim.scheduler import Process, Scheduler, Task, Violation
from tests.sim.weather import Weather

SHAPES = ((2, 2), (2, 2), (3, 2), (3, 2), (3, 2), (1, 1), (3, 3), (5, 3))
"""Replicas and write quorum."""
PROFILES = ("budget", "calm", "beyond", "shipped")
"""Damage within what is promised; none; more than any promise, where only silence and wrong answers are bugs; and as
the first, with processes that ship to a DR store."""


@dataclass(frozen=True)
class Site:
    """What an operator has written down: where each replica is (the name of its disk), and the write quorum."""

    disks: Mapping[str, str]
    write_quorum: int


@dataclass(frozen=True)
class Outcome:
    """How one schedule went."""

    seed: int
    profile: str
    steps: int
    acked: int
    lost: int
    digest: str
    faults: dict[str, int]
    violations: tuple[str, ...]


class SimWorld:
    """Disks, a catalog, locks, time, and the processes of one schedule."""

    def __init__(self, root: Path, seed: int, steps: int, profile: str, *, verbose: bool = False) -> None:
        self.root, self.seed, self.profile = root, seed, profile
        self.rng = random.Random(f"world {seed} {profile}")
        self.sim = Scheduler(seed, steps, lambda task: self.weather.decide(task), verbose)
        replicas, quorum = self.rng.choice(SHAPES)
        self.local = self.rng.random() < 0.3
        self.disks: dict[str, Disk] = {}
        for name in "abcde"[:replicas]:
            self._make_disk(name)
        self.sites = [Site({name: name for name in self.disks}, quorum)]
        """Every configuration that was tried; the one that is in use last."""
        self.file = CatalogFile(root / "catalog.db")
        self.locks = LockTable(lies=self.rng.random() < 0.5)
        self.ever: dict[str, bytes] = {}
        self.archive, self.archived = Disk("dr"), set[str]()
        self.oracle = Oracle(self.disks, self.ever, lambda: self.damage.replicas(), strict=profile != "beyond")
        self.damage = Damage(seed, self.sim, self.disks, self.file, self.oracle, self._most_damaged)
        self.weather = Weather(seed, self.sim, self.disks, self.file, self.calm, self._events)
        self.threads = self.rng.random() < 0.5
        self.population = self.rng.randint(1, 4)
        self._numbers = itertools.count(1)
        self._damaging = 0.0 if profile == "calm" else self.rng.choice((0.0005, 0.002, 0.005))

    def live(self) -> Outcome:
        """Run the schedule. A violation is reported, never raised."""
        try:
            with without_threads(lambda: self.sim.now):
                self._run()
                mend_and_look(self)
                shipping.check(self)
        except (Violation, AssertionError, IndexFault) as broken:
            self.sim.failures.append(f"at the end: {type(broken).__name__}: {broken}")
        finally:
            self.sim.finish()
        lost = sum("LOST" in failure for failure in self.sim.failures)
        sim = self.sim
        return Outcome(
            self.seed,
            self.profile,
            sim.steps,
            self.oracle.acknowledgements,
            lost,
            sim.digest,
            dict(sorted(sim.counts.items())),
            tuple(sim.failures),
        )

    def site_of(self, process: Process) -> Site:
        """The configuration that this process was started with: the newest, or now and then an old one."""
        if process.site is None:
            stale = (
                process.role != "repairer"
                and not self.calm()
                and not self.damage.catalog_harmed
                and process.rng.random() < 0.1
            )
            process.site = process.rng.choice(self.sites[-3:]) if stale else self.sites[-1]
        assert isinstance(process.site, Site)
        return process.site

    def try_another(self, process: Process) -> None:
        """The index refused the configuration: take one that may be the right one."""
        process.site = process.rng.choice(self.sites[-3:])

    def store(self, process: Process, disk: str) -> Store:
        kind = SimLocal if self.local else SimStore
        return kind(self.disks[disk], process, self.sim, self.ever)

    def stores(self, process: Process) -> dict[str, Store]:
        return {name: self.store(process, disk) for name, disk in self.site_of(process).disks.items()}

    def write_down(self, disks: Mapping[str, str], write_quorum: int | None) -> Site:
        """A configuration that may become the index's. None: as membership chooses the quorum."""
        if write_quorum is None:
            most, before = len(disks) // 2 + 1, self.sites[-1].write_quorum
            write_quorum = max(most, min(before, len(disks)))
        site = Site(disks, write_quorum)
        self.sites.insert(-1, site)
        return site

    def put_in_use(self, site: Site) -> None:
        """This configuration is the index's now."""
        self.sites.remove(site)
        self.sites.append(site)

    def new_disk(self, name: str) -> Disk:
        """An empty one."""
        return self._make_disk(f"{name}{len(self.disks)}")

    def _make_disk(self, name: str) -> Disk:
        self.disks[name] = Disk(name)
        if self.local:
            folder = self.root / "replicas" / name
            folder.mkdir(parents=True)
            self.disks[name].values = Folder(folder)
        return self.disks[name]

    def calm(self) -> bool:
        """Whether the promises allow no replica to be away: the catalog and a replica are harmed, or all is over."""
        return self.damage.both() or not self.weather.stormy

    def _most_damaged(self) -> int | None:
        """How many replicas may be harmed: one less than have every commit, whichever configuration is the true one."""
        return None if self.profile == "beyond" else min(site.write_quorum for site in self.sites[-2:]) - 1

    def catalog_of(self, process: Process) -> SimCatalog:
        return SimCatalog(f"sqlite:///{self.file.path}", process, self.sim, self.locks)

    def options(self, process: Process) -> dict[str, Any]:
        """What a writer takes besides its catalog and stores."""
        crew: Crew = SimCrew(process, self.sim, self.calm) if self.threads else Sequential()
        return {
            "write_quorum": self.site_of(process).write_quorum,
            "workdir": self.root / "work",
            "clock": lambda: self.sim.now + process.skew,
            "token": lambda: self.token(process),
            "report": lambda line: self.heard(process, line),
            "reach": lambda point: self.reached(process, point),
            "crew": crew,
        }

    def token(self, process: Process) -> str:
        """A new id; whoever finds it knows what its process wanted when it drew it."""
        token = f"{next(self._numbers):06x}{process.name}"
        note = process.note
        self.oracle.intents[token] = note if isinstance(note, Intent) else KEEP
        return token

    def creating(self) -> float:
        """How often a process tries to create the index, which is allowed at any time."""
        return 0.2 if self.oracle.acked else 1.0

    def say(self, process: Process, fault: IndexFault) -> None:
        self.sim.say(f"{process.name:12} got {type(fault).__name__}: {str(fault)[:300]}")

    def heard(self, process: Process, line: str) -> None:
        self.sim.say(f"{process.name:12} says: {line[:300]}")

    def begin(self, role: str) -> Task:
        """A new process of that role."""
        line = actors.ACTORS[role][1]
        name = f"{role}{len(self.sim.processes)}"
        process = Process(name, role, random.Random(f"{name} {self.seed}"))
        process.skew = process.rng.choice((0.0, 0.0, -50.0, 50.0))
        return self.sim.spawn(process, lambda: line(self, process))

    def reached(self, process: Process, point: str) -> None:
        from tests.sim.scheduler import Op

        self.sim.point(Op("reach", point))

    def _run(self) -> None:
        roles = sorted(role for role in actors.ACTORS if role != "shipper" or self.profile == shipping.PROFILE)
        weights = [actors.ACTORS[role][0] for role in roles]
        while self.sim.steps < self.sim.steps_left and not self.sim.failures:
            for zombie in [p for p in self.sim.alive() if p.paused][:-3]:
                self.sim.crash(zombie)
            while len([p for p in self.sim.alive() if not p.paused]) < self.population:
                self.begin(self.rng.choices(roles, weights)[0])
            self.sim.step()

    def _events(self) -> None:
        """What happens to the world besides its processes."""
        rng = self.rng
        if rng.random() < 0.003:
            disk = rng.choice(list(self.disks.values()))
            disk.copies = [*disk.copies, dict(disk.values)][-4:]
        if rng.random() < 0.003:
            self.file.remember()
        if rng.random() < 0.01:
            self._land_late(rng.choice(list(self.disks.values())))
        if rng.random() < 0.002 and (sleepers := [p for p in self.sim.processes if p.paused and not p.dead]):
            rng.choice(sleepers).paused = False
        if self.oracle.acknowledgements and rng.random() < self._damaging:
            self.damage.harm_replica() if rng.random() < 0.7 else self.damage.harm_catalog()
        if self.damage.harmed and rng.random() < 0.002:
            self.damage.heal(rng.choice(sorted(self.damage.harmed)))
        if rng.random() < 0.0003 and self.profile != "calm":
            shutil.rmtree(self.root / "work", ignore_errors=True)
            self.sim.say("DAMAGE the work folder is lost")
            self.sim.count("workdir lost")

    def _land_late(self, disk: Disk) -> None:
        if disk.late:
            key, value = disk.late.pop(self.rng.randrange(len(disk.late)))
            if key.startswith("blobs/"):
                self.ever.setdefault(key, value)
            disk.keep(key, value)


def run(root: Path, seed: int, steps: int, profile: str, *, verbose: bool = False) -> Outcome:
    """Run one schedule in a folder of its own."""
    root.mkdir(parents=True)
    try:
        return SimWorld(root, seed, steps, profile, verbose=verbose).live()
    finally:
        shutil.rmtree(root, ignore_errors=True)
