"""Shipping in a simulation: a DR store that never loses anything, and what must be true of it at every moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.errors import IndexFault
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.shipping import Shipper
from tests.sim.actors import actor
from tests.sim.disk import SimStore
from tests.sim.scheduler import Process, Violation

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

PROFILE = "shipped"
"""In which there are shippers. They are in no other: a seed's schedule stays what it was."""


class DrStore(SimStore):
    """A bucket elsewhere: it can be silent, lose a reply, be late or full; the weather over the replicas is not its."""

    def __init__(self, world: SimWorld, process: Process) -> None:
        super().__init__(world.archive, process, world.sim, {})
        self.name = "dr"


@actor(4)
def shipper(world: SimWorld, process: Process) -> None:
    """Ships a few times in one session, with whatever replicas its configuration names."""
    lineage = _lineage(world)
    if lineage is None:
        return
    told: list[str] = []
    session = Shipper(
        list(world.stores(process).values()),
        Archive(DrStore(world, process), told.append),
        lineage=lineage,
        scratch=world.root / "scratch" / process.name,
        clock=lambda: world.sim.now,
        report=lambda line: world.heard(process, line),
        reach=lambda point: world.reached(process, point),
        threads=1,
    )
    for _ in range(process.rng.randint(1, 5)):
        try:
            for _ in range(session.catch_up().versions):
                world.sim.count("shipped")
        except IndexFault as fault:
            world.say(process, fault)
        check(world)
        world.sim.sleep(process.rng.expovariate(0.2), "before shipping again")


def check(world: SimWorld) -> None:
    """Whatever lies under log/ in the DR store has its whole closure beside it, and is what the index was."""
    values, oracle = world.archive.values, world.oracle
    newest = max(oracle.acked, default=0)
    chain = oracle.ancestry(oracle.acked[newest]) if newest else {}
    for key in [key for key in values if log.parse(key)]:
        record = log.decode(values[key], key)
        name = record.manifest.name
        if record.version <= newest and chain.get(record.version) != name:
            raise Violation(f"{key} was shipped and is not in the history of the acknowledged version {newest}")
        if key in world.archived:
            continue
        for each in (name, *manifests.closure(oracle.manifest(name))):
            blob = f"blobs/{each[:2]}/{each}"
            if values.get(blob) != oracle.ever[blob]:
                raise Violation(f"{key} was shipped and lacks {blob}")
        world.archived.add(key)


def _lineage(world: SimWorld) -> str | None:
    """Whose index this is, as any replica says."""
    for disk in world.disks.values():
        for key in sorted(key for key in disk.values if log.parse(key)):
            try:
                return log.decode(disk.values[key], key).lineage
            except IndexFault:
                continue
    return None
