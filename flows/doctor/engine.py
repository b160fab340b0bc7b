"""The model: whether it loads, on what, in which way, and how fast it is for a moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from penstock.embed.types import Chunk, Encoder
from penstock.flows.answers.doctor import Engine, Finding

SECONDS = 3.0
WARM, MOST = 8, 131_072
"""Chunks that are embedded first, so that all is in place; and at once, at most."""


class Model(Protocol):
    """A model that is being loaded."""

    def ready(self) -> Encoder: ...

    def close(self) -> None: ...


def looked_at(
    slot: str,
    model: Model,
    chunks: Sequence[Chunk],
    clock: Callable[[], float],
    held: AbstractContextManager[bool],
    *,
    remote: bool = False,
) -> tuple[Engine, list[Finding]]:
    """Wait for the model, and measure it unless another run holds the device. Raises what loading raises.

    `held`: the device's slot, if nobody has it at this moment. `remote`: each token may cost money; `chunks` are
    embedded once, and nothing is measured.
    """
    began = clock()
    encoder = model.ready()
    took = clock() - began
    provenance = dict(encoder.provenance)
    if remote:
        return Engine(slot, took, None, None, provenance), _refused(encoder, chunks)
    with held as ours:
        if not ours or not chunks:
            said = "another run is using it" if chunks else "there was no sample"
            note = Finding("note", f"the speed of {slot} was not measured: {said}")
            return Engine(slot, took, None, None, provenance), [note, *_ordinary(provenance)]
        refused = _refused(encoder, chunks[:WARM])
        rate, padding = _speed(encoder, chunks, clock)
    return Engine(slot, took, rate, padding, provenance), [*refused, *_ordinary(provenance)]


def _refused(encoder: Encoder, chunks: Sequence[Chunk]) -> list[Finding]:
    """Embed; what no vector was made of is a finding. All is in place afterwards: compiled, allocated, warm."""
    batches = encoder.encode([chunk.ids for chunk in chunks], [chunk.text for chunk in chunks])
    why = {refused.detail for batch in batches for refused in batch.refused}
    return [Finding("warning", f"no vector was made of a plain sample: {detail}") for detail in sorted(why)]


def _ordinary(provenance: dict[str, str]) -> list[Finding]:
    if provenance.get("path", "fast") != "ordinary":
        return []
    why = provenance.get("path_why", "")
    return [Finding("note", f"the model goes the ordinary way{f' ({why})' if why else ''}: slower than it could be")]


def _speed(encoder: Encoder, chunks: Sequence[Chunk], clock: Callable[[], float]) -> tuple[float, float]:
    """(tokens/s, share of padding) in about `SECONDS`, on portions that take a noticeable time each."""

    def embed(some: Sequence[Chunk]) -> tuple[int, int, float]:
        began = clock()
        batches = list(encoder.encode([chunk.ids for chunk in some], [chunk.text for chunk in some]))
        spent = clock() - began
        return sum(batch.tokens for batch in batches), sum(batch.padded for batch in batches), spent

    portion, spent = WARM, 0.0
    tokens, padded, took = 0, 0, 0.0
    while spent < SECONDS:
        found = embed([chunks[k % len(chunks)] for k in range(portion)])
        spent += found[2]
        if found[2] < SECONDS / 10 and portion < MOST:
            portion *= 4  # too little to saturate it; what was measured says nothing
            tokens, padded, took = 0, 0, 0.0
        else:
            tokens, padded, took = tokens + found[0], padded + found[1], took + found[2]
    return tokens / max(took, 1e-9), 1 - tokens / padded if padded else 0.0
