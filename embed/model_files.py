"""What the files of a saved model say about it: its parts, how long a text it takes, how wide its vectors are.

Read without loading anything. What cannot be used is refused here, before anybody waits for a model to load.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from penstock.embed import weights

_OURS = ("Transformer", "StaticEmbedding")
_AFTER = ("Pooling", "Dense", "LayerNorm", "Normalize", "Dropout", "CNN", "WeightedLayerPooling", "WordWeights")
_STATIC_TOKENS = 512  # a mean of words has no longest text: as long as most models' is
_TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Their positions are counted from the padding token's id + 1: so many fewer tokens than position embeddings.
_POSITIONS_AFTER_PAD = {
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
_AGAIN = "it is damaged or incomplete: download or save the model again"
_POOLING_ORDER = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")


class Refusal(Exception):
    """Why a model cannot be used, and what to do; without its name."""


class Part(NamedTuple):
    """One module of the chain: such as `Pooling`, where its files are, and its settings."""

    kind: str
    folder: Path
    settings: dict[str, Any]


class Files(NamedTuple):
    """What a model's files say. `first`: the folder of its first part, where the tokenizer is."""

    first: Path
    static: bool
    max_tokens: int
    dim: int
    pooling: str
    pool_prompt: bool
    lowercase: bool


def describe(path: Path) -> Files:
    """Read the model saved in the directory `path`. Raises `Refusal`."""
    parts = _parts(path)
    first = parts[0]
    config = read(first.folder / "config.json")
    if first.kind == "Transformer" and not config:
        if (path / "adapter_config.json").is_file():
            raise Refusal(f"{path} holds an adapter only; merge it into its base model and save that")
        raise Refusal(f"{path} has no readable config.json; give the directory of a saved model")
    if not weights.weight_files(path):
        raise Refusal(f"{path} has no weights (*.safetensors or pytorch_model.bin)")
    try:
        weights.check(path)
    except weights.Damaged as damage:
        raise Refusal(f"{damage}; {_AGAIN}") from None
    static = first.kind == "StaticEmbedding"
    pooling, dim = _out(parts, config, _static_dim(first.folder) if static else _hidden(config))
    return Files(
        first=first.folder,
        static=static,
        max_tokens=_STATIC_TOKENS if static else _max_tokens(path, first, config),
        dim=dim,
        pooling="mean" if static else pooling,
        pool_prompt=all(part.settings.get("include_prompt", True) for part in parts if part.kind == "Pooling"),
        lowercase=not static and bool(first.settings.get("do_lower_case")),
    )


def modules(path: Path) -> str:
    """Such as `Transformer,Pooling,Normalize`; not a digest of the files, whose wording changes with each save."""
    parts = []
    for module in _listed(path):
        kind = str(module.get("type", "")).rpartition(".")[2]
        activation = read(path / str(module.get("path") or ".") / "config.json").get("activation_function")
        parts.append(f"{kind}({activation})" if activation else kind)
    return ",".join(parts) or "Transformer,Pooling"


def tokenizer_files(folder: Path) -> list[Path]:
    """What the tokenizer is made from."""
    if (single := folder / "tokenizer.json").is_file():
        return [single]
    names = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
    return [folder / name for name in names if (folder / name).is_file()]


def read(file: Path) -> dict[str, Any]:
    """A JSON object, {} if there is none. Raises `Refusal` for a file that is damaged."""
    value = _json(file)
    return value if isinstance(value, dict) else {}


def _parts(path: Path) -> list[Part]:
    """The chain, checked. A model without modules.json is a transformer alone, as sentence-transformers has it."""
    kind = read(path / "config_sentence_transformers.json").get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise Refusal(f"it is a {kind}, which makes no dense vector of a text; give a SentenceTransformer")
    listed = _listed(path)
    if not listed:
        return [Part("Transformer", path, _transformer(path))]
    parts = []
    for position, module in enumerate(listed):
        said, where = str(module.get("type", "")), str(module.get("path") or ".")
        kind, folder = said.rpartition(".")[2], path / where
        if not said.startswith("sentence_transformers."):
            raise Refusal(f"its part {said} is code of its own (trust_remote_code), which is not run")
        if not folder.resolve().is_relative_to(path.resolve()):
            raise Refusal(f"its part {said} lies outside of {path}")
        if kind not in (_AFTER if position else _OURS):
            allowed = "no text encoder that is known here" if not position else "not supported after a text encoder"
            raise Refusal(f"its part {kind} is {allowed}")
        settings = _transformer(folder) if kind == "Transformer" else read(folder / "config.json")
        if kind == "CNN":
            settings = read(folder / "cnn_config.json")
        _check(kind, settings)
        parts.append(Part(kind, folder, settings))
    return parts


