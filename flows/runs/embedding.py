"""The second stage: a shard's token ids through the model, into the spool every few seconds.

What is there already (in the spool, in the cache, in the index) is found first, beside what the device does for another
shard; only for the rest a device and its slot are taken. What a killed run had embedded is read back, not embedded
again: a vector depends only on its text, so the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from penstock.embed.cache import Cache, NoCache
from penstock.embed.types import Encoder, EncoderUnavailable
from penstock.flows.runs.claims import Claims
from penstock.flows.runs.events import Listener, nobody
from penstock.flows.runs.filling import Filling
from penstock.flows.runs.loading import Device, Devices
from penstock.flows.runs.moved import Donors
from penstock.flows.runs.moved import nobody as no_donors
from penstock.flows.runs.slots import SCHEDULED
from penstock.flows.runs.turns import Aside as Aside
from penstock.flows.runs.turns import NoAside, Turn, Wish
from penstock.flows.spools.spool import Shard


@dataclass(slots=True)
class Embedded:
    """What one call did. `complete` is False when a stop was requested first, or no device was left.

    Tokens exclude padding. `seconds` are those on a device.
    """

    complete: bool
    tokens: int = 0
    padded: int = 0
    billed: int = 0
    seconds: float = 0.0
    read_back: int = 0
    read_back_tokens: int = 0
    """Chunks, and their tokens, whose vectors were in the spool already."""
    reused: int = 0
    reused_tokens: int = 0
    """Chunks, and their tokens, whose text was embedded before: by another run, or elsewhere in this shard."""
    unavailable: EncoderUnavailable | None = None
    """Why no vectors can be had for now."""
    device: str = ""
    """The last one that it was on."""
    dim: int = 0
    provenance: dict[str, str] = field(default_factory=dict)
    """Of the encoder that made the vectors."""


class Embedder:
    """Embeds shards, several at the same time, each on one device. `flush_seconds` bounds what a kill can cost."""

    def __init__(
        self,
        devices: Devices,
        *,
        slots_directory: Path,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        stopped: Callable[[], bool],
        note: Callable[[str], None],
        advanced: Callable[[int], None],
        stage: Callable[[str], None],
        reused: Callable[[int], None] = lambda tokens: None,
        flush_seconds: float = 2.0,
        cache: Cache | None = None,
        donors: Donors = no_donors,
        priority: int = SCHEDULED,
        aside: Aside | None = None,
        tell: Listener = nobody,
    ) -> None:
        """`aside`: work of others that is done between our batches, while the slot is ours."""
        self._devices, self._clock, self._stopped = devices, clock, stopped
        self._advanced, self._reused, self._stage = advanced, reused, stage
        self._makes_turn = partial(
            Turn,
            where=slots_directory,
            priority=priority,
            aside=aside or NoAside(),
            clock=clock,
            sleep=sleep,
            stopped=stopped,
            note=note,
            tell=tell,
        )
        self._turns: dict[str, Turn] = {}
        self._flush_seconds = flush_seconds
        self._cache, self._donors = cache or NoCache(), donors
        self._remembers = cache is not None and not isinstance(cache, NoCache)
        self._claims = Claims()
        self._counting, self._finding = Lock(), Lock()
        self._busy, self._since = 0, 0.0
        self.seconds = 0.0
        """How long at least one device was embedding."""
        self.load_seconds = 0.0
        """How long somebody waited for a model."""

    def embed(self, shard: Shard) -> Embedded:
        """Make every vector of the shard, but for those that are there; blocks until a device and its slot are ours."""
        result = Embedded(complete=True)
        if shard.marker.chunks == 0:
            return result
        try:
            encoder = self._loaded()
            result.complete = encoder is not None and self._embed(shard, encoder, result)
        except EncoderUnavailable as error:
            result.complete, result.unavailable = False, error
        return result

    def _loaded(self) -> Encoder | None:
        with self._finding:
            started = self._clock()
            try:
                return self._devices.first()
            finally:
                self.load_seconds += self._clock() - started

    def _embed(self, shard: Shard, encoder: Encoder, result: Embedded) -> bool:
        result.dim, result.provenance = encoder.dim, {**encoder.provenance}
        with closing(Filling(shard, encoder, self._cache)) as filling:
            # Claimed first and looked up then: what another shard lets go of in between is in the cache already.
            claim = self._claims.claim(filling.keys if self._remembers else ())
            try:
                with self._finding:  # one at a time: a reader of the index is no small thing
                    filling.cached(filling.keys)
                    filling.donated(self._donors)
                theirs = claim.theirs.intersection(filling.keys)
                if not self._on_devices(filling, theirs, result):
                    return False
                if theirs:
                    if not claim.settled(self._stopped):
                        return False
                    filling.cached(theirs)
                    return self._on_devices(filling, (), result)
                return True
            finally:
                filling.flush()
                self._claims.release(claim)
                if filling.reused_tokens:
                    self._reused(filling.reused_tokens)
                result.read_back, result.read_back_tokens = filling.read_back, filling.read_back_tokens
                result.reused, result.reused_tokens = filling.reused, filling.reused_tokens

    def _on_devices(self, filling: Filling, but: Container[bytes], result: Embedded) -> bool:
        """Embed what is lacking `but` these keys, on one device after the other where one is lost."""
        while len(filling.pending(but)):
            with self._devices.borrowed() as device:
                if device is None or not self._on(device, filling, but, result):
                    return False
        return True

    def _on(self, device: Device, filling: Filling, but: Container[bytes], result: Embedded) -> bool:
        """Embed what is lacking `but` these keys on this device. False if a stop was requested first."""
        turn = self._turn(device)
        while True:
            with turn.taken() as held:
                if not held:
                    return False
                if turn.waited:
                    filling.cached(list(filling.keys))  # whoever held the device may have embedded the same texts
                match self._in_turn(turn, filling, but, result):
                    case Wish.NOTHING:
                        return True
                    case Wish.STOP:
                        return False
                    case _:
                        pass  # given way: the slot is let go of, and queued up for again

    def _in_turn(self, turn: Turn, filling: Filling, but: Container[bytes], result: Embedded) -> Wish:
        """Embed what is lacking while the slot is ours: why that ended. `NOTHING` if all is there."""
        wish = turn.look(begun=False)
        while True:
            match wish:
                case Wish.ASIDE:
                    turn.serve()
                case Wish.THE_DEVICE:
                    turn.give()
                    return wish
                case Wish.STOP:
                    return wish
            positions = filling.pending(but)
            if not len(positions):
                turn.ends()
                return Wish.NOTHING
            wish = self._timed(turn, filling, positions, result)

    def _timed(self, turn: Turn, filling: Filling, positions: NDArray[np.int64], result: Embedded) -> Wish:
        self._stage("embedding")
        result.device = turn.device.name
        result.provenance = {**turn.device.encoder.provenance}
        started = self._begins()
        try:
            return self._encode(turn, filling, positions, result)
        finally:
            result.seconds += self._ends() - started
            filling.flush()  # while the slot is ours: who has it next looks for our vectors in the cache

    def _encode(self, turn: Turn, filling: Filling, positions: NDArray[np.int64], result: Embedded) -> Wish:
        """Until all came, or somebody wishes something of us. On return no batch is open."""
        left, last_flush = len(positions), self._clock()
        last_batch = last_flush
        with closing(filling.texts(positions)) as texts:
            batches = turn.device.encoder.encode([filling.ids[position] for position in positions], texts)
            try:
                for batch in batches:
                    filling.add(positions, batch)
                    left -= len(batch.positions) + len(batch.refused)
                    result.tokens += batch.tokens
                    result.padded += batch.padded
                    result.billed += batch.billed
                    self._advanced(batch.tokens)
                    now = self._clock()
                    turn.worked(now - last_batch)
                    last_batch = now
                    if now - last_flush >= self._flush_seconds:
                        filling.flush_beside()
                        last_flush = now
                    if left and (wish := turn.look()) is not Wish.NOTHING:
                        return wish
            finally:
                if isinstance(batches, Generator):
                    batches.close()  # now, and not when somebody collects it: the device is given back
        if left:
            raise RuntimeError(f"the encoder returned {left} vectors too few; nothing was committed")
        return Wish.NOTHING

    def _turn(self, device: Device) -> Turn:
        with self._counting:
            if device.name not in self._turns:
                self._turns[device.name] = self._makes_turn(device)
            return self._turns[device.name]

    def _begins(self) -> float:
        with self._counting:
            now = self._clock()
            if not self._busy:
                self._since = now
            self._busy += 1
            return now

    def _ends(self) -> float:
        with self._counting:
            now = self._clock()
            self._busy -= 1
            if not self._busy:
                self.seconds += now - self._since
            return now
