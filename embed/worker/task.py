"""One sheet, computed to its end through any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

import numpy as np

from penstock.embed.types import Encoded, EncoderUnavailable, Refused
from penstock.embed.worker.isolation import Health, Isolation, Positions
from penstock.embed.worker.life import Died, Life
from penstock.embed.worker.loading import Loader
from penstock.embed.worker.sheet import Sheet
from penstock.embed.worker.types import Patience
from penstock.embed.worker.vigil import Vigil, span
from penstock.embed.worker.wire import Came, Compute, Failed, Finished, FromProcess, Lost, Stop, Work, raised


class Pace:
    """How long a batch may take, from how long batches took."""

    def __init__(self, patience: Patience, note: Callable[[str], None]) -> None:
        self._patience, self._note = patience, note
        self._slowest: float | None = None

    def next(self, life: Life) -> FromProcess:
        """What the process says next; raises `Died`. One that is ahead of us takes no time at all."""
        limit = self._seconds()

        def say(waited: float) -> None:
            self._note(
                f"no word from the embedding process for {span(waited)} (process {life.pid}); "
                f"it is given {span(limit - waited)} more"
            )

        told = life.next(limit, Vigil(self._patience.word_batch + (self._slowest or 0.0), say))
        if isinstance(told, Came):
            self._slowest = max(self._slowest or 0.0, life.waited)
        return told

    def _seconds(self) -> float:
        if self._slowest is None:
            return self._patience.first
        return max(self._patience.batch, self._patience.factor * self._slowest)


class Task:
    """Embeds what is on a sheet, once."""

    def __init__(
        self, job: int, sheet: Sheet, loader: Loader, health: Health, pace: Pace, note: Callable[[str], None]
    ) -> None:
        self._job, self._sheet, self._loader = job, sheet, loader
        self._health, self._pace, self._note = health, pace, note
        self._isolation = Isolation(sheet.rows, health)
        self._causes: dict[int, str] = {}
        """Of what the process died over a text that was alone."""

    def batches(self) -> Generator[Encoded, None, None]:
        """Each position once. Raises `EncoderUnavailable`, ValueError as the engine does."""
        life: Life | None = None
        try:
            while (group := self._isolation.next()) is not None:
                try:
                    life = self._given(group)
                    yield from self._computed(life)
                except Died as death:
                    life = None
                    self._mourn(str(death))
                if condemned := self._isolation.condemned():
                    yield self._refusal(condemned)
        finally:
            if life is not None:
                self._cleared(life)

    def _given(self, group: Positions) -> Life:
        """The process, with the sheet before it and this group to compute."""
        life = self._loader.life()
        if life.job != self._job:
            self._sheet.begun[:] = 0
            life.send(Work(self._job, self._sheet.rows, self._sheet.tokens, self._sheet.dim), self._sheet.fd)
            life.job = self._job
        self._sheet.group[: len(group)] = group
        life.send(Compute(self._job, len(group)))
        return life

    def _computed(self, life: Life) -> Iterator[Encoded]:
        """What comes of a group. Raises `Died`."""
        while True:
            match self._pace.next(life):
                case Came() as came if came.job == self._job:
                    yield self._taken(came)
                case Finished(job) if job == self._job:
                    if len(missing := self._isolation.finished()):
                        raise RuntimeError(f"the engine left {len(missing)} of its texts without a vector")
                    return
                case Failed(job) as failure if job == self._job:
                    raise raised(failure)
                case Lost(job, detail) if job == self._job:
                    raise life.given_up(f"could not go on ({detail})")
                case _:
                    pass  # late words about earlier work

    def _taken(self, came: Came) -> Encoded:
        positions = self._sheet.order[came.start : came.start + came.count].copy()
        vectors = self._sheet.vectors[positions]
        self._isolation.came(positions)
        for refused in came.refused:
            self._isolation.refused(refused.position)
        return Encoded(positions, vectors, came.tokens, came.padded, came.refused, came.billed)

    def _mourn(self, why: str) -> None:
        """What a death means for the texts; the next process is not started yet. Raises `EncoderUnavailable`."""
        self._loader.lost()
        ready = self._loader.first
        announced = np.flatnonzero(self._sheet.begun) if ready is not None and ready.announces else None
        for position in self._isolation.died(announced):
            self._causes[position] = why
        if self._health.sick:
            raise EncoderUnavailable(
                f"the embedding process {why}; that was {self._health.barren} times in a row without a vector between "
                "them, so it is not started again. Look at the device and at the memory, then run again: what was "
                "embedded is kept"
            )
        if left := self._isolation.left:
            rows = self._sheet.rows
            self._note(f"the embedding process {why}; another goes on, with {left:,} of {rows:,} texts left to do")

    def _refusal(self, condemned: list[int]) -> Encoded:
        refused = []
        for position in condemned:
            tokens = int(self._sheet.starts[position + 1] - self._sheet.starts[position])
            detail = f"alone, its {tokens:,} tokens ended the embedding process twice: it {self._causes[position]}"
            self._note(f"a text is given up: {detail}")
            refused.append(Refused(position, "crash", detail))
        empty = np.empty((0, self._sheet.dim), dtype=np.float32)
        return Encoded(np.empty(0, dtype=np.int64), empty, tokens=0, padded=0, refused=tuple(refused))

    def _cleared(self, life: Life) -> None:
        """Whatever the process still does for us, it stops at the next batch, and lets go of the sheet."""
        if life.job == self._job:
            life.job = 0
            with suppress(Died):
                life.send(Stop(self._job))
