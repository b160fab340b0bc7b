"""Where the process computes: a sheet is laid on it, groups of it go through the engine, questions are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine.faults import Fault, fault, first_line
from penstock.embed.types import Encoded, Encoder, EncoderUnavailable
from penstock.embed.worker.sheet import Sheet
from penstock.embed.worker.wire import (
    MOST_REFUSED,
    Answered,
    Ask,
    Came,
    Compute,
    Finished,
    FromProcess,
    Lost,
    Work,
    failed,
)

_DETAIL = 300


class Desk:
    """`say` tells the other end; `called` is whether it wants something: in the middle of work only that we stop."""

    def __init__(self, encoder: Encoder, say: Callable[[FromProcess], None], called: Callable[[], bool]) -> None:
        self._encoder, self._say, self._called = encoder, say, called
        self._sheet: Sheet | None = None
        self._job = 0
        self._came = 0

    def lay(self, work: Work, fd: int) -> None:
        """Take a sheet, and let go of the one before."""
        self.clear()
        self._sheet, self._job, self._came = Sheet(fd, work.rows, work.tokens, work.dim), work.job, 0

    def clear(self) -> None:
        """Let go of the sheet."""
        if self._sheet is not None:
            self._sheet.close()
        self._sheet = None

    def compute(self, ask: Compute) -> None:
        """One group in one call of the engine, a message for each batch; ends early when it is called."""
        if self._sheet is None or ask.job != self._job:
            return
        sheet, group = self._sheet, self._sheet.group[: ask.count].copy()
        marks = _Marks(sheet, group)
        if hasattr(self._encoder, "announce"):
            self._encoder.announce = marks.announce
        batches = self._encoder.encode([sheet.sequence(position) for position in group.tolist()])
        try:
            for batch in batches:
                marks.computing = True
                self._tell(batch, group, sheet)
                if self._called():
                    return
        except Exception as error:
            # What is too long is refused before anything is computed: the caller's mistake, and no crash.
            own = isinstance(error, EncoderUnavailable) or (isinstance(error, ValueError) and not marks.computing)
            self._say(failed(ask.job, error) if own else Lost(ask.job, first_line(error)))
        else:
            self._say(Finished(ask.job))
        finally:
            if close := getattr(batches, "close", None):
                close()
            if hasattr(self._encoder, "announce"):
                self._encoder.announce = None

    def answer(self, ask: Ask, fd: int) -> None:
        """Questions, written on a sheet as they are; their vectors go there, too."""
        sheet = Sheet(fd, ask.rows, ask.tokens, ask.dim)
        try:
            texts = msgspec.msgpack.decode(sheet.ids.tobytes()[: ask.count], type=list[str])
            sheet.vectors[:] = self._encoder.encode_queries(texts)
        except Exception as error:
            lost = fault(error) is Fault.DEVICE_LOST
            self._say(Lost(ask.job, first_line(error)) if lost else failed(ask.job, error))
        else:
            self._say(Answered(ask.job))
        finally:
            sheet.close()

    def _tell(self, batch: Encoded, group: NDArray[np.int64], sheet: Sheet) -> None:
        positions = group[batch.positions]
        sheet.vectors[positions] = batch.vectors
        sheet.order[self._came : self._came + len(positions)] = positions
        refused = [
            msgspec.structs.replace(one, position=int(group[one.position]), detail=one.detail[:_DETAIL])
            for one in batch.refused
        ]
        while len(refused) > MOST_REFUSED:  # a message has a largest size
            self._say(Came(self._job, self._came, 0, 0, 0, 0, tuple(refused[:MOST_REFUSED])))
            del refused[:MOST_REFUSED]
        counts = (batch.tokens, batch.padded, batch.billed)
        self._say(Came(self._job, self._came, len(positions), *counts, tuple(refused)))
        self._came += len(positions)


class _Marks:
    """What is being computed, written where the other end finds it after our death."""

    def __init__(self, sheet: Sheet, group: NDArray[np.int64]) -> None:
        self._begun, self._group = sheet.begun, group
        self.computing = False

    def announce(self, positions: Sequence[int] | NDArray[np.int64]) -> None:
        self.computing = True
        self._begun[self._group[np.asarray(positions, dtype=np.int64)]] = 1
