"""The fastest path that is still the model is taken, and the reason is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.embed import models, tokenize
from penstock.embed.engine import encoder, parity
from penstock.embed.engine.anatomy import known
from penstock.embed.engine.encoder import TorchEncoder
from penstock.embed.engine.ordinary import Ordinary
from tests.embed.variants import TEXTS, variants

FAST = {"bert", "roberta", "xlm-roberta", "mpnet", "distilbert"}
SLOW = {"bert weighted layers", "bert convolution", "bert word weights", "bert prompt left out"}


def load(name: str, folder: Path, dtype: str = "float32") -> TorchEncoder:
    variants()[name](folder / "model")
    return encoder.load(str(folder / "model"), dtype=dtype)


@pytest.mark.parametrize("name", variants())
def test_each_kind_of_model_takes_its_path_and_stays_itself(name: str, tmp_path: Path) -> None:
    """Against sentence-transformers, for documents and questions, whatever the path."""
    loaded = load(name, tmp_path)
    expected_path = "fast" if name.split()[0] in FAST and name not in SLOW else "ordinary"
    assert loaded.provenance["path"] == expected_path, loaded.provenance["path_why"]
    network = Ordinary.load(loaded.model, "cpu").network
    fits = [text for text in TEXTS if 0 < len(loaded.tokenizer.encode(text)) <= loaded.max_tokens]
    vectors = np.empty((len(fits), loaded.dim), dtype=np.float32)
    for batch in loaded.encode([loaded.tokenizer.encode(text) for text in fits]):
        vectors[batch.positions] = batch.vectors
    for prompt, found in ((loaded.tokenizer.prompt, vectors), (loaded.model.query_prompt, None)):
        tokenizer = tokenize.query_tokenizer(loaded.model)
        said = fits if found is not None else [t for t in fits if len(tokenizer.encode(t)) <= loaded.max_tokens]
        ours = loaded.encode_queries(said) if found is None else found
        theirs = network.encode(said, prompt=prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
        assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("name", ["bert mean", "mpnet mean", "xlm-roberta cls", "bert prompt left out"])
def test_two_bytes_are_near_enough(name: str, tmp_path: Path) -> None:
    """The products in bf16, everything else in fp32."""
    loaded = load(name, tmp_path, "bfloat16")
    assert loaded.provenance["dtype"] == "bfloat16"


def test_a_path_that_fails_its_probe_is_not_taken_and_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast path whose bits depend on the company is no path."""
    monkeypatch.setattr(parity, "invariant", lambda *_: "a sequence of 9 tokens has other bits alone")
    loaded = load("bert mean", tmp_path)
    assert loaded.provenance["path"] == "ordinary"
    assert loaded.provenance["path_why"] == "a sequence of 9 tokens has other bits alone"


def test_a_model_that_even_the_ordinary_path_does_not_make_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown is never taken for success: no vector is made that nobody could compare."""

    def differs(*_: Any, **__: Any) -> parity.Parity:
        return parity.Parity(0.5, 3, 3, "token ids differ from those of sentence-transformers")

    monkeypatch.setattr(parity, "probe", differs)
    with pytest.raises(models.UnknownModel, match="token ids differ"):
        load("bert mean", tmp_path)


def test_a_format_that_was_asked_for_and_moves_vectors_is_refused(tmp_path: Path) -> None:
    """It is never silently replaced."""
    with pytest.raises(ValueError, match="use auto or float32"):
        load("t5 encoder", tmp_path, "bfloat16")


def test_the_families_with_a_fast_path_can_be_listed() -> None:
    """For the page about models."""
    assert {"BertModel", "MPNetModel", "DistilBertModel"} <= set(known())
