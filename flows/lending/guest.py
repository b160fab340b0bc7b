"""The guest: an encoder whose vectors another run makes, and the model of its own that it falls back to.

    Lent ──asks──▶ a run with the model loaded        Standby: loads only when that one is gone

Both are devices of the run; for the first nobody stands in line. When nobody answers it counts as a device that was
lost, and the run goes on with its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded, Encoder, EncoderUnavailable, TokenIds
from penstock.flows.lending.counter import Answer, Ask, Card, Counter
from penstock.flows.runs.loading import Model
from penstock.flows.runs.stop import Halted

AT_ONCE = 20_000
"""Tokens of one ask: a second or two of a host that has work of its own."""
MOST = 60_000
"""Tokens of one shard: with more, a model of one's own is the quicker way."""
_POLL_SECONDS = 0.05


class LentEncoder:
    """An `Encoder`; who has the model must answer within `patience` seconds."""

    def __init__(
        self,
        counter: Counter,
        card: Card,
        host: Card,
        identity: Mapping[str, str],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        stopped: Callable[[], bool],
        patience: float,
        lost: Callable[[], object],
    ) -> None:
        """`host` was there a moment ago. `lost` is called once nobody answers: a model of our own is wanted."""
        self._counter, self._card, self._lost = counter, card, lost
        self._clock, self._sleep, self._stopped, self._patience = clock, sleep, stopped, patience
        self.identity = dict(identity)
        self.dim, self.provenance = host.dim, host.provenance
        self.loads = 1
        """Hosts that answered, one after the other: each has to pass the gate."""
        self._host = ""

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """As `Encoder.encode`."""
        if sum(len(each) for each in ids) > MOST:
            raise self._gone("there is too much to do for a model that is only lent")
        for first, end in _windows([len(each) for each in ids]):
            answer = self._answered(Ask.of(self._card, ids[first:end]))
            vectors = np.frombuffer(answer.vectors, dtype="<f4").reshape(len(answer.positions), answer.dim)
            yield Encoded(
                np.asarray(answer.positions, dtype=np.int64) + first,
                vectors,
                tokens=answer.tokens,
                padded=answer.padded,
                refused=tuple(msgspec.structs.replace(one, position=one.position + first) for one in answer.refused),
            )

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Not lent."""
        raise EncoderUnavailable("questions are not answered by a model that is lent")

    def close(self) -> None:
        """As `Encoder.close`; there is nothing to let go of."""

    def _gone(self, why: str) -> EncoderUnavailable:
        self._lost()
        return EncoderUnavailable(why)

    def _answered(self, ask: Ask) -> Answer:
        try:
            held = self._counter.ask(ask)
        except OSError as error:
            raise self._gone(f"nobody can be asked for a model: {error}") from error
        try:
            until = self._clock() + self._patience
            while (answer := self._counter.answered(held.token)) is None:
                if self._stopped() or self._clock() > until or self._counter.host_of(self._card) is None:
                    raise self._gone("the run that had the model loaded does not answer")
                self._sleep(_POLL_SECONDS)
        except (OSError, msgspec.DecodeError) as error:
            raise self._gone(f"what the run with the model answered cannot be read: {error}") from error
        finally:
            held.close()
        self._check(answer, len(ask.lengths))
        return answer

    def _check(self, answer: Answer, count: int) -> None:
        """Whatever is wrong with an answer costs the time to load a model, and nothing else."""
        if answer.problem:
            raise self._gone(f"the run that has the model could not help: {answer.problem}")
        outcomes = sorted([*answer.positions, *(one.position for one in answer.refused)])
        fits = answer.dim == self.dim and len(answer.vectors) == 4 * answer.dim * len(answer.positions)
        if outcomes != list(range(count)) or not fits:
            raise self._gone("the run that has the model answered something else")
        if answer.host != self._host:
            self._host, self.loads = answer.host, self.loads + bool(self._host)
            self.provenance = answer.provenance


class Lent:
    """A `Model` that somebody else has loaded."""

    def __init__(self, encoder: LentEncoder) -> None:
        self._encoder = encoder

    def ready(self) -> Encoder:
        return self._encoder

    def close(self) -> None:
        """There is nothing to let go of."""


class Standby:
    """A `Model` that is made, and loaded, only once `wanted` says so."""

    def __init__(self, make: Callable[[], Model], wanted: threading.Event) -> None:
        self._make, self._wanted = make, wanted
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._closed = False

    def ready(self) -> Encoder:
        """Wait until it is wanted, then load. Raises `Halted` if it is closed first, and what loading raises."""
        self._wanted.wait()
        with self._lock:
            if self._closed:
                raise Halted
            self._model = self._make()
        return self._model.ready()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._model is not None:
                self._model.close()
        self._wanted.set()


def _windows(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, end) of runs of texts of about `AT_ONCE` tokens."""
    first = size = 0
    for position, length in enumerate(lengths):
        if size and size + length > AT_ONCE:
            yield first, position
            first, size = position, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)
