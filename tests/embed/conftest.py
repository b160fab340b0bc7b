"""The real default model, loaded once for all tests of embed."""

import shutil
from pathlib import Path

import pytest

from penstock.embed import models, tokenize
from penstock.embed.engine import encoder


@pytest.fixture(scope="session")
def model() -> models.Model:
    return models.resolve()


@pytest.fixture(scope="session")
def tokenizer(model: models.Model) -> tokenize.Tokenizer:
    return tokenize.document_tokenizer(model)


@pytest.fixture(scope="session")
def loaded(model: models.Model) -> encoder.TorchEncoder:
    return encoder.load(model)


@pytest.fixture
def light(model: models.Model, tmp_path: Path) -> Path:
    """A copy of the default model's directory, with a file of no weights in place of its own."""
    folder = Path(
        shutil.copytree(model.path, tmp_path / "light", ignore=shutil.ignore_patterns("*.safetensors", "data*"))
    )
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder
