"""The ids are the model's own: those that sentence-transformers would feed it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from penstock.embed import models, tokenize
from penstock.embed.engine.ordinary import slow_tokenizer
from penstock.embed.models import Model, UnknownModel
from penstock.embed.tokenize import Tokenizer

TEXTS = ["", "Hello, World!", "naïve café — 東京 £5 don't", "a\x00b\u200bc", "x" * 150, "[SEP] [MASK]", "é\u0301"]


def test_ids_are_those_of_sentence_transformers(model: Model, tokenizer: Tokenizer) -> None:
    """Specials, lower-casing, accents and control characters included."""
    network = SentenceTransformer(str(model.path), device="cpu")
    for text in TEXTS:
        theirs = network.preprocess([text])["input_ids"][0].tolist()
        assert list(tokenizer.encode(text)) == theirs


def test_nothing_is_truncated_or_padded(tokenizer: Tokenizer) -> None:
    """tokenizer.json asks for 128 tokens; we count all there are."""
    assert len(tokenizer.encode("word " * 1000)) == 1002
    assert [len(ids) for ids in tokenizer.encode_batch(["word", "word " * 300])] == [3, 302]


@given(text=st.text(max_size=80))
def test_span_and_encode_agree(tokenizer: Tokenizer, text: str) -> None:
    """The span's ids between the specials are the encoded text, and its offsets lie in the text in order."""
    span = tokenizer.span(text)
    assert tokenizer.prefix + tuple(span.ids.tolist()) + tokenizer.suffix == tokenizer.encode(text)
    assert all(0 <= s <= e <= len(text) for s, e in zip(span.starts, span.ends, strict=True))
    assert (span.starts[1:] >= span.starts[:-1]).all()


def test_a_prompt_is_part_of_the_ids_and_of_their_count(model: Model) -> None:
    """What is counted is what is embedded, prompt included."""
    prompted = Tokenizer(tokenize._backend(model), max_tokens=256, prompt="query: ")
    plain = tokenize.document_tokenizer(model)
    assert prompted.encode("wing") == plain.encode("query: wing")
    assert len(prompted.encode("wing")) == prompted.overhead + 1
    assert prompted.head == plain.encode("query:")[:-1]


def test_a_model_without_tokenizer_json_gets_the_same_ids(model: Model) -> None:
    """The fallback through transformers makes the tokenizer that the file would have given."""
    fallback = Tokenizer(slow_tokenizer(model), max_tokens=256)
    plain = tokenize.document_tokenizer(model)
    assert all(fallback.encode(text) == plain.encode(text) for text in TEXTS)


def test_a_damaged_tokenizer_is_one_clear_line(model: Model, tmp_path: Path) -> None:
    """The error names the model and the file."""
    (tmp_path / "tokenizer.json").write_text('{"half": ')
    broken = models.Model(name="mine", path=tmp_path, max_tokens=256, dim=384, pooling="mean")
    with pytest.raises(UnknownModel, match=r"model mine: .*tokenizer\.json"):
        tokenize.document_tokenizer(broken)
