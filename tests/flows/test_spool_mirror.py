"""Prepared work can be taken over from a machine that is gone; a store that fails costs nothing but the copy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from penstock.flows import wiring
from penstock.flows.spools.spool import Shard, leftovers
from penstock.flows.spools.spool_mirror import Mirror
from penstock.index.errors import Unavailable
from penstock.index.stores.store import LocalStore
from tests.flows.test_spool import fill


class Held:
    def __init__(self, held: set[str], name: str) -> None:
        self._held, self._name = held, name
        held.add(name)

    def release(self, **_: object) -> None:
        self._held.discard(self._name)


class Server:
    """The locks of all machines, and the store that they share; a machine that dies lets go of its locks."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore.create(folder, token=wiring.token)
        self.held: set[str] = set()
        self.said: list[str] = []

    def take(self, name: str, *, wait: bool = True) -> Held | None:
        return None if name in self.held else Held(self.held, name)

    def machine(self) -> Mirror:
        return Mirror(self.store, "lineage", self, self.said.append)  # type: ignore[arg-type]

    def keys(self) -> list[str]:
        return list(self.store.list("spool/"))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server")


def everything(_: object) -> bool:
    return True


def half_embedded(mirror: Mirror, spool: Path) -> Shard:
    """A shard of six chunks, of which four have a vector."""
    shard = fill(spool / "shard-1")
    assert mirror.keep(shard)
    log = shard.vectors()
    for start in (0, 2):
        log.append(np.arange(start, start + 2), np.full((2, 3), start, np.float32))
    log.close()
    mirror.close()
    return shard


def test_another_machine_goes_on_where_the_vectors_end(server: Server, tmp_path: Path) -> None:
    """The files come whole, the vectors that were made are there, and new ones are kept too."""
    half_embedded(server.machine(), tmp_path / "one")
    server.held.clear()  # it died
    second = server.machine()
    (shard,) = second.abandoned(tmp_path / "two", everything)
    assert [state.uri for state in shard.states()] == ["s/0", "s/1", "s/2"]
    vectors, done = shard.vectors().load(3)
    assert done.tolist() == [True] * 4 + [False] * 2 and vectors[3].tolist() == [2, 2, 2]
    shard.vectors().append(np.array([4]), np.full((1, 3), 9, np.float32))
    second.close()
    server.held.clear()
    (third,) = server.machine().abandoned(tmp_path / "three", everything)
    assert third.vectors().load(3)[1].tolist() == [True] * 5 + [False]


def test_what_somebody_works_on_is_nobodys(server: Server, tmp_path: Path) -> None:
    """Until it is let go; nor is what another index or another source left."""
    shard = half_embedded(server.machine(), tmp_path / "one")
    assert list(server.machine().abandoned(tmp_path / "two", everything)) == []
    first = server.machine()
    assert not first.keep(shard)
    server.held.clear()
    assert list(server.machine().abandoned(tmp_path / "two", lambda marker: marker.source == "other")) == []
    other = Mirror(server.store, "another", server, server.said.append)  # type: ignore[arg-type]
    assert list(other.abandoned(tmp_path / "two", everything)) == []
    assert not list((tmp_path).glob("two/*")) and not server.held


def test_a_shard_that_is_done_leaves_nothing(server: Server, tmp_path: Path) -> None:
    """Neither here nor there, and its lock is free."""
    mirror = server.machine()
    shard = fill(tmp_path / "one" / "shard-1")
    mirror.keep(shard)
    shard.vectors().append(np.array([0]), np.zeros((1, 3), np.float32))
    shard.discard()
    mirror.close()
    assert server.keys() == [] and not server.held and list(leftovers(tmp_path / "one")) == []


def test_what_was_never_whole_or_is_damaged_is_removed(server: Server, tmp_path: Path) -> None:
    """A machine that died while it copied, and a file that is not what the marker says."""
    half_embedded(server.machine(), tmp_path / "one")
    server.held.clear()
    path = tmp_path / "server/spool/lineage/shard-1/rows.jsonl"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert list(server.machine().abandoned(tmp_path / "two", everything)) == []
    server.store.put_if_absent("spool/lineage/shard-2/states.jsonl", b"")
    assert list(server.machine().abandoned(tmp_path / "two", everything)) == []
    assert server.keys() == [] and not list((tmp_path / "two").glob("shard-*"))


def test_a_torn_record_costs_that_record(server: Server, tmp_path: Path) -> None:
    """The vectors before it count; what it held is made again."""
    half_embedded(server.machine(), tmp_path / "one")
    server.held.clear()
    server.store.put_if_absent("spool/lineage/shard-1/vectors/000002", b"torn")
    (shard,) = server.machine().abandoned(tmp_path / "two", everything)
    assert shard.vectors().load(3)[1].sum() == 4


def test_a_store_that_is_away_is_said_once_and_stops_nothing(server: Server, tmp_path: Path) -> None:
    """The shard is kept on this machine's disk as ever."""

    class Away(LocalStore):
        asked = 0

        def put_if_absent(self, key: str, data: bytes | Path) -> bool:
            Away.asked += 1
            raise Unavailable("no answer")

        def list(self, prefix: str) -> Iterator[str]:
            raise Unavailable("no answer")

    server.store = Away(tmp_path / "server", token=wiring.token)
    mirror = server.machine()
    shard = fill(tmp_path / "one" / "shard-1")
    assert mirror.keep(shard)
    for n in range(20):
        shard.vectors().append(np.array([n % 6]), np.zeros((1, 3), np.float32))
    assert list(mirror.abandoned(tmp_path / "one", everything)) == []
    mirror.close()
    assert len(server.said) == 1 and "goes on with its own disk" in server.said[0]
    assert Away.asked == 1
    assert shard.vectors().load(3)[1].all()


def test_a_shard_that_was_left_before_there_was_a_copy_gets_one(server: Server, tmp_path: Path) -> None:
    """With the vectors that it has."""
    shard = fill(tmp_path / "one" / "shard-1")
    log = shard.vectors()
    log.append(np.arange(3), np.ones((3, 3), np.float32))
    log.close()
    shard.release()
    (shard,) = leftovers(tmp_path / "one")
    mirror = server.machine()
    assert mirror.keep(shard)
    shard.vectors().append(np.array([3]), np.ones((1, 3), np.float32))
    mirror.close()
    server.held.clear()
    (there,) = server.machine().abandoned(tmp_path / "two", everything)
    assert there.vectors().load(3)[1].sum() == 4


def test_a_slow_store_does_not_let_records_pile_up(server: Server, tmp_path: Path) -> None:
    """Whoever makes them waits for it."""
    gate = threading.Event()
    put = server.store.put_if_absent

    def slow(key: str, data: bytes | Path) -> bool:
        gate.wait(60)
        return put(key, data)

    server.store.put_if_absent = slow  # type: ignore[method-assign]
    mirror, shard = server.machine(), fill(tmp_path / "one" / "shard-1")
    made: list[int] = []

    def produce() -> None:
        mirror.keep(shard)
        for n in range(30):
            shard.vectors().append(np.array([n % 6]), np.zeros((1, 3), np.float32))
            made.append(n)

    thread = threading.Thread(target=produce)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and len(made) < 12
    gate.set()
    thread.join(60)
    mirror.close()
    assert len(made) == 30
