"""An encoder in a process of its own, that may die, hang or lose its device without losing a text.

Here is what is done about it; what is computed next after a death is decided in `isolation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded, EncoderSpec, EncoderUnavailable, TokenIds
from penstock.embed.worker.isolation import Health
from penstock.embed.worker.life import Died
from penstock.embed.worker.loading import Loader
from penstock.embed.worker.sheet import Sheet, windows
from penstock.embed.worker.task import Pace, Task
from penstock.embed.worker.types import Patience
from penstock.embed.worker.wire import Answered, Ask, Failed, Lost, raised

ENGINE = "penstock.embed.engine.encoder:load_spec"
_QUESTION_TRIES = 3


class WorkerEncoder:
    """An `Encoder`. Loading begins when it is made; `ready` waits for it. One thread at a time may use it.

    `engine`: what makes the encoder from the spec, in the process: `module:callable`. `clock`: seconds, monotonic.
    `note` is told, in one line for people, when the process had to be started again and when a text was given up.
    `shared_bytes`: memory that both see, at one time, however long the input.

    Results are those of the engine to the bit, after any number of deaths: a vector depends only on its ids.
    """

    dim: int
    max_tokens: int
    identity: dict[str, str]
    provenance: dict[str, str]

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        engine: str = ENGINE,
        clock: Callable[[], float],
        note: Callable[[str], None],
        patience: Patience = Patience(),  # noqa: B008 - frozen
        shared_bytes: int = 128 << 20,
    ) -> None:
        self._note, self._shared_bytes = note, shared_bytes
        self._health, self._pace = Health(), Pace(patience, note)
        self._job = 0
        self._loader = Loader(spec, engine, clock=clock, note=note, patience=patience)

    @property
    def loads(self) -> int:
        """Processes that got the model loaded so far. It has grown before anything of the new one comes out."""
        return self._loader.loads

    def ready(self) -> WorkerEncoder:
        """Wait until the model is loaded: from here on `dim`, `identity`, `provenance` and `max_tokens` are there.

        Raises what loading raised (`UnknownModel`, ValueError, ImportError, …), and `EncoderUnavailable` if the
        process died of loading, again and again, or is closed.
        """
        self._loader.life()
        first = self._loader.first
        assert first is not None
        self.dim, self.max_tokens = first.dim, first.max_tokens
        self.identity, self.provenance = first.identity, first.provenance
        return self

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """As `Encoder.encode`; vectors are copies, and `texts` stay here.

        Closed early, it stops the process at its next batch, and does not wait for that.
        """
        self.ready()
        for first, end in windows(ids, self.dim, self._shared_bytes):
            self._job += 1
            job = self._job
            with closing(Sheet.of([ids[position] for position in range(first, end)], self.dim)) as sheet:
                task = Task(job, sheet, self._loader, self._health, self._pace, self._note)
                with closing(task.batches()) as batches:
                    for batch in batches:
                        yield _shifted(batch, first)
                        if self._job != job:
                            raise RuntimeError("the process was given other work meanwhile: one thing at a time")

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Encoder.encode_queries`. Raises what the engine raises, and `EncoderUnavailable`."""
        self.ready()
        packed = msgspec.msgpack.encode(list(texts))
        with closing(Sheet.blank(len(texts), -(-len(packed) // 4), self.dim)) as sheet:
            sheet.ids.view(np.uint8)[: len(packed)] = np.frombuffer(packed, dtype=np.uint8)
            for _ in range(_QUESTION_TRIES):
                try:
                    return self._answered(sheet, len(packed))
                except Died as death:
                    self._loader.lost()
                    why = str(death)
                    self._note(f"the embedding process {why}; another takes the questions")
        raise EncoderUnavailable(
            f"the embedding process {why}; that was {_QUESTION_TRIES} times over the same questions. "
            "Ask others, or look at the device and at the memory"
        )

    def rest(self) -> bool:
        """As `Resting.rest`: ends the process, and with it all that it holds of the device. The next one is started
        when there is something to compute. Raises `EncoderUnavailable` where it is closed."""
        return self._loader.rest()

    def close(self) -> None:
        """End the process: kindly, then hard. May be repeated, and called from any thread."""
        self._loader.close()

    def _answered(self, sheet: Sheet, count: int) -> NDArray[np.float32]:
        self._job += 1
        life = self._loader.life()
        life.job = self._job
        life.send(Ask(self._job, sheet.rows, sheet.tokens, sheet.dim, count), sheet.fd)
        while True:
            match self._pace.next(life):
                case Answered(job) if job == self._job:
                    return sheet.vectors.copy()
                case Failed(job) as failure if job == self._job:
                    raise raised(failure)
                case Lost(job, detail) if job == self._job:
                    raise life.given_up(f"lost its device ({detail})")
                case _:
                    pass  # of earlier work


def _shifted(batch: Encoded, by: int) -> Encoded:
    refused = tuple(msgspec.structs.replace(one, position=one.position + by) for one in batch.refused)
    return msgspec.structs.replace(batch, positions=batch.positions + by, refused=refused)
