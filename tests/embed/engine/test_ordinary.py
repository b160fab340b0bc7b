"""The ordinary path makes of token ids what sentence-transformers makes of the text, for every kind of model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed import models, tokenize
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.shapes import Shapes
from penstock.embed.types import TokenIds
from tests.embed.variants import TEXTS, variants

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Makes a variant once."""
    folder, done = tmp_path_factory.mktemp("variants"), dict[str, Path]()

    def make(name: str) -> Path:
        if name not in done:
            done[name] = folder / name.replace(" ", "-")
            variants()[name](done[name])
        return done[name]

    yield make


def embed(ordinary: Ordinary, ids: list[TokenIds], prompt: str) -> NDArray[np.float32]:
    shapes = Shapes(max_length=ordinary.model.max_tokens, budget=256)
    out = np.empty((len(ids), ordinary.model.dim), dtype=np.float32)
    for batch in shapes.pack([len(sequence) for sequence in ids]):
        rows = [ids[position] for position in batch.positions]
        out[list(batch.positions)] = ordinary.forward(
            rows, batch.rows, batch.length, prompt=ordinary.prompt_tokens(prompt)
        )
    return out


@pytest.mark.parametrize("name", variants())
def test_vectors_are_those_of_sentence_transformers(made: Made, name: str) -> None:
    """Each text alone, with the prompt of documents and that of questions."""
    model = models.resolve(str(made(name)))
    ordinary = Ordinary.load(model, "cpu")
    assert ordinary.note == ""
    for tokenizer in (tokenize.document_tokenizer(model), tokenize.query_tokenizer(model)):
        fits = [text for text in TEXTS if 0 < len(tokenizer.encode(text)) <= model.max_tokens]
        expected = ordinary.network.encode(
            fits, prompt=tokenizer.prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False
        )
        found = embed(ordinary, [tokenizer.encode(text) for text in fits], tokenizer.prompt)
        assert len(fits) > 6
        assert np.abs(found - expected).max() < 1e-5