def _check(kind: str, settings: dict[str, Any]) -> None:
    """What sentence-transformers would do otherwise without a word, or cannot do on padded texts."""
    activation = settings.get("activation_function")
    if kind == "Dense" and isinstance(activation, str) and not activation.startswith("torch."):
        raise Refusal(f"its activation {activation} is code of its own (trust_remote_code), which is not run")
    if kind == "CNN" and any(stride != 1 for stride in settings.get("stride_sizes") or ()):
        raise Refusal("its CNN skips tokens (stride_sizes), which is not supported")
    if kind == "CNN" and any(size % 2 == 0 for size in settings.get("kernel_sizes") or ()):
        raise Refusal("its CNN has an even kernel, which is not supported")
    for key in ("query_length", "document_length", "query_expansion"):
        if kind == "Transformer" and settings.get(key):
            raise Refusal(f"it asks for {key}, which is for models with a vector per token")


def _max_tokens(path: Path, first: Part, config: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    stated = first.settings.get("max_seq_length")
    if config.get("model_type") in _POSITIONS_AFTER_PAD and isinstance(positions, int):
        positions -= int(config.get("pad_token_id") or 0) + 1
        stated = min(stated, positions) if isinstance(stated, int) else stated
    if isinstance(stated, int):
        return stated
    limits = [positions, read(first.folder / "tokenizer_config.json").get("model_max_length")]
    known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 0 < limit < 1_000_000]
    if not known:
        raise Refusal(f"it says nowhere how long a text it takes; set max_seq_length in {path}")
    return min(known)


def _out(parts: list[Part], config: dict[str, Any], dim: int) -> tuple[str, int]:
    """The pooling's name, and the width of what comes out after each part has had its say."""
    pooling = "mean"
    if _causal(config) and len(parts) == 1:
        pooling = "lasttoken"
    for _, _, settings in [part for part in parts if part.kind not in _OURS]:
        width = settings.get("embedding_dimension") or settings.get("word_embedding_dimension")
        modes = _modes(settings)
        if modes:
            pooling, dim = "+".join(modes), len(modes) * int(width or dim)
        elif kernels := settings.get("kernel_sizes"):
            dim = int(settings.get("out_channels") or 256) * len(kernels)
        else:
            dim = int(settings.get("out_features") or dim)
    return pooling, dim


def _modes(settings: dict[str, Any]) -> list[str]:
    """What a Pooling's settings ask for, in the order in which it is put together; [] if it is no Pooling."""
    if stated := settings.get("pooling_mode"):
        return [_short(mode) for mode in ([stated] if isinstance(stated, str) else stated)]
    known = [key for key in settings if key.startswith("pooling_mode_")]
    modes = [_short(key.removeprefix("pooling_mode_")) for key in known if settings[key] is True]
    return sorted(modes, key=_POOLING_ORDER.index) or (["mean"] if known else [])


def _short(mode: str) -> str:
    short = mode.removesuffix("_tokens").removesuffix("_token")
    if short not in _POOLING_ORDER:
        raise Refusal(f"its pooling {mode} is not known")
    return short


def _causal(config: dict[str, Any]) -> bool:
    """As sentence-transformers decides how to pool a model that does not say."""
    kinds = config.get("architectures") or [""]
    return str(kinds[0]).endswith("ForCausalLM") and bool(config.get("is_causal", True))


def _hidden(config: dict[str, Any]) -> int:
    for said in (config, config.get("text_config")):
        for key in ("hidden_size", "dim", "d_model", "n_embd"):
            if isinstance(said, dict) and isinstance(said.get(key), int):
                return int(said[key])
    return 0


def _static_dim(folder: Path) -> int:
    """The width of a table of words, from the header of its safetensors file."""
    try:
        return int(weights.header(folder / "model.safetensors")["embedding.weight"]["shape"][1])
    except (weights.Damaged, ValueError, KeyError, IndexError, TypeError):
        raise Refusal(f"{folder / 'model.safetensors'} holds no table of words; {_AGAIN}") from None


def _transformer(folder: Path) -> dict[str, Any]:
    return next((said for name in _TRANSFORMER_FILES if (said := read(folder / name))), {})


def _listed(path: Path) -> list[dict[str, Any]]:
    """The modules, [] if there is no modules.json."""
    file = path / "modules.json"
    if (value := _json(file)) is None:
        return []
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise Refusal(f"{file} is no list of modules; {_AGAIN}")
    return value


def _json(file: Path) -> Any:
    """What the file holds, None if there is none. Raises `Refusal`: half a file must not pass for no file."""
    try:
        return json.loads(file.read_bytes())
    except OSError:
        return None
    except ValueError:
        raise Refusal(f"{file} is not valid JSON; {_AGAIN}") from None
