"""The composition root's part for lending: who lends the model that it has loaded, and who may do without one."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from penstock.flows import model_wiring, wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.lending.counter import Card, Counter
from penstock.flows.lending.guest import Lent, LentEncoder, Standby
from penstock.flows.lending.lender import Lender
from penstock.flows.runs import slots
from penstock.flows.runs.events import Listener
from penstock.flows.runs.loading import LENT, Devices, Model
from penstock.flows.runs.priority import NUMBERS

PATIENCE = 10.0
"""Seconds for an answer: by then a model of one's own would be there."""


def models(
    settings: Settings, home: Home, priority: str, stopped: Callable[[], bool], note: Callable[[str], None]
) -> dict[str, Model]:
    """The models of a run: its own, or the one of a less urgent run that has it loaded, and its own on standby."""
    mine = card(settings, priority)
    counter = _counter(home)
    host = None if settings.embed.endpoint is not None else counter.host_of(mine)
    if host is None:
        return model_wiring.encoders(settings, home, note)
    wanted = threading.Event()
    lent = LentEncoder(
        counter,
        mine,
        host,
        model_wiring.model_identity(settings),
        clock=time.monotonic,
        sleep=wiring.sleep,
        stopped=stopped,
        patience=PATIENCE,
        lost=wanted.set,
    )
    own = {
        slot: Standby(partial(_own, settings, home, note, slot), wanted) for slot in model_wiring.devices_of(settings)
    }
    return {LENT: Lent(lent), **own}


def lender(
    settings: Settings,
    home: Home,
    priority: str,
    models: Mapping[str, Model],
    devices: Devices,
    tell: Listener,
    note: Callable[[str], None],
) -> AbstractContextManager[Lender | None]:
    """What lends `models`, which are on `devices`, while it is entered; None where there is nothing to lend."""
    if not models or settings.embed.endpoint is not None or LENT in models or NUMBERS[priority] == slots.URGENT:
        return nullcontext()
    return Lender(
        _counter(home),
        card(settings, priority),
        devices,
        slots_directory=slots.directory(),
        clock=wiring.clock,
        sleep=wiring.sleep,
        tell=tell,
        note=note,
    )


def _own(settings: Settings, home: Home, note: Callable[[str], None], slot: str) -> Model:
    return model_wiring.encoders(settings, home, note, slot)[slot]


def _counter(home: Home) -> Counter:
    return Counter(home.path / "lending", wiring.token)


def card(settings: Settings, priority: str) -> Card:
    """A model is the same where its vectors are, and the numbers that they are made with."""
    identity = model_wiring.model_identity(settings)
    said = [*(f"{key}={identity[key]}" for key in sorted(identity)), f"dtype={settings.embed.dtype}"]
    return Card(hashlib.sha256("\n".join(said).encode()).hexdigest(), NUMBERS[priority])
