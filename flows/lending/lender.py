"""The host: between two batches of its own it makes vectors for runs that are more urgent.

So an urgent document waits for no model to be loaded, and no device stands still while one is: loading costs a small
run more than all the rest of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from penstock.embed.types import EncoderUnavailable, Refused, TokenIds
from penstock.flows.lending.counter import Answer, Ask, Card, Counter, Held
from penstock.flows.runs import slots
from penstock.flows.runs.events import GaveWay, Listener
from penstock.flows.runs.loading import Device, Devices

MOST_ASKS = 4
"""Answered in a row; our own work has its turn then."""
IDLE_SECONDS = 0.2


class Sleep(Protocol):
    def __call__(self, seconds: float, /) -> None: ...


class Lender:
    """Lends the devices of one run, as a context. Its faults are never the run's: who gets no answer helps himself."""

    def __init__(
        self,
        counter: Counter,
        card: Card,
        devices: Devices,
        *,
        slots_directory: Path,
        clock: Callable[[], float],
        sleep: Sleep,
        tell: Listener,
        note: Callable[[str], None],
    ) -> None:
        self._counter, self._card, self._devices = counter, card, devices
        self._slots, self._clock, self._sleep = slots_directory, clock, sleep
        self._tell, self._note = tell, note
        self._held: Held | None = None
        self._ended = threading.Event()
        self._idle = threading.Thread(target=self._while_idle, name="lending", daemon=True)

    def __enter__(self) -> Lender:
        self._idle.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._idle.join(timeout=5.0)
        if self._held is not None:
            with suppress(OSError):
                self._held.close()

    def waits(self) -> bool:
        """Whether somebody more urgent wants vectors of our model. Cheap: one look into a folder."""
        try:
            return self._held is not None and bool(self._counter.asks(self._card))
        except OSError:
            return False

    def serve(self, device: Device) -> None:
        """Answer some asks with this device, which is ours, and so is its slot. Raises `EncoderUnavailable`.

        A folder that cannot be written ends the lending, and nothing else.
        """
        try:
            for token, ask in self._counter.asks(self._card)[:MOST_ASKS]:
                with self._counter.claimed(token) as mine:
                    if mine:
                        self._answer(token, ask, device)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        held, self._held = self._held, None
        self._note(f"the model is not lent to more urgent runs any more: {error}")
        if held is not None:
            with suppress(OSError):
                held.close()

    def _answer(self, token: str, ask: Ask, device: Device) -> None:
        host = self._held.token if self._held is not None else ""
        try:
            answer = computed(host, device, ask.texts())
        except EncoderUnavailable as error:
            with suppress(OSError):
                self._counter.answer(token, Answer(host, problem=str(error)))
            raise
        except Exception as error:  # the guest's mistake: we have work of our own
            answer = Answer(host, problem=f"{type(error).__name__}: {error}")
        self._counter.answer(token, answer)

    def _open(self) -> None:
        """Once the model is loaded, say so. Raises what loading raised, and `OSError`."""
        first = self._devices.first()
        if first is not None and not self._ended.is_set():
            self._held = self._counter.host(
                Card(self._card.model, self._card.priority, first.dim, dict(first.provenance))
            )

    def _while_idle(self) -> None:
        """A device that waits for documents to be prepared, or for a commit, can be lent as well."""
        try:
            self._open()
        except OSError as error:
            self._note(f"the model is not lent to more urgent runs: {error}")
        except BaseException:
            return  # whoever needs the model is told why there is none
        if self._held is None:
            return
        while not self._ended.is_set():
            if self.waits():
                try:
                    self._serve_idle()
                except EncoderUnavailable:
                    pass  # the device is left out by now; who needs it next is told
                except Exception as error:
                    self._note(f"the model is not lent any more: {error}")
                    return
            self._sleep(IDLE_SECONDS)

    def _serve_idle(self) -> None:
        with self._devices.borrowed() as device:
            if device is None or not self.waits():
                return
            with slots.hold(
                device.name,
                where=self._slots,
                sleep=self._sleep,
                stopped=lambda: self._ended.is_set() or not self.waits(),
                waiting=lambda: None,
                priority=slots.URGENT,
            ) as held:
                if held:
                    started = self._clock()
                    self.serve(device)
                    self._tell(GaveWay(device.name, self._clock() - started, lent=True))


def computed(host: str, device: Device, texts: Sequence[TokenIds]) -> Answer:
    """The vectors of these texts. Raises what the encoder raises."""
    positions: list[int] = []
    vectors = []
    refused: list[Refused] = []
    tokens = padded = 0
    for batch in device.encoder.encode(texts):
        positions += batch.positions.tolist()
        vectors.append(np.asarray(batch.vectors, dtype="<f4"))
        refused += batch.refused
        tokens, padded = tokens + batch.tokens, padded + batch.padded
    flat = np.concatenate(vectors).tobytes() if vectors else b""
    encoder = device.encoder
    return Answer(
        host, "", encoder.dim, dict(encoder.provenance), positions, flat, tokens=tokens, padded=padded, refused=refused
    )
