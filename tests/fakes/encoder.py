"""An encoder without a model: vectors are a pure function of the token ids, batches are small, as in life.

Like the real one it refuses what is too long, yields batches longest first, and can be slow or die. Canaries come out
at once and are not counted: tests count documents.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.embed.quality import canaries
from penstock.embed.types import Encoded, EncoderUnavailable, Refused

DIM = 16
_CANARIES = {known[0].text for known in canaries.SETS.values()}


class HashEncoder:
    """`seconds` is the time for a batch of `rows`; `dies_after` batches it raises, as a lost device would.

    `lost_after` batches it is unavailable, in the way that a run must cope with. Texts with one of the words in
    `refuses` get no vector. `meets` is called before each batch: a barrier there shows who works at the same time.

    `cosine` of its vectors to those of another one: how far it has drifted.
    """

    dim = DIM

    def __init__(
        self,
        seconds: float = 0.0,
        rows: int = 4,
        dies_after: int | None = None,
        cosine: float = 1.0,
        lost_after: int | None = None,
        refuses: tuple[str, ...] = (),
        meets: Callable[[], object] = lambda: None,
        billed: bool = False,
    ) -> None:
        self.identity: dict[str, str] = {}
        self.provenance = {"device": "fake", "dtype": "float32"}
        self._seconds, self._rows, self._left = seconds, rows, dies_after
        self.embedded: list[tuple[int, ...]] = []
        self.canaries = 0
        """How often it was asked for canaries."""
        self._cosine = cosine
        self._lost_after, self._refuses, self._meets, self._billed = lost_after, refuses, meets, billed
        self.refused: list[str] = []
        self.closed = 0

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        if texts and texts[0] in _CANARIES:
            self.canaries += 1
            vectors = np.stack([self._vector(each) for each in ids])
            yield Encoded(np.arange(len(ids)), vectors, tokens=0, padded=0)
            return
        order = sorted(range(len(ids)), key=lambda position: -len(ids[position]))
        for start in range(0, len(order), self._rows):
            if self._left is not None:
                if self._left == 0:
                    raise RuntimeError("the device is gone")
                self._left -= 1
            if self._lost_after is not None:
                if self._lost_after == 0:
                    raise EncoderUnavailable("the fake device does not answer", after=90.0)
                self._lost_after -= 1
            self._meets()
            if self._seconds:
                time.sleep(self._seconds)
            batch = order[start : start + self._rows]
            for position in batch:
                if len(ids[position]) > 256:
                    raise ValueError("too long")
            refused = tuple(each for position in batch if (each := self._refusal(position, texts)))
            batch = [position for position in batch if position not in {each.position for each in refused}]
            self.embedded += [tuple(map(int, ids[position])) for position in batch]
            tokens = sum(len(ids[position]) for position in batch)
            vectors = np.array([self._vector(ids[position]) for position in batch], np.float32).reshape(-1, DIM)
            billed = tokens if self._billed else 0
            yield Encoded(np.array(batch, dtype=np.int64), vectors, tokens, tokens + 3, refused, billed)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._vector([*text.encode()]) for text in texts])

    def close(self) -> None:
        self.closed += 1

    def _refusal(self, position: int, texts: Sequence[str] | None) -> Refused | None:
        if not self._refuses or texts is None or not any(word in texts[position] for word in self._refuses):
            return None
        self.refused.append(texts[position])
        return Refused(position, "crash", "it alone killed its process, twice")

    def _vector(self, ids: Sequence[int]) -> NDArray[np.float32]:
        return turned(vector(ids), self._cosine) if self._cosine < 1 else vector(ids)


def vector(ids: Sequence[int]) -> NDArray[np.float32]:
    """Unit norm, float32 (DIM,), different for different ids."""
    digest = hashlib.blake2b(np.asarray(ids, dtype="<u4").tobytes(), digest_size=DIM).digest()
    values = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
    return (values / np.linalg.norm(values)).astype(np.float32)


def turned(sound: NDArray[np.float32], cosine: float) -> NDArray[np.float32]:
    """A unit vector at that cosine to this one."""
    right = sound.astype(np.float64)
    aside = np.roll(right, 1) - (np.roll(right, 1) @ right) * right
    made = cosine * right + (1 - cosine**2) ** 0.5 * aside / np.linalg.norm(aside)
    return made.astype(np.float32)
