"""What a model's files say is understood however they were saved, and what cannot be used is refused by them."""

import json
from pathlib import Path

import pytest

from penstock.embed import models
from penstock.embed.models import Model, UnknownModel


def pooled(light: Path, settings: dict[str, object]) -> Model:
    (light / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 384, **settings}))
    return models.resolve(str(light))


@pytest.mark.parametrize(
    ("old", "new", "name", "dim"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}, "cls", 384),
        (
            {"pooling_mode_mean_sqrt_len_tokens": True},
            {"pooling_mode": "mean_sqrt_len_tokens"},
            "mean_sqrt_len",
            384,
        ),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            {"pooling_mode": ["cls", "mean"]},
            "cls+mean",
            768,
        ),
        ({"pooling_mode_lasttoken": True}, {"pooling_mode": ["lasttoken"]}, "lasttoken", 384),
        ({"pooling_mode_cls_token": False}, {"pooling_mode": "mean"}, "mean", 384),
    ],
)
def test_a_pooling_has_one_name_however_it_was_saved(
    light: Path, old: dict[str, object], new: dict[str, object], name: str, dim: int
) -> None:
    """Releases of sentence-transformers write it differently; identities must not."""
    before = models.identity(pooled(light, old))
    assert before == models.identity(pooled(light, new))
    assert (before["pooling"], before["dim"]) == (name, str(dim))


def test_a_prompt_outside_of_pooling_is_in_the_identity(light: Path) -> None:
    """Only where there is a prompt: without one it makes no difference."""
    model = pooled(light, {"pooling_mode": "mean", "include_prompt": False})
    assert not model.pool_prompt and "pool_prompt" not in models.identity(model)
    prompted = models.resolve(str(light), document_prompt="text: ")
    assert models.identity(prompted)["pool_prompt"] == "no"


def test_a_model_whose_first_part_has_a_folder_of_its_own_is_the_same_model(light: Path) -> None:
    """As early releases saved it: configuration, weights and tokenizer in `0_Transformer`."""
    before = models.model_identity(str(light))
    inner = light / "0_Transformer"
    inner.mkdir()
    for file in [file for file in light.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(inner / file.name)
    modules = json.loads((light / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (light / "modules.json").write_text(json.dumps(modules))
    assert models.model_identity(str(light)) == before


@pytest.mark.parametrize(("stated", "expected"), [(None, 510), (512, 510), (128, 128)])
def test_positions_that_are_counted_from_the_padding_are_fewer(light: Path, stated: int | None, expected: int) -> None:
    """RoBERTa and its kin: 512 position embeddings hold 510 tokens; a longer text would be out of range."""
    config = json.loads((light / "config.json").read_text()) | {"model_type": "roberta", "pad_token_id": 1}
    (light / "config.json").write_text(json.dumps(config))
    (light / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": stated}))
    assert models.resolve(str(light)).max_tokens == expected


def modules(light: Path, *kinds: str) -> None:
    listed = [{"type": kind, "path": "" if not k else f"{k}_Part"} for k, kind in enumerate(kinds)]
    (light / "modules.json").write_text(json.dumps(listed))


REFUSED = {
    "code of its own": (lambda light: modules(light, "modeling_mine.Encoder"), r"modeling_mine.Encoder.*not run"),
    "another package's code": (
        lambda light: modules(light, "sentence_transformers.models.Transformer", "pylate.models.Dense"),
        r"pylate.models.Dense.*trust_remote_code",
    ),
    "images": (lambda light: modules(light, "sentence_transformers.models.CLIPModel"), "CLIPModel is no text encoder"),
    "two routes": (lambda light: modules(light, "sentence_transformers.models.Router"), "Router is no text encoder"),
    "sparse": (
        lambda light: (light / "config_sentence_transformers.json").write_text('{"model_type": "SparseEncoder"}'),
        "SparseEncoder",
    ),
    "adapter": (
        lambda light: (light / "config.json").rename(light / "adapter_config.json"),
        "merge it into its base model",
    ),
    "outside": (
        lambda light: (light / "modules.json").write_text(
            '[{"type": "sentence_transformers.models.Transformer", "path": "../elsewhere"}]'
        ),
        "outside",
    ),
    "unknown pooling": (
        lambda light: (light / "1_Pooling/config.json").write_text('{"pooling_mode": "median"}'),
        "median is not known",
    ),
    "expanded queries": (
        lambda light: (light / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "query_length": 32}'),
        "query_length",
    ),
    "no length": (
        lambda light: [
            (light / name).write_text(text)
            for name, text in {
                "sentence_bert_config.json": "{}",
                "tokenizer_config.json": "{}",
                "config.json": '{"hidden_size": 384}',
            }.items()
        ],
        "how long a text it takes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_its_files(light: Path, case: str) -> None:
    """Before anything is loaded, in one line that names the model."""
    spoil, why = REFUSED[case]
    spoil(light)  # type: ignore[no-untyped-call]
    with pytest.raises(UnknownModel, match=why) as caught:
        models.resolve(str(light))
    assert str(caught.value).startswith(f"model {light}: ") and "\n" not in str(caught.value)


def test_an_activation_of_its_own_is_refused(light: Path) -> None:
    """sentence-transformers would take another in its place and say so in a warning."""
    modules(light, "sentence_transformers.models.Transformer", "sentence_transformers.models.Dense")
    (light / "1_Part").mkdir()
    (light / "1_Part" / "config.json").write_text('{"out_features": 8, "activation_function": "mine.Swish"}')
    with pytest.raises(UnknownModel, match=r"mine.Swish"):
        models.resolve(str(light))


HEADER = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
WHOLE = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", b"{"),
        ("modules.json", b"[]"),
        ("modules.json", b"{}"),
        ("modules.json", b'["Transformer"]'),
        ("modules.json", b""),
        ("config.json", b'{"hidden_size": 38'),
        ("config_sentence_transformers.json", b"\xff"),
        ("sentence_bert_config.json", b"{'max_seq_length': 9}"),
        ("1_Pooling/config.json", b""),
        ("model.safetensors", b""),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
        ("model.safetensors", WHOLE[:5]),
        ("model.safetensors", WHOLE[:20]),
        ("model.safetensors", WHOLE[:-1]),
        ("model.safetensors", WHOLE + b"\0"),
        ("model.safetensors", WHOLE.replace(b"data_offsets", b"data_offzets")),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("model.safetensors", (2**63).to_bytes(8, "little") + WHOLE[8:]),
        (INDEX, b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'),
        (INDEX, b"{"),
    ],
)
def test_a_file_that_is_damaged_or_cut_is_named(light: Path, file: str, content: bytes) -> None:
    """Before anything is loaded: a copy that was interrupted, a pointer in place of the file, half a save."""
    (light / file).write_bytes(content)
    with pytest.raises(UnknownModel, match="damaged or incomplete: download or save") as caught:
        models.resolve(str(light))
    named = "model-00002-of-00002.safetensors" if b"00002" in content else file
    assert str(light / named) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_whole_are_taken(light: Path) -> None:
    """In one file or in several, with or without a note of its own in the header."""
    (light / "model.safetensors").unlink()
    for name in ("one", "two"):
        (light / f"{name}.safetensors").write_bytes(WHOLE)
    noted = HEADER.replace(b'{"a"', b'{"__metadata__":{"format":"pt"},"a"')
    (light / "two.safetensors").write_bytes(len(noted).to_bytes(8, "little") + noted + bytes(8))
    (light / INDEX).write_text('{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}')
    assert models.resolve(str(light)).dim == 384
