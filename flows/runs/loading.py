"""The devices of a run, each with the model loaded on a thread beside whatever else has to start.

Whoever embeds borrows a device and gives it back. One that is lost is left out from then on; when the last is gone,
whoever asks is told why.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from penstock.embed.types import Encoder, EncoderUnavailable, Resting
from penstock.flows.runs.stop import LOADING

LENT = "lent model"
"""The device of a run whose vectors another one makes."""
T = TypeVar("T")

CPU = "cpu"
"""Its slot."""


class Model(Protocol):
    """A model that is being loaded somewhere."""

    def ready(self) -> Encoder:
        """Wait until it is loaded. Raises what loading raised."""
        ...

    def close(self) -> None:
        """Let go of the device, or of loading. May be repeated, and called from any thread."""
        ...


class Here:
    """A `Model` that is loaded by whoever waits for it, in this process."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._closed = False

    def ready(self) -> Encoder:
        self._loaded = encoder = self._load()
        if self._closed:  # while it was being loaded
            encoder.close()
        return encoder

    def close(self) -> None:
        self._closed = True
        if self._loaded is not None:
            self._loaded.close()


@dataclass(frozen=True, slots=True)
class Device:
    """A device with the model on it. `name` is that of its slot."""

    name: str
    encoder: Encoder

    @property
    def shared(self) -> bool:
        """Whether runs need not take turns on it: whose model is lent takes their asks one after the other."""
        return self.name == LENT

    def rest(self) -> bool:
        """Let go of the memory of an accelerator, where others need it. Whether it did: then the next batch takes as
        long as loading. On the CPU the model stays, and an encoder elsewhere has nothing here."""
        if self.name == CPU or not isinstance(self.encoder, Resting):
            return False
        return self.encoder.rest()


class Devices:
    """`models`: device → the model there, which is waited for from now on. Thread-safe."""

    def __init__(self, models: Mapping[str, Model], stopped: Callable[[], bool], note: Callable[[str], None]) -> None:
        self._models = dict(models)
        self._stopped, self._note = stopped, note
        self._changed = threading.Condition()
        self._alive = len(models)
        self._free: deque[Device] = deque()
        self._first: Encoder | None = None
        self._error: BaseException = RuntimeError("nothing was planned to be embedded, yet a vector was asked for")
        self._broken = False
        self.count = max(1, len(models))
        for name, model in models.items():
            threading.Thread(target=self._load, args=(name, model), name=LOADING).start()

    def first(self) -> Encoder | None:
        """The first encoder that is there: all say the same of what vectors are. None if a stop was requested first.

        Raises what loading raised; `EncoderUnavailable` when no device is left.
        """
        return self._awaited(lambda: self._first)

    @contextmanager
    def borrowed(self) -> Iterator[Device | None]:
        """A device that nobody else has meanwhile; None if a stop was requested first. Raises as `first`.

        A device on which the block raises `EncoderUnavailable` is lost; the error ends here while others are left.
        """
        device = self._awaited(lambda: self._free.popleft() if self._free else None)
        try:
            yield device
        except EncoderUnavailable as error:
            assert device is not None
            name, device = device.name, None
            if not self._lost(name, error):
                raise
        finally:
            if device is not None:
                with self._changed:
                    self._free.append(device)
                    self._changed.notify_all()

    def close(self) -> None:
        """Let go of every device, of one that is still being loaded as soon as it is there. May be repeated."""
        for model in self._models.values():
            model.close()

    def _awaited(self, found: Callable[[], T | None]) -> T | None:
        with self._changed:
            while True:
                if self._broken or not self._alive:
                    raise self._error
                if (it := found()) is not None:
                    return it
                if self._stopped():
                    return None
                self._changed.wait(0.1)

    def _lost(self, name: str, error: EncoderUnavailable) -> bool:
        """Leave the device out; whether others are left."""
        with self._changed:
            self._alive -= 1
            self._error = error
            self._changed.notify_all()
            left = self._alive > 0
        if left:
            self._note(f"{name} is left out from here on: {error}")
        return left

    def _load(self, name: str, model: Model) -> None:
        try:
            device = Device(name, model.ready())
        except EncoderUnavailable as error:
            self._lost(name, error)
        except BaseException as error:
            with self._changed:
                self._broken, self._error = True, error
                self._changed.notify_all()
        else:
            with self._changed:
                self._first = self._first or device.encoder
                self._free.append(device)
                self._changed.notify_all()
