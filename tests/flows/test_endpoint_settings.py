"""`[embed.endpoint]`: refused with the key and the fix where it is wrong; what it makes of a space."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.flows import model_wiring
from penstock.flows.config.settings import SettingsError, load
from penstock.flows.runs import endpoint_terms

URL = "https://api.example.com/v1"


def configured(folder: Path, table: str, embed: str = "") -> Path:
    file = folder / "penstock.toml"
    file.write_text(f'[embed]\nmodel = "text-embedding-3-small"\n{embed}\n[embed.endpoint]\n{table}\n')
    return file


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", r"embed\.endpoint\.url is missing"),
        ('url = "ftp://x"', r"embed\.endpoint\.url is no http address"),
        ('url = "https://me:HUSH@x/v1"', r"embed\.endpoint\.url has a user"),
        (f'url = "{URL}"\nkey = "HUSH"', r"embed\.endpoint\.key is a secret"),
        (f'url = "{URL}"\nheaders = {{ api-key = "HUSH" }}', r"headers\.api-key looks like a secret"),
        ('url = "http://x/v1"\nkey = "${K}"', "travel in clear"),
        (f'url = "{URL}"\nkeey = "${{K}}"', "did you mean key"),
        (f'url = "{URL}"\nmax_items = 0', r"embed\.endpoint\.max_items = 0"),
        (f'url = "{URL}"\nallow = ["10.0.0.0/99"]', r"embed\.endpoint\.allow"),
        (f'url = "{URL}"\nmax_text_tokens = 9000\nmax_request_tokens = 8000', "set max_request_tokens to 9000"),
        (f'url = "{URL}"\ntokens_per_minute = 8000', "fit into the minute"),
        (f'url = "{URL}"\nencoding = "int8"', r"embed\.endpoint\.encoding = 'int8'"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(tmp_path: Path, table: str, said: str) -> None:
    """One line, before anybody is asked; a secret that was written by mistake is not repeated."""
    with pytest.raises(SettingsError, match=said) as error:
        load(configured(tmp_path, table))
    assert "HUSH" not in str(error.value)


@pytest.mark.parametrize(
    ("embed", "fix"),
    [
        ("truncate_dim = 256", r"embed\.endpoint\.dimensions"),
        ('dtype = "auto"', "leave it out"),
        ('device = "cpu"', "leave it out"),
        ('devices = ["cuda:0"]', "leave it out"),
    ],
)
def test_what_is_for_this_machine_is_refused_beside_an_endpoint(tmp_path: Path, embed: str, fix: str) -> None:
    """It would have no effect, and nobody would notice."""
    key = embed.partition(" ")[0]
    with pytest.raises(SettingsError, match=rf"embed\.{key} has no effect beside \[embed\.endpoint\].*{fix}"):
        load(configured(tmp_path, f'url = "{URL}"', embed))


def test_a_space_is_the_model_and_not_its_address(tmp_path: Path) -> None:
    """Another host, key or limit: the same space. Another model, dimension, prompt or revision: another one."""

    def identity(table: str, embed: str = "") -> dict[str, str]:
        return model_wiring.identity(load(configured(tmp_path, table, embed)))

    base = identity(f'url = "{URL}"')
    assert base["model"] == "text-embedding-3-small" and base["tokenizer"] == "estimate-1"
    assert identity('url = "https://other.example.com/api/v1"\nmax_items = 7\nkey = "${K}"') == base
    for table, embed in (("dimensions = 256", ""), ('revision = "2"', ""), ("", 'query_prompt = "q: "')):
        assert identity(f'url = "{URL}"\n{table}', embed) != base
    assert identity(f'url = "{URL}"\ntokenizer = "all-MiniLM-L6-v2"') != base
    own = model_wiring.model_identity(load(configured(tmp_path, f'url = "{URL}"\ntokenizer = "all-MiniLM-L6-v2"')))
    assert own == model_wiring.model_identity(load(configured(tmp_path, f'url = "{URL}"'))), (
        "a vector is that of its text"
    )


def test_chunks_are_no_longer_than_models_are_trained_on(tmp_path: Path) -> None:
    """Although the endpoint takes texts of 8191 tokens; whoever wants them says so."""
    settings = load(configured(tmp_path, f'url = "{URL}"'))
    assert endpoint_terms.terms(settings).max_text_tokens == 8191
    assert model_wiring.identity(settings)["chunk_tokens"] == "512"
    longer = load(configured(tmp_path, f'url = "{URL}"', "chunk_tokens = 2000"))
    assert model_wiring.identity(longer)["chunk_tokens"] == "2000"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (URL, f"{URL}/embeddings"),
        (f"{URL}/", f"{URL}/embeddings"),
        (f"{URL}/embeddings", f"{URL}/embeddings"),
        ("https://x/openai/deployments/d?api-version=1", "https://x/openai/deployments/d/embeddings?api-version=1"),
    ],
)
def test_the_address_is_made_of_the_url(url: str, asked: str) -> None:
    """Up to `/v1`, or all of it; a query stays."""
    assert endpoint_terms.address(url) == asked
