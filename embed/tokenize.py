"""The one door to `tokenizers`: the model's own token ids, never truncated, never padded.

tokenizer.json is read directly, because importing transformers costs seconds that a plan does not need.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from penstock.embed.chunking.locality import Locality, locality
from penstock.embed.models import Model, UnknownModel

WHITESPACE = frozenset(" \t\n\r\u00a0")
"""Whitespace for every tokenizer; other characters of that kind are control characters to some."""
_RESERVE = 2
_SAMPLES = (
    *("The flow", "(see Fig. 3)", "isn't 3.14%", "naïve café", "東京タワー", "a  b\nc\t d", "DON'T", "x=1;", "हिन्दी"),
    *("한국어", "</s>", "[SEP]", "<mask>", "y\r\n\r\nz!", "12345", "ÅΩ", "long" * 9, "e\u0301t", "a_b-c/d", "?!"),
)


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
        self.locality = self._tried(locality(layout))
        """Where a slice of a text's ids is the ids of the slice; tried on samples, not only read."""
        self.head = self.lead("") if self.locality == "words" else self.prefix
        """With locality `words`: what stands before a text's own ids, prompt included."""
        self.overhead = len(self.head) + len(self.suffix)
        """Tokens that each text costs beyond its own, specials and prompt; with some in reserve where a text may
        have more tokens alone than it has within another."""
        if self.locality != "words":
            self.overhead += len(backend.encode(prompt, add_special_tokens=False).ids) + _RESERVE

    def _tried(self, promised: Locality) -> Locality:
        """What is promised, if samples bear it out, with the prompt as it is. Milliseconds."""
        if promised == "words" and self.prompt and self.prompt[-1] not in WHITESPACE:
            promised = "spaces"  # the first word touches the prompt
        if promised == "none" or not (self.prefix or self.suffix or self.encode("a")):
            return "none"
        for left, right in ((_SAMPLES[k], _SAMPLES[k - by]) for by in (1, 4, 7) for k in range(len(_SAMPLES))):
            parts: tuple[tuple[int, ...], ...]
            if promised == "words":
                parts = (self.lead(""), self.follow(" " + left), self.follow(" " + right))
            else:
                parts = (self.lead(left), self.follow(f"{left[-1]} {right}"))
            if self.encode(f"{left} {right}") != (*itertools.chain(*parts), *self.suffix):
                return "none"
        return promised

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of prompt and text, specials included, however many they are."""
        return tuple(self._backend.encode(self.prompt + text).ids)

    def lead(self, text: str) -> tuple[int, ...]:
        """`encode` without the specials at the end: what more text can be put behind."""
        ids = self.encode(text)
        return ids[: len(ids) - len(self.suffix)]

    def follow(self, text: str) -> tuple[int, ...]:
        """Ids of all but the first character, which is there so that the rest does not begin a text."""
        span = self.span(text)
        return tuple(span.ids[span.starts >= 1].tolist())

    def encode_batch(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """`encode` of each text, on all cores that TOKENIZERS_PARALLELISM allows."""
        return [tuple(e.ids) for e in self._backend.encode_batch_fast([self.prompt + text for text in texts])]

    def span(self, text: str) -> Span:
        """Tokens of the text alone (no specials, no prompt) with their character offsets."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        pairs = itertools.chain.from_iterable(encoding.offsets)  # far quicker than an array made of tuples
        offsets = np.fromiter(pairs, np.int64, 2 * len(encoding)).reshape(-1, 2)
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
    if file.is_file():
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the Rust side raises bare Exception
            raise UnknownModel(f"model {model.name}: {file} cannot be read ({error}); save the model again") from error
    else:
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
