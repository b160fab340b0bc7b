"""What a store really guarantees, found out by trying: a promise that is not kept here loses data later.

Everything is done below `probes/{token}/`, where no index keeps anything, and is deleted afterwards.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.stores.store import Store

FOLDER = "probes"
_VALUE = bytes(range(256)) * 16
_VANISHED = "a value that was put is said not to be there"


class Probe(msgspec.Struct, frozen=True):
    """One promise that was tried; `said` is a line for a person."""

    name: str
    passed: bool
    said: str


class Latency(msgspec.Struct, frozen=True):
    """How long one kind of request took, in milliseconds, over `count` requests one after another."""

    request: str
    p50_ms: float
    p99_ms: float
    count: int


class Analysis(msgspec.Struct, frozen=True):
    """What was found. A store with a failed probe must not keep a replica."""

    store: str
    probes: tuple[Probe, ...]
    latencies: tuple[Latency, ...]

    @property
    def passed(self) -> bool:
        return all(probe.passed for probe in self.probes)


class _Broken(Exception):
    """A promise was not kept; the message says which."""


def analyze(
    store: Store,
    *,
    clock: Callable[[], float],
    token: Callable[[], str],
    racers: int = 16,
    rounds: int = 5,
    samples: int = 20,
) -> Analysis:
    """Try every promise of a store, and time it. Never raises for what the store does.

    `clock` counts seconds; `racers` threads put the same key at once, `rounds` times. When the store cannot
    be reached, nothing else is tried.
    """
    trial = _Trial(store, f"{FOLDER}/{token()}", racers, rounds)
    reachable = _tried("reachable", trial.reachable)
    if not reachable.passed:
        return Analysis(store.name, (reachable,), ())
    probes = [reachable]
    probes += [_tried(name.replace("_", " "), getattr(trial, name)) for name in _PROMISES]
    latencies: tuple[Latency, ...] = ()
    with contextlib.suppress(IndexFault, OSError):  # a store that fails now has failed a probe, or will the next
        latencies = _latencies(trial, clock, samples)
    probes.append(_tried("clean up", trial.clean_up))
    return Analysis(store.name, tuple(probes), latencies)


def refuse_liar(store: Store, *, token: Callable[[], str] = secrets.token_hex) -> None:
    """Raise `WrongIndex`, naming the failed probe, if the store breaks a promise that is cheap to try.

    About ten requests: put a key twice with different bytes, read it back; delete one, look, put it again.
    Raises `Unavailable` when the store does not answer: that is no lie.
    """
    trial = _Trial(store, f"{FOLDER}/{token()}", 0, 0)
    try:
        for name in ("put_if_absent", "delete"):
            try:
                getattr(trial, name)()
            except (_Broken, FileNotFoundError) as lie:
                what = str(lie) if isinstance(lie, _Broken) else _VANISHED
                raise WrongIndex(
                    f"{store.name}: cannot keep a replica: the probe '{name.replace('_', ' ')}' failed: {what}; "
                    "see penstock analyze-store, and configure another place"
                ) from None
    finally:
        with contextlib.suppress(IndexFault, OSError):
            trial.forget()


class _Trial:
    """The probes. Each returns a line of praise, or raises `_Broken` or what the store raises."""

    def __init__(self, store: Store, folder: str, racers: int, rounds: int) -> None:
        self.store, self.folder = store, folder
        self._racers, self._rounds = racers, rounds
        self._put: list[str] = []

    def key(self, name: str) -> str:
        """A key of this trial, noted so that it is deleted."""
        self._put.append(f"{self.folder}/{name}")
        return self._put[-1]

    def reachable(self) -> str:
        self.store.probe()
        return "it can be reached and written to"

    def put_if_absent(self) -> str:
        key = self.key("twice")
        _require(self.store.put_if_absent(key, b"first"), "putting a new key is said to have changed nothing")
        again = self.store.put_if_absent(key, b"second")
        found = self.store.get(key)
        _require(found == b"first", "a second put replaces the value: conditions (If-None-Match) are ignored")
        _require(not again, "a second put of a key is said to have succeeded")
        return "a second put is refused and changes nothing"

    def racing_puts(self) -> str:
        for number in range(self._rounds):
            key = self.key(f"race-{number}")
            won = self._race(key)
            _require(len(won) == 1, f"{len(won)} of {self._racers} racing puts are said to have won")
            _require(self.store.get(key) == b"%d" % won[0], "the value after a race is not the winner's")
        return f"one of {self._racers} racing puts wins, {self._rounds} times of {self._rounds}, and its value stays"

    def read_after_write(self) -> str:
        for number in range(self._rounds):
            key = self.key(f"read-{number}")
            self.store.put_if_absent(key, _VALUE)
            _require(self.store.get(key) == _VALUE, "a value just put reads as another")
            _require(self.store.size(key) == len(_VALUE), "a value just put has another size")
        return "a value can be read as soon as it is put"

    def list_after_write(self) -> str:
        wanted = []
        for number in range(self._rounds):
            wanted.append(self.key(f"list/{number}"))
            self.store.put_if_absent(wanted[-1], b"")
            found = list(self.store.list(f"{self.folder}/list/"))
            _require(
                found == wanted, f"{len(wanted)} keys were put and the listing has {len(found)}, or in another order"
            )
        return "a key is listed as soon as it is put, in order"

    def ranges(self) -> str:
        key = self.key("range")
        self.store.put_if_absent(key, _VALUE)
        for start, end in ((0, 1), (100, 356), (len(_VALUE) - 5, len(_VALUE) + 5), (len(_VALUE) + 1, len(_VALUE) + 2)):
            _require(self.store.get_range(key, start, end) == _VALUE[start:end], f"bytes {start} to {end} are others")
        return "parts of a value read as they were put"

    def delete(self) -> str:
        key = self.key("deleted")
        self.store.put_if_absent(key, b"old")
        self.store.delete(key)
        _require(self.store.size(key) is None, "a deleted key is still there")
        _require(self.store.put_if_absent(key, b"new"), "a deleted key cannot be put again")
        _require(self.store.get(key) == b"new", "a deleted key's old value came back")
        return "a deleted key is gone and may be put again"

    def clean_up(self) -> str:
        self.forget()
        left = len(list(self.store.list(f"{self.folder}/")))
        _require(left == 0, f"{left} keys below {self.folder}/ could not be deleted")
        return "nothing of this is left"

    def forget(self) -> None:
        for key in self._put:
            self.store.delete(key)

    def _race(self, key: str) -> list[int]:
        """Put the key from many threads at once; return the numbers of those that are said to have won."""
        start = threading.Barrier(self._racers)

        def put(number: int) -> bool:
            start.wait()
            return self.store.put_if_absent(key, b"%d" % number)

        with ThreadPoolExecutor(self._racers) as pool:
            return [number for number, won in enumerate(pool.map(put, range(self._racers))) if won]


_PROMISES = ("put_if_absent", "racing_puts", "read_after_write", "list_after_write", "ranges", "delete")


def _tried(name: str, probe: Callable[[], str]) -> Probe:
    try:
        return Probe(name, True, probe())
    except _Broken as lie:
        return Probe(name, False, str(lie))
    except FileNotFoundError:
        return Probe(name, False, _VANISHED)
    except (IndexFault, OSError) as fault:
        return Probe(name, False, str(fault))


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise _Broken(otherwise)


def _latencies(trial: _Trial, clock: Callable[[], float], samples: int) -> tuple[Latency, ...]:
    store = trial.store
    keys = [trial.key(f"time/{number:04d}") for number in range(samples)]
    requests: dict[str, Callable[[str], object]] = {
        "put": lambda key: store.put_if_absent(key, _VALUE),
        "get": store.get,
        "list": lambda _: list(store.list(f"{trial.folder}/time/")),
    }
    return tuple(_timed(name, request, keys, clock) for name, request in requests.items())


def _timed(name: str, request: Callable[[str], object], keys: list[str], clock: Callable[[], float]) -> Latency:
    taken = sorted(_seconds(request, keys, clock))
    at = [taken[min(len(taken) - 1, int(len(taken) * part))] * 1000 for part in (0.5, 0.99)]
    return Latency(name, at[0], at[1], len(taken))


def _seconds(request: Callable[[str], object], keys: list[str], clock: Callable[[], float]) -> Iterator[float]:
    for key in keys:
        began = clock()
        request(key)
        yield clock() - began
