"""One device's slot, as one run has it: taken by priority, looked up from once a second, given way with.

A holder is asked for its device in two ways. Somebody better may wait in the line of the slot: then it lets go, rests,
and queues up again. Or a more urgent run may ask for vectors (`Aside`): then it makes them with the model that it has
loaded, and keeps the slot. Whoever asks again and again does not stop it: between two such favours lies at least a
second of its own work, and at least as long as it took to have the model back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Protocol

from penstock.flows.runs import slots
from penstock.flows.runs.events import GaveWay, Listener, nobody
from penstock.flows.runs.loading import Device

LOOK_SECONDS = 1.0
"""How often a holder looks."""
OWN_SECONDS = 1.0
"""What it does for itself between two favours, at least."""


class Aside(Protocol):
    """Work of others that a holder does between its own batches. Called from the thread that holds the device."""

    def waits(self) -> bool:
        """Whether there is any; asked once a second, so it must cost next to nothing."""
        ...

    def serve(self, device: Device) -> None:
        """Do it. The slot is the caller's, and no batch of its own is open. `EncoderUnavailable` loses the device."""
        ...


class NoAside:
    """Nobody asks for anything."""

    def waits(self) -> bool:
        return False

    def serve(self, device: Device) -> None:
        pass


class Wish(Enum):
    """What a look found."""

    NOTHING = 0
    STOP = 1
    ASIDE = 2
    THE_DEVICE = 3


class Turn:
    """The turns of one run on one device. For one thread at a time."""

    def __init__(
        self,
        device: Device,
        *,
        where: Path,
        priority: int,
        aside: Aside,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        tell: Listener = nobody,
    ) -> None:
        self.device = device
        self._where, self._priority, self._aside = where, priority, aside
        self._clock, self._sleep, self._stopped = clock, sleep, stopped
        self._note, self._tell = note, tell
        self._looked = float("-inf")
        self._owed = 0.0
        """Seconds of own work before the next favour."""
        self._gave = self._returning = self._told = False
        self.waited = False
        """Whether somebody else had the device before we took it last."""

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Wait for the slot and hold it. Yields False if a stop was requested first."""
        self.waited, started = self._gave, self._clock()
        name = self.device.name
        if self.device.shared:
            yield not self._stopped()
            return
        with slots.hold(
            name,
            where=self._where,
            sleep=self._sleep,
            stopped=self._stopped,
            waiting=self._waits,
            priority=self._priority,
        ) as held:
            if self._gave:
                self._tell(GaveWay(name, self._clock() - started, lent=False))
                self._gave = False
            yield held

    def look(self, begun: bool = True) -> Wish:
        """What somebody wants of us now: a stop at any time, favours once a second, and when it is time for them.

        One who has just come to the device, and has not `begun`, does not let go of it at once.
        """
        if self._stopped():
            return Wish.STOP
        now = self._clock()
        if self._owed > 0 or now - self._looked < LOOK_SECONDS:
            return Wish.NOTHING
        self._looked = now
        if self._aside.waits():
            return Wish.ASIDE
        return Wish.THE_DEVICE if begun and self._better() else Wish.NOTHING

    def worked(self, seconds: float) -> None:
        """So long our own batch took."""
        if self._returning:  # the model was loaded for it
            self._returning, self._owed = False, max(self._owed, seconds)
        else:
            self._owed = max(0.0, self._owed - seconds)

    def serve(self) -> None:
        """Do what others ask for. The slot stays ours."""
        started = self._clock()
        try:
            self._aside.serve(self.device)
        finally:
            self._owed = max(self._owed, OWN_SECONDS)
        self._tell(GaveWay(self.device.name, self._clock() - started, lent=True))

    def give(self) -> None:
        """Prepare to let go of the slot for somebody better: on an accelerator its memory goes first."""
        if not self._told:
            self._told = True
            self._note(f"{self.device.name} is given to more urgent runs while they wait; this one goes on after each")
        self._gave, self._owed = True, max(self._owed, OWN_SECONDS)
        self._returning = self.device.rest()

    def ends(self) -> None:
        """Before the slot is let go of because nothing of ours is left to do: as above, for those who wait by then."""
        if self.look() is Wish.ASIDE:
            self.serve()
        if self._better():
            self.give()

    def _better(self) -> bool:
        return not self.device.shared and slots.waiting_better(self.device.name, self._priority, where=self._where)

    def _waits(self) -> None:
        self.waited = True
        if not self._gave:
            self._note(f"another run holds {self.device.name}; waiting for it")
