"""How far behind a replica is, in bytes, from the logs alone."""

from __future__ import annotations

from pathlib import Path

from penstock.index.commits import backlog
from tests.fakes.stores import Away
from tests.index.world import World, delta


def test_a_replica_that_missed_commits_lacks_their_bytes(tmp_path: Path) -> None:
    """What came after its newest version, each blob once; nothing for those that have it all."""
    world, away = World(tmp_path, replicas=3), False
    world.create().close()

    world.wrap = lambda n, s: Away(s, lambda: away) if n == "2" else s
    with world.open() as writer:
        writer.commit(delta(0, {"s/a": "one"}))
        away = True
        writer.commit(delta(1, {"s/b": "two three"}))
        unreachable = backlog.measure(world.stores(), writer.site.catalog.progress(), print)
        away = False
        found = backlog.measure(world.stores(), {}, print)
    assert found["0"] == found["1"] == backlog.Backlog(2, 0)
    has = set(world.stores()["2"].list("blobs/"))
    lacks = [key for key in world.stores()["0"].list("blobs/") if key not in has]
    size = sum(world.stores()["0"].size(key) or 0 for key in lacks)
    assert found["2"] == backlog.Backlog(1, size) and size > 0
    assert (unreachable["2"].version, unreachable["2"].bytes, unreachable["2"].reachable) == (1, size, False)
    assert "no answer" in unreachable["2"].reason


def test_without_versions_nothing_lacks(tmp_path: Path) -> None:
    """An empty index has no backlog."""
    world = World(tmp_path)
    world.create().close()
    assert backlog.measure(world.stores(), {}, print) == {n: backlog.Backlog(0, 0) for n in "01"}
