"""What processes do. An actor is a function of (world, process) that is registered with `@actor(weight)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from penstock.index.care.collect import Retention, collect
from penstock.index.care.compact import Policy, compact
from penstock.index.care.repair import Repaired, repair
from penstock.index.care.verify import verify
from penstock.index.commits import membership
from penstock.index.commits.commit import Delta, Writer
from penstock.index.errors import Conflict, Fenced, IndexFault, Unavailable, Unknown, WrongIndex
from tests.index.world import delta
from tests.sim.oracle import KEEP, Intent
from tests.sim.reading import open_reader
from tests.sim.scheduler import Op, Process, Violation

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

Actor = Callable[["SimWorld", Process], None]
ACTORS: dict[str, tuple[float, Actor]] = {}
WORDS = ["ash", "bay", "cedar", "elm", "fir", "gum", "hazel", "ivy"]


def actor(weight: float) -> Callable[[Actor], Actor]:
    """Register an actor; one of `weight` 2 begins twice as often as one of 1."""

    def register(line: Actor) -> Actor:
        ACTORS[line.__name__] = (weight, line)
        return line

    return register


@actor(5)
def writer(world: SimWorld, process: Process) -> None:
    """Opens, commits a few deltas, closes or not; what failed is often tried again, unchanged."""
    with_index = open_writer(world, process)
    if with_index is None:
        return
    older: list[tuple[int, str]] = []
    for _ in range(process.rng.randint(1, 8)):
        try:
            head = with_index.head()
            older.append((head.version, world.oracle.name_of(head)))
            base = older[-1] if process.rng.random() < 0.8 else process.rng.choice(older)
            commit(world, process, with_index, random_delta(process, base[0]), base[1])
        except (Fenced, Unavailable) as fault:
            world.say(process, fault)
            if process.rng.random() < 0.5:
                break
        except IndexFault as fault:
            world.say(process, fault)
        world.sim.sleep(process.rng.expovariate(0.2), "thinking")
    if process.rng.random() < 0.8:
        with_index.close()


def open_writer(world: SimWorld, process: Process, **options: object) -> Writer | None:
    """A writer, unless the index cannot be opened in a few tries."""
    process.note = KEEP
    for _ in range(3):
        try:
            make = Writer.create if process.rng.random() < world.creating() else Writer.open
            return make(world.catalog_of(process), world.stores(process), **world.options(process), **options)
        except WrongIndex as fault:
            world.say(process, fault)
            world.try_another(process)
        except IndexFault as fault:
            world.say(process, fault)
            world.sim.sleep(5.0, "before trying again")
    return None


def commit(world: SimWorld, process: Process, writer: Writer, change: Delta, base: str) -> int:
    """Commit it, tell the oracle if that was acknowledged; a fault is often answered by the same delta again."""
    while True:
        intent = Intent(change, base)
        process.note = intent
        try:
            done = writer.commit(change)
        except (Unavailable, Unknown, Conflict) as fault:
            world.say(process, fault)
            if process.rng.random() < 0.5:
                raise
            world.sim.sleep(1.0, "before trying again")
            continue
        finally:
            process.note = KEEP
        world.sim.say(f"{process.name:12} ACK {done.version}")
        world.oracle.acknowledged(done.version, intent)
        return done.version


def random_delta(process: Process, base: int, most: int = 4) -> Delta:
    """Some documents of the eight that there are, some of this process's own; indexed, failed, rejected or gone."""
    rng = process.rng
    uris = [f"s/{n}" for n in range(8)] + [f"s/{process.name}.{n}" for n in range(2)]
    status = rng.choices(("indexed", "failed", "rejected"), (8, 1, 1))[0]
    docs: dict[str, str | None] = {}
    for uri in rng.sample(uris, rng.randint(1, most)):
        words = rng.choices(WORDS, k=rng.randint(1, 3))
        docs[uri] = None if rng.random() < 0.2 else " ".join([*words, f"{rng.randrange(10_000)}"])
    return delta(base, docs, status=status)


