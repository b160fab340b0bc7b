"""From no process to a process with the model in it, again after each death, and always with the same model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from penstock.embed.types import EncoderSpec, EncoderUnavailable
from penstock.embed.worker.life import Died, Life
from penstock.embed.worker.types import Patience
from penstock.embed.worker.vigil import Vigil, span
from penstock.embed.worker.wire import Failed, Load, Ready, raised

_MOST_FAILURES = 3
_SAME = ("device", "dtype", "path", "budget")
"""Of the provenance, what decides the last bits of a vector."""


class Loader:
    """Keeps one process, or none. Starts the first when it is made, and does not wait for it."""

    def __init__(
        self,
        spec: EncoderSpec,
        engine: str,
        *,
        clock: Callable[[], float],
        note: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._load = Load(spec, engine, logging.getLogger("penstock").getEffectiveLevel())
        self._clock, self._note, self._patience = clock, note, patience
        self.first: Ready | None = None
        """What the first process said of its model; that of every other is held against it."""
        self.loads = 0
        self._closed = False
        self._current: Life | None = None
        self._changing = threading.Lock()
        # Linux ends a child with the thread that started it: this one stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="embedding-process")
        self._start()

    def life(self) -> Life:
        """The process, loaded. It may have died since: who speaks to it learns that.

        Raises what loading raised, if it never went well; `EncoderUnavailable` after several deaths or failures in a
        row, if the model became another one, and when closed.
        """
        for attempt in range(1, _MOST_FAILURES + 1):
            life = self._current or self._start()
            if life.ready:
                return life
            try:
                told = life.next(self._patience.load, Vigil(self._patience.word_load, self._loading(life.pid)))
            except Died as death:
                self._unless_closed()
                why = str(death)
            else:
                if isinstance(told, Ready):
                    return self._admitted(life, told)
                assert isinstance(told, Failed)
                life.given_up("could not load")
                if self.first is None:
                    self._current = None
                    raise raised(told)
                why = f"failed ({told.message})"
            self._current = None
            if attempt < _MOST_FAILURES:
                self._note(f"the embedding process {why} while it loaded the model; another tries again")
        raise EncoderUnavailable(
            f"the embedding process {why} while it loaded the model, {_MOST_FAILURES} times in a row. "
            "Look at the device and at the memory, then run again: what was embedded is kept"
        )

    def lost(self) -> None:
        """The process has died."""
        self._unless_closed()
        self._current = None

    def rest(self) -> bool:
        """End the process for now, and wait until it is gone. False if there is none."""
        with self._changing:
            self._unless_closed()
            life, self._current = self._current, None
        if life is not None:
            life.end(self._patience.farewell)
        return life is not None

    def close(self) -> None:
        """End the process: kindly, if nobody listens to it at the moment, then hard. From any thread."""
        with self._changing:
            self._closed = True
            life, self._current = self._current, None
        if life is not None:
            life.end(self._patience.farewell)
        self._starter.shutdown()

    def _loading(self, pid: int) -> Callable[[float], None]:
        def say(waited: float) -> None:
            self._note(
                f"the model has been loading for {span(waited)} (process {pid}); "
                f"it is given {span(self._patience.load - waited)} more"
            )

        return say

    def _start(self) -> Life:
        with self._changing:
            self._unless_closed()
            try:
                self._current = self._starter.submit(Life, self._load, self._clock).result()
            except OSError as error:
                raise EncoderUnavailable(
                    f"no process can be started ({error}): run again when there is room"
                ) from error
            return self._current

    def _unless_closed(self) -> None:
        if self._closed:
            raise EncoderUnavailable("the encoder was closed")

    def _admitted(self, life: Life, told: Ready) -> Life:
        if self.first is None:
            self.first = told
            dtype = told.provenance.get("dtype", "")
            if self._load.spec.dtype == "auto" and dtype in ("float32", "bfloat16", "float16"):
                # what a benchmark chose once shall not be chosen otherwise after a death: that would be other bits
                self._load = msgspec.structs.replace(
                    self._load, spec=msgspec.structs.replace(self._load.spec, dtype=dtype)
                )
        elif (told.dim, told.identity) != (self.first.dim, self.first.identity):
            life.given_up("is another model")
            self._current = None
            raise EncoderUnavailable("the model's files changed while it was in use: run again to use the new ones")
        elif others := [name for name in _SAME if told.provenance.get(name) != self.first.provenance.get(name)]:
            self._note(f"the embedding process chose another {' and '.join(others)} when it was started again")
        life.ready = told
        self.loads += 1
        return life
