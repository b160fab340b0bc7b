"""Readers in a simulation: what they do on threads is done in place, and time is that of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from unittest.mock import patch

from penstock.index.blobs.deadline import Late
from penstock.index.reading.reader import Reader

if TYPE_CHECKING:
    from tests.sim.scheduler import Process
    from tests.sim.world import SimWorld

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


def open_reader(world: SimWorld, process: Process) -> Reader:
    """A reader of all replicas."""
    stores = world.stores(process).values()
    return Reader.open(*stores, report=lambda line: world.heard(process, line), clock=lambda: world.sim.now)


@contextmanager
def without_threads(clock: Callable[[], float]) -> Iterator[None]:
    """Deadlines are kept by the schedule's clock: an answer that comes too late is dropped."""

    def call(work: Callable[[], _T], seconds: float) -> _T:
        began = clock()
        answer = work()
        if clock() - began > seconds:
            raise Late(f"no answer within {seconds:g} s")
        return answer

    def gather(
        work: Mapping[_K, Callable[[], _T]], enough: Callable[[_T], bool], *, grace: float, limit: float, **_: object
    ) -> dict[_K, _T | Exception]:
        found: dict[_K, _T | Exception] = {}
        for key, each in work.items():
            try:
                found[key] = call(each, limit)
            except Exception as fault:
                if not isinstance(fault, Late):
                    found[key] = fault
        return found

    with patch("penstock.index.blobs.watched.call", call), patch("penstock.index.reading.places.gather", gather):
        yield
