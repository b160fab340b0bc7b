"""Guards that only matter when several things go wrong at once: each is missed by a test of its own here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.index import markers
from penstock.index.commit import Writer
from penstock.index.crew import Threads
from penstock.index.errors import IndexFault
from penstock.index.store import Store
from tests.index.world import World, delta, served


@pytest.mark.parametrize(
    ("seen", "ends"),
    [((2, "a"), False), ((1, "z"), False), ((2, "b"), True), ((3, "a"), True), ((3, "b"), True)],
)
def test_an_epoch_ends_for_a_later_one_and_for_another_of_its_number(seen: tuple[int, str], ends: bool) -> None:
    """Two catalogs that were made again at once have the same number, and only one of them may write."""
    assert markers.supersedes(markers.Epoch(1, "lineage", *seen), 2, "a") is ends


class Held:
    """A store whose markers of a new epoch wait until the test lets them through."""

    def __init__(self, store: Store, gate: Callable[[], None]) -> None:
        self._store, self._gate, self.name = store, gate, store.name

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if key.startswith(markers.EPOCHS):
            self._gate()
        return self._store.put_if_absent(key, data)


def test_what_an_old_writer_publishes_while_a_new_epoch_begins_is_adopted_or_not_acknowledged(tmp_path: Path) -> None:
    """The old writer publishes at the last moment before the new epoch is noted anywhere."""
    world = World(tmp_path)
    with world.create() as first:
        first.commit(delta(0, {"s/a": "one"}))
    decided, go_on, over = threading.Event(), threading.Event(), threading.Event()
    acknowledged: list[int] = []

    def reach(point: str) -> None:
        if point == "ratified":
            decided.set()
            go_on.wait(20)

    def write() -> None:
        with world.open(reach) as writer:
            try:
                acknowledged.append(writer.commit(delta(1, {"s/b": "two"})).version)
            except IndexFault:
                pass
            finally:
                over.set()

    old = threading.Thread(target=write)
    old.start()
    assert decided.wait(20)
    (tmp_path / "catalog.db").unlink()
    both = threading.Barrier(2, action=lambda: (go_on.set(), over.wait(20)))

    def gate() -> None:
        if not over.is_set():
            both.wait(20)

    plain = world.stores()
    options = {**world._arguments(), "crew": Threads(time.monotonic)}
    held = {name: Held(store, gate) for name, store in plain.items()}
    with Writer.open(world.catalog, held, **options) as writer:  # type: ignore[arg-type]
        writer.commit(delta(writer.head().version, {"s/c": "three"}))
        found = served(writer.head(), plain)
    old.join()
    assert found.get("s/b") == (["two"] if acknowledged else None)
    assert found["s/c"] == ["three"]
