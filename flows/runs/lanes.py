"""Shards on their way through the stages: which stage of which shard starts when.

    prepare ──spool──▶ embed, on each device ──spool──▶ commit

One shard is prepared at a time and one is committed at a time. For each device one shard is on it and at most one more
is prepared, or waits for it, so memory and spool stay bounded however large the source. Commits follow completion: a
shard that was begun later may land first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from penstock.flows.runs.committing import Landed
from penstock.flows.runs.embedding import Embedded
from penstock.flows.spools.spool import Shard


class Handle(Protocol):
    """The outcome of a stage, later."""

    def result(self) -> Any: ...

    def add_done_callback(self, told: Callable[[Any], None], /) -> object:
        """`told` is called, from any thread, once there is a result; at once if there is one."""
        ...


class Submit(Protocol):
    """Starts a stage somewhere. `name` is `prepare`, `embed` or `commit`; `number` counts shards from 1."""

    def __call__(self, name: str, number: int, stage: Callable[[], Any]) -> Handle: ...


@dataclass(frozen=True, slots=True)
class Passing:
    """A shard on its way. `wanted`: only these documents of it."""

    shard: Shard
    wanted: frozenset[str] | None = None


class Stages(Protocol):
    """What the stages do, each wherever it was submitted to, and who is told what came of it, in the run's thread."""

    def prepare(self) -> Shard | None:
        """The next shard; None when there is none any more."""
        ...

    def embed(self, passing: Passing) -> Embedded: ...

    def commit(self, passing: Passing, embedded: Embedded) -> Landed: ...

    def prepared(self, passing: Passing) -> None: ...

    def embedded(self, embedded: Embedded) -> None:
        """One that is not complete ends the run: nothing more is begun."""
        ...

    def committed(self, landed: Landed) -> None: ...


class Lanes:
    """Brings shards through the stages. `left_over` go first. `run` may be called once."""

    def __init__(
        self,
        stages: Stages,
        submit: Submit,
        *,
        devices: int,
        left_over: Iterable[Passing],
        stopped: Callable[[], bool],
    ) -> None:
        self._stages, self._submit, self._stopped = stages, submit, stopped
        self._most = 2 * devices
        self._left_over = deque(left_over)
        self._ready: deque[Passing] = deque()
        self._done: deque[tuple[int, Passing, Embedded]] = deque()
        self._embedding: dict[int, Passing] = {}
        self._committing: Handle | None = None
        self._under_way: dict[tuple[str, int], Handle] = {}
        self._ended: SimpleQueue[tuple[str, int]] = SimpleQueue()
        self._prepared = self._begun = 0
        self._preparing, self._last, self._ending = False, False, False

    def run(self) -> None:
        """Return when every shard landed, or a stop was requested and what was complete has landed.

        Raises what a stage raised; the commit in hand is finished and told all the same.
        """
        try:
            self._start()
            while self._under_way:
                name, number = self._ended.get()
                handle = self._under_way.pop((name, number))
                if name == "commit":
                    self._committing = None
                self._take(name, number, handle.result())
                self._start()
        finally:
            if self._committing is not None:
                committing, self._committing = self._committing, None
                self._stages.committed(committing.result())

    def _take(self, name: str, number: int, result: Any) -> None:
        match name:
            case "prepare":
                self._preparing = False
                self._last = result is None
                if result is not None:
                    self._ready.append(Passing(result))
            case "embed":
                passing = self._embedding.pop(number)
                self._stages.embedded(result)
                if result.complete:
                    self._done.append((number, passing, result))
                else:
                    self._ending = True
            case "commit":
                self._stages.committed(result)

    def _start(self) -> None:
        """Start whatever may start now."""
        if self._committing is None and self._done:
            number, passing, embedded = self._done.popleft()
            self._committing = self._begin("commit", number, partial(self._stages.commit, passing, embedded))
        if self._ending or self._stopped():
            return
        while (waiting := self._left_over or self._ready) and self._room(0):
            self._embed(waiting.popleft())
        if not self._preparing and not self._last and self._room(len(self._ready)):
            self._preparing = True
            self._prepared += 1
            self._begin("prepare", self._prepared, self._stages.prepare)

    def _room(self, ready: int) -> bool:
        """Whether another shard may be begun: fewer are on devices, wait for them or for their commit."""
        return len(self._embedding) + ready < self._most and len(self._done) <= self._most

    def _embed(self, passing: Passing) -> None:
        self._begun += 1
        self._stages.prepared(passing)
        self._embedding[self._begun] = passing
        self._begin("embed", self._begun, partial(self._stages.embed, passing))

    def _begin(self, name: str, number: int, stage: Callable[[], Any]) -> Handle:
        handle = self._under_way[name, number] = self._submit(name, number, stage)
        handle.add_done_callback(lambda _: self._ended.put((name, number)))
        return handle
