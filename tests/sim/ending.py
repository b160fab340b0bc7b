"""How a schedule ends: everything comes back, is repaired and must be whole; then the zombies wake up, and again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from penstock.index.care.repair import Repaired
from penstock.index.care.verify import verify
from penstock.index.commits import membership
from penstock.index.errors import WrongIndex
from tests.sim import actors
from tests.sim.oracle import KEEP
from tests.sim.reading import open_reader
from tests.sim.scheduler import Process, Violation

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

PATIENCE = 10_000
"""Steps after which whoever has not come to an end is ended."""


def mend_and_look(world: SimWorld) -> None:
    """Everything comes back but those who are paused; the index must be whole. Then they wake up."""
    world.weather.clear()
    if world.rng.random() < 0.5:
        _end(world)
    _until_idle(world, PATIENCE)
    _look(world, "when all was mended")
    for process in world.sim.processes:
        process.paused = False
    _until_idle(world, PATIENCE)
    _look(world, "when the last had woken up")


def _end(world: SimWorld) -> None:
    for process in world.sim.alive():
        if not process.paused:
            world.sim.crash(process)


def _until_idle(world: SimWorld, most: int) -> None:
    """Let everybody come to an end; who does not is ended."""
    for _ in range(most):
        if world.sim.failures or not world.sim.step():
            return
    _end(world)


def _look(world: SimWorld, when: str) -> None:
    failures = world.sim.failures
    if world.profile == "beyond" or failures:
        return
    done: list[str] = []
    process = Process(f"final{len(world.sim.processes)}", "final", random.Random(f"final {world.seed}"))
    world.sim.spawn(process, lambda: _final(world, process, done))
    _until_idle(world, 5 * PATIENCE)
    if not done and not failures:
        failures.append("the last process did not come to an end")
    failures[:] = [f"{when}: {failure}" for failure in failures]


def _final(world: SimWorld, process: Process, done: list[str]) -> None:
    """Repair, open, commit, read, verify: all of it must work, and nothing may be lost."""
    process.note = KEEP
    fixed = _repaired(world, process)
    forked = [name for name, why in fixed.refused.items() if "of the other replicas" in why or "given up" in why]
    for name in forked:
        _replace(world, process, name)
    lost = fixed.unsaved or fixed.lost or fixed.documents or fixed.given_up
    if fixed.refused.keys() - set(forked) or fixed.away or lost:
        raise Violation(f"repair could not save everything: {fixed}")
    writer = actors.open_writer(world, process)
    if writer is None:
        raise Violation("the index cannot be opened although nothing is wrong any more")
    head = writer.head()
    world.oracle.check_kept(world.oracle.name_of(head))
    change = actors.random_delta(process, head.version)
    version = actors.commit(world, process, writer, change, world.oracle.name_of(head))
    world.oracle.check_kept(world.oracle.name_of(writer.head()))
    writer.close()
    reader = open_reader(world, process)
    if reader.version < version:
        raise Violation(f"a new reader serves version {reader.version}, {version} is acknowledged")
    world.oracle.check_reader(reader, np.random.default_rng(world.seed))
    reader.close()
    found = verify(world.stores(process), world.catalog_of(process), report_progress=lambda *_: None)
    if found:
        raise Violation("verify finds: " + "; ".join(f"{f.where}: {f.what}" for f in found[:5]))
    done.append("whole")


def _repaired(world: SimWorld, process: Process) -> Repaired:
    """Repair, under whichever of the last configurations is the index's own."""
    for site in reversed(world.sites[-4:]):
        process.site = site
        try:
            fixed = actors.mended(world, process)
        except WrongIndex as fault:
            world.say(process, fault)
            continue
        if not fixed.refused or site == world.sites[0]:
            return fixed
    raise Violation("the index refuses every configuration that it ever had")


def _replace(world: SimWorld, process: Process, name: str) -> None:
    """What verify and repair say of a replica that went its own way: another place takes its part."""
    writer = actors.open_writer(world, process, leaving=frozenset({name}))
    if writer is None:
        raise Violation(f"the index cannot be opened without replica {name}, which went its own way")
    site = world.site_of(process)
    disk = world.new_disk(name).name
    new = world.write_down({**site.disks, name: disk}, site.write_quorum)
    membership.replace(writer, name, world.store(process, disk))
    world.put_in_use(new)
    process.site = new
    writer.close()
    actors.mended(world, process)
