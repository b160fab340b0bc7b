"""Engines without a model, that die, hang and break as real ones do. A spec's `model` says what they do, in JSON."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine.faults import DeviceLost
from penstock.embed.models import UnknownModel
from penstock.embed.types import Encoded, EncoderSpec, EncoderUnavailable, Refused

DIM = 8
LONGEST = 512


def spec(folder: Path | str = "", **says: Any) -> EncoderSpec:
    """`folder`: where what happened is counted across processes."""
    return EncoderSpec(model=json.dumps(says), remember=str(folder))


def vector(ids: Sequence[int]) -> NDArray[np.float32]:
    digest = hashlib.blake2b(np.asarray(ids, dtype="<u4").tobytes(), digest_size=DIM).digest()
    values = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
    return (values / np.linalg.norm(values)).astype(np.float32)


def hang() -> None:
    while True:
        time.sleep(60)


DEATHS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": lambda: ctypes.string_at(0),
    "hang": hang,
    "sleep": hang,
    "hold": lambda: ctypes.PyDLL(None).sleep(60),  # without letting another thread run
    "lost": lambda: fail(DeviceLost("CUDA error: an illegal memory access was encountered")),
    "index": lambda: fail(IndexError("index out of range in self")),
    "unavailable": lambda: fail(EncoderUnavailable("somebody else has taken the memory", 30.0)),
}


def fail(error: Exception) -> None:
    raise error


class Engine:
    """`rows` in a batch, longest first; `seconds` for one. `poison`: first id of a sequence to what it does.

    `deaths`: numbers of batches, counted over all processes, before which it dies. `refuse`: first ids of sequences
    that get no vector.
    """

    dim, max_tokens = DIM, LONGEST

    def __init__(self, said: dict[str, Any], folder: str) -> None:
        self.identity = {"weights": said.get("weights", "fake")}
        self.provenance = {"device": "fake", "dtype": said.get("dtype", "float32"), "pid": str(os.getpid())}
        self._said, self._folder = said, folder
        self._rows, self._seconds = said.get("rows", 4), said.get("seconds", 0.0)
        self._poison = {int(first): kind for first, kind in said.get("poison", {}).items()}
        self._refuse = set(said.get("refuse", ()))
        self.announce: Callable[[Sequence[int]], None] | None = None

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        if any(not 0 < len(sequence) <= LONGEST for sequence in ids):
            raise ValueError(f"a sequence of 0 tokens, or of more than {LONGEST}")
        order = sorted(range(len(ids)), key=lambda position: -len(ids[position]))
        for start in range(0, len(order), self._rows):
            batch = order[start : start + self._rows]
            if self.announce is not None:
                self.announce(batch)
            self._suffer([int(ids[position][0]) for position in batch])
            refused = tuple(Refused(k, "not_finite", "no vector") for k in batch if int(ids[k][0]) in self._refuse)
            sound = [k for k in batch if int(ids[k][0]) not in self._refuse]
            vectors = np.array([vector(ids[k]) for k in sound], dtype=np.float32).reshape(-1, DIM)
            tokens = sum(len(ids[k]) for k in sound)
            yield Encoded(np.array(sound, dtype=np.int64), vectors, tokens, tokens + 3, refused)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        for text in texts:
            if text in DEATHS and (not self._said.get("once") or count(self._folder, "asked") == 1):
                DEATHS[text]()
        return np.stack([vector([*text.encode()]) for text in texts])

    def close(self) -> None:
        if self._folder:
            (Path(self._folder) / "closed").touch()

    def _suffer(self, firsts: Sequence[int]) -> None:
        if self._seconds:
            time.sleep(self._seconds)
        if self._folder and count(self._folder, "batches") in self._said.get("deaths", ()):
            DEATHS[self._said.get("of", "kill")]()
        for first in firsts:
            if first in self._poison:
                DEATHS[self._poison[first]]()


class Silent(Engine):
    """One that does not announce its batches."""

    def __init__(self, said: dict[str, Any], folder: str) -> None:
        super().__init__(said, folder)
        del self.announce

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        Engine.announce = None  # type: ignore[misc]
        try:
            yield from super().encode(ids, texts)
        finally:
            del Engine.announce


def load(spec: EncoderSpec) -> Engine:
    said = json.loads(spec.model)
    if spec.remember:
        count(spec.remember, "loads")
    print("printed while loading")
    match said.get("load"):
        case "unknown":
            raise UnknownModel("no model of that name")
        case "value":
            raise ValueError("dtype float3 is impossible")
        case "import":
            raise ModuleNotFoundError("No module named 'torch'")
        case "foreign":
            raise type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})("no room")
        case "exit":
            sys.stderr.write("libcuda: cannot be initialised\n")
            sys.stderr.flush()
            os._exit(7)
        case "exit at first" if count(spec.remember, "exits") < 3:
            os._exit(7)
        case "exit later" if count(spec.remember, "exits") > 1:
            os._exit(7)
        case "chatty":
            logging.getLogger("penstock.embed.engine").warning("a question was cut: %s", "x" * 40_000)
            warnings.warn("a warning of a library", stacklevel=1)
        case "slow":
            time.sleep(60)
        case "changes":
            said["weights"] = str(count(spec.remember, "weights"))
        case "auto":
            said["dtype"] = "bfloat16" if spec.dtype == "auto" else spec.dtype + " as told"
    return (Silent if said.get("silent") else Engine)(said, spec.remember)


def count(folder: str, what: str) -> int:
    """How often this was called, in all processes: one byte in a file each time."""
    with (Path(folder) / what).open("ab", buffering=0) as file:
        file.write(b".")
        return file.tell()
