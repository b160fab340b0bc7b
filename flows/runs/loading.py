"""The model, loaded on a thread beside whatever else has to start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from penstock.embed.types import Encoder
from penstock.flows.runs.stop import LOADING


class InBackground:
    """Starts to load when it is made; calling it gives the encoder, and blocks until it is there."""

    def __init__(self, load_encoder: Callable[[], Encoder], stopped: Callable[[], bool]) -> None:
        self._future: Future[Encoder] = Future()
        self._stopped = stopped
        threading.Thread(target=self._load, args=(load_encoder,), name=LOADING).start()

    def loaded(self) -> bool:
        """Wait for it. False if a stop was requested first: nobody waits seconds for what is not needed then."""
        while not wait((self._future,), timeout=0.1).done:
            if self._stopped():
                return False
        return True

    def __call__(self) -> Encoder:
        return self._future.result()

    def _load(self, load_encoder: Callable[[], Encoder]) -> None:
        try:
            self._future.set_result(load_encoder())
        except BaseException as error:
            self._future.set_exception(error)


class Never:
    """Stands where nothing was planned to be embedded."""

    def loaded(self) -> bool:
        return True

    def __call__(self) -> Encoder:
        raise RuntimeError("nothing was planned to be embedded, yet a vector was asked for")
