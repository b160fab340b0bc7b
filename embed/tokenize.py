"""The one door to `tokenizers`: the model's own token ids, never truncated, never padded.

tokenizer.json is read directly, because importing transformers costs seconds that a plan does not need.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from penstock.embed.model_files import read
from penstock.embed.models import Model, UnknownModel


class Span(NamedTuple):
    """Tokens of a stretch of text without specials: `ids` int32 (n,), `starts` and `ends` int64 (n,) in characters."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class Tokenizer:
    """A model's tokenizer with one prompt: what `encode` returns is what the model is fed for that text."""

    def __init__(self, backend: tokenizers.Tokenizer, *, max_tokens: int, prompt: str = "") -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.max_tokens = max_tokens
        self.prompt = prompt
        layout = json.loads(backend.to_str())
        self.word_limit: int | None = None
        """A word of more characters than this becomes one unknown token: its content is lost to the model."""
        if layout["model"].get("type") == "WordPiece":
            self.word_limit = int(layout["model"].get("max_input_chars_per_word", 100))
        probe = backend.encode("a")
        inner = [k for k, special in enumerate(probe.special_tokens_mask) if not special]
        self.prefix = tuple(probe.ids[: inner[0]]) if inner else ()
        self.suffix = tuple(probe.ids[inner[-1] + 1 :]) if inner else ()
        self.overhead = len(self.prefix) + len(self.suffix) + self._prompt_tokens()
        """Tokens that each text costs beyond its own: specials and prompt."""
        self.sliceable = not prompt and _splits_at_whitespace(layout)
        """Ids of a slice between two whitespaces are the slice of ids."""

    def _prompt_tokens(self) -> int:
        # one in reserve: the seam between prompt and text may tokenise otherwise than the prompt alone
        return len(self._backend.encode(self.prompt, add_special_tokens=False).ids) + 1 if self.prompt else 0

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of prompt and text, specials included, however many they are."""
        return tuple(self._backend.encode(self.prompt + text).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """`encode` of each text, on all cores that TOKENIZERS_PARALLELISM allows."""
        return [tuple(e.ids) for e in self._backend.encode_batch_fast([self.prompt + text for text in texts])]

    def span(self, text: str) -> Span:
        """Tokens of the text alone (no specials, no prompt) with their character offsets."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return Span(np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])

    def width(self, text: str) -> int:
        """Characters of the text after normalisation, which is what the word limit counts."""
        normalizer = self._backend.normalizer
        return len(normalizer.normalize_str(text)) if normalizer is not None else len(text)


def document_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer for documents: chunk with it. Raises `UnknownModel`."""
    return Tokenizer(_backend(model), max_tokens=model.max_tokens, prompt=model.document_prompt)


def query_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer for questions. Raises `UnknownModel`."""
    return Tokenizer(_backend(model), max_tokens=model.max_tokens, prompt=model.query_prompt)


def _backend(model: Model) -> tokenizers.Tokenizer:
    file = model.tokenizer / "tokenizer.json"
    backend = None
    if file.is_file():
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the Rust side raises bare Exception
            raise UnknownModel(f"model {model.name}: {file} cannot be read ({error}); save the model again") from error
    if backend is None or _lacks_specials(backend, file.with_name("tokenizer_config.json")):
        from penstock.embed.engine.ordinary import slow_tokenizer  # a door to transformers; only old models need it

        backend = slow_tokenizer(model)
    if model.static:
        backend.post_processor = None
    normalizer = json.loads(backend.to_str())["normalizer"]
    if model.lowercase and not _lowers(normalizer):
        lower = tokenizers.normalizers.Lowercase()
        present = [backend.normalizer] if backend.normalizer is not None else []
        backend.normalizer = tokenizers.normalizers.Sequence([lower, *present])
    return backend


def _lowers(normalizer: dict[str, Any] | None) -> bool:
    said = normalizer or {}
    inner = any(_lowers(part) for part in said.get("normalizers") or ())
    return inner or said.get("type") == "Lowercase" or bool(said.get("lowercase"))


def _lacks_specials(backend: tokenizers.Tokenizer, config: Path) -> bool:
    """Whether transformers would put a first or last token around a text that tokenizer.json does not, or leave it."""
    said = read(config)
    ids = backend.encode("a").ids
    for key, token, at in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        name = said.get(token)
        number = backend.token_to_id(str(name.get("content") if isinstance(name, dict) else name))
        if number is not None and key in said and bool(said[key]) != (bool(ids) and ids[at] == number):
            return True
    return False


def _splits_at_whitespace(layout: dict[str, object]) -> bool:
    """Whether the tokenizer is one whose words never see past a whitespace: BERT's own pipeline."""

    def kind(part: str) -> object:
        value = layout.get(part)
        return value.get("type") if isinstance(value, dict) else None

    return (
        kind("model") == "WordPiece"
        and kind("pre_tokenizer") == "BertPreTokenizer"
        and kind("normalizer") in (None, "BertNormalizer")
    )
