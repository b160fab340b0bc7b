"""Vectors to measure with: real embeddings, and as many more as wanted, each a real one with seeded noise.

Row n of `noisy(real, ...)` is a real embedding drawn at random, plus Gaussian noise whose length is drawn between 0
and `noise` times that of the embedding, at unit length again. Blocks of `BLOCK` rows have a seed each, so any part of a
million can be made alone, and the same every time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from corpus import ROOT, made_up
from numpy.typing import NDArray

BLOCK = 16_384
SEED = 20261121


def block(real: NDArray[np.float32], number: int, count: int, noise: float, seed: int) -> NDArray[np.float32]:
    """Block `number` of the vectors made of `real` (n, d): float32 (count, d), unit norm."""
    rng = np.random.default_rng([seed, number])
    chosen = real[rng.integers(0, len(real), count)]
    lengths = rng.random((count, 1), dtype=np.float32) * np.float32(noise / np.sqrt(real.shape[1]))
    made = chosen + lengths * rng.standard_normal(chosen.shape, dtype=np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def noisy(real: NDArray[np.float32], count: int, noise: float, seed: int = SEED) -> Iterator[NDArray[np.float32]]:
    """Yield `count` vectors in blocks of at most `BLOCK`."""
    for number, start in enumerate(range(0, count, BLOCK)):
        yield block(real, number, min(BLOCK, count - start), noise, seed)


def real(texts: Sequence[Path], limit: int, model: str | None = None) -> NDArray[np.float32]:
    """Embeddings, float32 (at most `limit`, d), of the chunks of `texts` (folders of .txt and .md, JSON Lines).

    Without any: the bundled examples, and text made of this project's own documents.
    """
    from penstock.embed import models
    from penstock.embed.chunking.chunk import chunk
    from penstock.embed.engine import encoder

    engine = encoder.load(model or models.DEFAULT)
    with tempfile.TemporaryDirectory() as scratch:
        places = list(texts) or [ROOT / "examples" / "documents", *made_up(Path(scratch), limit * 800 / 1e6)]
        ids = [piece.ids for text in _texts(places) for piece in chunk(text, tokenizer=engine.tokenizer, overlap=0)]
    vectors = np.empty((min(limit, len(ids)), engine.dim), dtype=np.float32)
    for batch in engine.encode(ids[:limit]):
        vectors[batch.positions] = batch.vectors
    return vectors


def _texts(places: Sequence[Path]) -> Iterator[str]:
    for place in places:
        if place.is_dir():
            files = sorted(path for path in place.rglob("*") if path.suffix in (".txt", ".md"))
            yield from (path.read_text(errors="replace") for path in files)
        else:
            rows = (json.loads(line) for line in place.read_text().splitlines() if line.strip())
            yield from (f"{row.get('title', '')}\n{row.get('text', '')}" for row in rows)