@actor(2)
def reader(world: SimWorld, process: Process) -> None:
    """Opens, searches and goes on to newer versions, never back."""
    try:
        reading = open_reader(world, process)
    except IndexFault as fault:
        world.say(process, fault)
        return
    seen = 0
    draw = np.random.default_rng(process.rng.randrange(1 << 32))
    for _ in range(process.rng.randint(1, 6)):
        if reading.version < seen:
            raise Violation(f"a reader went back from version {seen} to {reading.version}")
        seen = reading.version
        try:
            world.oracle.check_reader(reading, draw)
        except IndexFault as fault:
            world.say(process, fault)
        world.sim.sleep(process.rng.expovariate(0.2), "reading")
        reading.refresh()
    reading.close()


@actor(1)
def opener(world: SimWorld, process: Process) -> None:
    """Opens for writing, which recovers, and does nothing else."""
    opened = open_writer(world, process)
    if opened is not None and process.rng.random() < 0.7:
        opened.close()


@actor(0.5)
def verifier(world: SimWorld, process: Process) -> None:
    """Looks at everything; damage, absence and commits in flight are findings, never errors."""
    found = verify(list(world.stores(process).values()), world.catalog_of(process), report_progress=lambda *_: None)
    world.sim.say(f"{process.name:12} {len(found)} findings")
    world.sim.point(Op("verified", "-"))


@actor(0.5)
def repairer(world: SimWorld, process: Process) -> None:
    """Makes replicas whole, whoever writes meanwhile."""
    process.note = Intent(mends=True)
    try:
        mended(world, process)
    except IndexFault as fault:
        world.say(process, fault)


def mended(world: SimWorld, process: Process) -> Repaired:
    return repair(
        world.catalog_of(process),
        world.stores(process),
        report_progress=lambda *_: None,
        **world.options(process),
    )


@actor(0.7)
def compactor(world: SimWorld, process: Process) -> None:
    """Merges segments, sooner than anybody would."""
    opened = open_writer(world, process)
    if opened is None:
        return
    process.note = intent = Intent()
    try:
        policy = Policy(fan_in=process.rng.randint(2, 4), dead_share=process.rng.choice((0.01, 0.2)))
        made = compact(opened, policy, full=process.rng.random() < 0.3)
        world.oracle.acknowledged(made.version, intent)
    except IndexFault as fault:
        world.say(process, fault)
    opened.close()


@actor(0.7)
def collector(world: SimWorld, process: Process) -> None:
    """Lets versions expire, sooner than anybody should, and deletes what nobody needs."""
    opened = open_writer(world, process)
    if opened is None:
        return
    keep = Retention(versions=process.rng.randint(1, 5), seconds=process.rng.choice((0.0, 5.0, 60.0)))
    try:
        collect(opened, keep, now=world.sim.now)
    except IndexFault as fault:
        world.say(process, fault)
    opened.close()


@actor(0.5)
def operator(world: SimWorld, process: Process) -> None:
    """Adds, removes or replaces a replica, as an operator does who knows both configurations."""
    site, rng = world.site_of(process), process.rng
    name = rng.choice(sorted(site.disks))
    leaving = frozenset({name}) if rng.random() < 0.5 else frozenset[str]()
    opened = open_writer(world, process, leaving=leaving)
    if opened is None:
        return
    site = world.site_of(process)
    process.note = intent = Intent()
    change = rng.choice(("add", "remove", "replace", "replace"))
    try:
        match change:
            case "add" if len(site.disks) < 5:
                name = f"n{len(world.disks)}"
                disk = world.new_disk(name).name
                new = world.write_down({**site.disks, name: disk}, None)
                version = membership.add(opened, name, world.store(process, disk))
            case "remove" if len(site.disks) > 2 and name in site.disks:
                new = world.write_down({n: d for n, d in site.disks.items() if n != name}, None)
                version = membership.remove(opened, name)
            case "replace" if name in site.disks:
                disk = world.new_disk(name).name
                new = world.write_down({**site.disks, name: disk}, site.write_quorum)
                version = membership.replace(opened, name, world.store(process, disk))
            case _:
                return
        world.put_in_use(new)
        world.oracle.acknowledged(version, intent)
    except IndexFault as fault:
        world.say(process, fault)
    opened.close()
