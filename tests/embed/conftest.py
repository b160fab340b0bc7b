"""The real default model, loaded once for all tests of embed."""

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
