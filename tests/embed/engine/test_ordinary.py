"""The ordinary path makes of token ids what sentence-transformers makes of the text, for every kind of model."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed import models, tokenize
from penstock.embed.engine import parity
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.engine.shapes import Shapes
from penstock.embed.models import Model, UnknownModel
from penstock.embed.types import TokenIds
from tests.embed.variants import TEXTS, variants

Made = Callable[[str], Path]
ONE_BY_ONE = ("fnet without a mask", "convbert over its padding")


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
    assert ordinary.note == "" or name in ONE_BY_ONE
    for tokenizer in (tokenize.document_tokenizer(model), tokenize.query_tokenizer(model)):
        fits = [text for text in TEXTS if 0 < len(tokenizer.encode(text)) <= model.max_tokens]
        expected = ordinary.network.encode(
            fits, prompt=tokenizer.prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False
        )
        found = embed(ordinary, [tokenizer.encode(text) for text in fits], tokenizer.prompt)
        assert len(fits) > 6
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["bert prompt left out", "gpt2 without padding", "t5 encoder", "static", *ONE_BY_ONE])
def test_the_longest_text_and_the_shortest_agree(made: Made, name: str) -> None:
    """The whole probe passes, and every vector is its own to the last bit."""
    model = models.resolve(str(made(name)))
    ordinary = Ordinary.load(model, "cpu")
    tokenizer = tokenize.document_tokenizer(model)

    def candidate(ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        return embed(ordinary, list(ids), model.document_prompt)

    found = parity.probe(candidate, ordinary.network, tokenizer, model.max_tokens, least=parity.EXACT)
    assert (found.why_not, found.longest) == (None, model.max_tokens)
    assert parity.invariant(candidate, tokenizer, model.max_tokens) is None


@pytest.mark.parametrize("name", ["bert mean", "bert not normalised", "static"])
def test_fewer_dimensions_are_those_of_truncate_dim(made: Made, name: str) -> None:
    """Cut first, normalised afterwards."""
    path = str(made(name))
    model, whole = models.resolve(path, truncate_dim=10), Ordinary.load(models.resolve(path), "cpu")
    expected = whole.network.encode(TEXTS[0], normalize_embeddings=True, truncate_dim=10)
    found = embed(Ordinary.load(model, "cpu"), [tokenize.document_tokenizer(model).encode(TEXTS[0])], "")
    assert np.abs(found[0] - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["bert dense", "bert weighted layers", "modernbert mean", "qwen last token", "static"])
def test_a_lower_precision_is_near(made: Made, name: str) -> None:
    """The transformer alone is computed in it."""
    model = models.resolve(str(made(name)))
    ordinary = Ordinary.load(model, "cpu")
    ids = [tokenize.document_tokenizer(model).encode(text) for text in TEXTS[:3]]
    exact = embed(ordinary, ids, "")
    ordinary.lower("bfloat16")
    assert (embed(ordinary, ids, "") * exact).sum(axis=1).min() > 0.99


@pytest.fixture
def spoiled(made: Made, tmp_path: Path) -> Callable[[str, str, dict[str, object]], Model]:
    """A variant with changes to one of its files of settings, found again."""

    def spoil(name: str, file: str, changes: dict[str, object]) -> Model:
        path = Path(shutil.copytree(made(name), tmp_path / "spoiled"))
        said = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps({**said, **changes}))
        return models.resolve(str(path))

    return spoil


CHAT = {"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}}
FOREIGN = {"auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}, "model_type": "mine"}


@pytest.mark.parametrize(
    ("file", "changes", "why"),
    [
        ("config.json", FOREIGN, r"code of its own \(trust_remote_code\), which is not run"),
        ("sentence_bert_config.json", {"max_seq_length": 100}, "positions for 64 tokens, its files state 100"),
        ("1_Pooling/config.json", {"embedding_dimension": 20}, "state 20 dimensions, it makes 32"),
        ("sentence_bert_config.json", {**CHAT, "module_output_name": "token_embeddings"}, "takes no plain text"),
    ],
)
def test_a_model_that_is_not_what_its_files_say_is_refused(
    spoiled: Callable[[str, str, dict[str, object]], Model], file: str, changes: dict[str, object], why: str
) -> None:
    """In one line that says what is wrong; none of its code is run."""
    with pytest.raises(UnknownModel, match=why) as caught:
        Ordinary.load(spoiled("bert mean", file, changes), "cpu")
    assert "\n" not in str(caught.value)


def test_a_model_whose_tokens_would_be_others_is_refused(
    spoiled: Callable[[str, str, dict[str, object]], Model],
) -> None:
    """Were it only that sentence-transformers asks for another first token: all vectors would differ."""
    model = spoiled("bert mean", "tokenizer.json", {"post_processor": None})
    (model.path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 64, "cls_token": "[CLS]"})
    )
    with pytest.raises(UnknownModel, match=r"token ids differ.*save its tokenizer again"):
        Ordinary.load(model, "cpu")


def test_a_tokenizer_that_cuts_texts_is_named_with_what_to_do(
    spoiled: Callable[[str, str, dict[str, object]], Model],
) -> None:
    """A static embedding follows what its tokenizer.json says of length; the ids until there are the same."""
    cut = {"max_length": 80, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    model = spoiled("static", "tokenizer.json", {"truncation": cut})
    ordinary, tokenizer = Ordinary.load(model, "cpu"), tokenize.document_tokenizer(model)
    found = parity.probe(lambda ids: pytest.fail("asked"), ordinary.network, tokenizer, model.max_tokens)
    assert found.why_not is not None and found.why_not.startswith("sentence-transformers cuts texts at 80 tokens")
    file = model.tokenizer / "tokenizer.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "truncation": {**cut, "max_length": 20}}))
    with pytest.raises(UnknownModel, match=r'at 20 tokens.* write "truncation": null into its tokenizer.json$'):
        Ordinary.load(model, "cpu")
    file.write_text(json.dumps({**said, "truncation": None}))
    mended = Ordinary.load(model, "cpu").network
    assert parity.other_ids(mended, tokenizer, parity.texts(mended, tokenizer, model.max_tokens)) is None
