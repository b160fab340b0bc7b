"""An encoder whose model may be loaded again on the way: a process that died is started anew, and judged anew.

What came out of the new one is held back until it has passed; a vector depends only on its text, so what is left can be
asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoded, Encoder, Resting, TokenIds


class Reloading:
    """An `Encoder` that `admit` has seen, and sees again each time that its model was loaded again.

    `loads` says how often it was. Raises what `admit` raises, before any vector of that model comes out.
    """

    def __init__(self, encoder: Encoder, admit: Callable[[Encoder], None], loads: Callable[[Encoder], int]) -> None:
        self._encoder, self._admit, self._loads = encoder, admit, loads
        self._seen = -1
        self._pass()
        self.dim, self.identity, self.provenance = encoder.dim, encoder.identity, encoder.provenance

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """As `Encoder.encode`."""
        self._pass()
        left = np.arange(len(ids), dtype=np.int64)
        while True:
            came = np.zeros(len(left), dtype=np.bool_)
            held = None
            batches = self._encoder.encode(ids, texts)
            try:
                for batch in batches:
                    came[batch.positions] = True
                    came[[refused.position for refused in batch.refused]] = True
                    if self._loads(self._encoder) != self._seen:
                        held = _moved(batch, left)
                        break
                    yield _moved(batch, left)
            finally:
                if isinstance(batches, Generator):
                    batches.close()  # now: the canaries are next
            if held is None:
                return
            self._pass()
            yield held
            if came.all():
                return
            rest = np.flatnonzero(~came).tolist()
            left, ids = left[rest], [ids[position] for position in rest]
            texts = None if texts is None else [texts[position] for position in rest]

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Encoder.encode_queries`."""
        return self._encoder.encode_queries(texts)

    def rest(self) -> bool:
        """As `Resting.rest`. What is loaded again afterwards is judged again."""
        return isinstance(self._encoder, Resting) and self._encoder.rest()

    def close(self) -> None:
        """As `Encoder.close`."""
        self._encoder.close()

    def _pass(self) -> None:
        """Have the model judged that is loaded now; and again one that is loaded meanwhile."""
        while (loads := self._loads(self._encoder)) != self._seen:
            self._admit(self._encoder)
            self._seen = loads


def _moved(batch: Encoded, left: NDArray[np.int64]) -> Encoded:
    """The batch, its positions counted from 0 of the whole input."""
    refused = tuple(msgspec.structs.replace(one, position=int(left[one.position])) for one in batch.refused)
    return msgspec.structs.replace(batch, positions=left[batch.positions], refused=refused)
