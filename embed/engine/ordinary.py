"""The path that every model can take: the modules of sentence-transformers, run on our token ids in fixed shapes.

Padding is on the right whatever side the tokenizer prefers: a mask hides it from bidirectional models, causal ones
never look that way, and positions count from the text's first token. So a vector is that of the text alone,
unpadded; what `SentenceTransformer.encode` makes of a left-padded batch differs from that, not we.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.engine import parity
from penstock.embed.models import Model, UnknownModel
from penstock.embed.tokenize import Tokenizer, document_tokenizer
from penstock.embed.types import TokenIds

_log = logging.getLogger(__name__)
_SAME = 0.9999


class Ordinary:
    """A loaded model. One thread at a time may use it."""

    def __init__(self, model: Model, network: Any, device: str) -> None:
        self.model, self.device, self.dtype = model, device, "float32"
        self.network = network
        """The `SentenceTransformer`, which truncates as `model` says; a reference only until `lower` was called."""
        self.note = ""
        """What people should know about this model, one line: for the log and for `doctor`."""
        self._tokenizer = network.tokenizer
        self._pad = int(getattr(self._tokenizer, "pad_token_id", None) or 0)
        self._types = "token_type_ids" in getattr(self._tokenizer, "model_input_names", ())
        # A convolution looks at its neighbours: beyond the text's end it must find nothing.
        self._blank = any(type(part).__name__ == "CNN" for part in network)
        self._alone = False  # padding shows through: each text is computed by itself, in its own length

    @classmethod
    def load(cls, model: Model, device: str) -> Ordinary:
        """Load in fp32. Raises `UnknownModel` if it cannot be loaded, or is not what its files say.

        A few short texts are embedded both ways. A model in whose vectors padding shows is run text by text.
        """
        ordinary = cls(model, _network(model, device), device)
        ordinary._compare()
        return ordinary

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens at the start of a text with this prompt are left out of pooling: 0 for most models."""
        if self.model.pool_prompt or not prompt:
            return 0
        ids = self._tokenizer(prompt)["input_ids"]
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)

    def forward(self, rows: Sequence[TokenIds], rows_n: int, length: int, *, prompt: int = 0) -> NDArray[np.float32]:
        """Vectors float32 (len(rows), dim), unit norm, computed as (rows_n, length): both as `Shapes.of` says.

        `prompt`: tokens at the start of each row that pooling leaves out (`prompt_tokens`).
        """
        import torch

        if self._alone and (len(rows), rows_n, length) != (1, 1, len(rows[0])):
            return np.concatenate([self.forward([row], 1, len(row), prompt=prompt) for row in rows])
        with torch.inference_mode():
            features = {name: array.to(self.device) for name, array in self._features(rows, rows_n, length).items()}
            vectors = self._run({**features, "prompt_length": prompt} if prompt else features)[: len(rows)]
        result: NDArray[np.float32] = vectors.cpu().numpy()
        return result

    def lower(self, dtype: str) -> None:
        """Compute the transformer in `dtype` from now on, all after it in fp32.

        The linear weights are cast once, as autocast would for each batch; the rest stays fp32.
        """
        import torch

        for part in self.network[0].modules():
            if isinstance(part, torch.nn.Linear):
                part.to(getattr(torch, dtype))
        self.dtype = dtype

    def _compare(self) -> None:
        """Ids and vectors against sentence-transformers, on short texts with the prompt of documents."""
        tokenizer = document_tokenizer(self.model)
        plain, *others = texts = [text for text in parity.SCRIPTS if self._fits(tokenizer.encode(text))] or ["a"]
        if why := parity.other_ids(self.network, tokenizer, [plain]):
            again = (
                "; save its tokenizer again with the transformers that is installed: "
                f"AutoTokenizer.from_pretrained({str(self.model.tokenizer)!r}).save_pretrained(…)"
            )
            raise UnknownModel(f"model {self.model.name}: {why}{'' if why.startswith(parity.CUT) else again}")
        if differ := parity.other_ids(self.network, tokenizer, others):
            self.note = f"tokenizer.json is followed where transformers is not: {differ}"
            _log.warning("model %s: %s", self.model.name, self.note)
            texts = [plain]
        try:
            self._alone = self._worst(tokenizer, texts[:3]) < _SAME
            if self._alone and (cosine := self._worst(tokenizer, texts[:3])) < _SAME:
                raise UnknownModel(
                    f"model {self.model.name}: run on its token ids it makes other vectors than sentence-transformers "
                    f"does (cosine {cosine:.4f}): this kind of model is not supported"
                )
        except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            raise UnknownModel(
                f"model {self.model.name}: loaded from {self.model.path}, it cannot be run ({first_line(error)}); "
                "its files do not fit together, or this kind of model is not supported: save it again, or take another"
            ) from error
        if self._alone:
            self.note = "padding shows in its vectors: texts are computed one by one, which is slow"
            _log.warning("model %s: %s", self.model.name, self.note)

    def _worst(self, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
        """The smallest cosine to `encode`, each text among padding."""
        expected = self.network.encode(
            list(texts), prompt=tokenizer.prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False
        )
        if (made := expected.shape[1]) != (stated := self.model.dim):
            raise UnknownModel(f"model {self.model.name}: its files state {stated} dimensions, it makes {made}")
        worst, skip = 1.0, self.prompt_tokens(tokenizer.prompt)
        for text, vector in zip(texts, expected, strict=True):
            ids = tokenizer.encode(text)
            cosine = float(self.forward([ids], 2, min(len(ids) + 5, self.model.max_tokens), prompt=skip)[0] @ vector)
            worst = min(worst, cosine if np.isfinite(cosine) else 0.0)
        return worst

    def _fits(self, ids: TokenIds) -> bool:
        return 0 < len(ids) <= self.model.max_tokens

    def _features(self, rows: Sequence[TokenIds], rows_n: int, length: int) -> dict[str, Any]:
        import torch

        if self.model.static:
            flat, ends = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]), np.cumsum([*map(len, rows)])
            offsets = np.concatenate([[0], ends[:-1]])
            return {"input_ids": torch.from_numpy(flat), "offsets": torch.from_numpy(offsets)}
        inputs = np.full((rows_n, length), self._pad, dtype=np.int64)
        mask = np.zeros((rows_n, length), dtype=np.int64)
        for row in range(rows_n):
            sequence = rows[min(row, len(rows) - 1)]  # a dummy row repeats the last one: same length, same path
            inputs[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
        features = {"input_ids": torch.from_numpy(inputs), "attention_mask": torch.from_numpy(mask)}
        if self._types:
            features["token_type_ids"] = torch.zeros(inputs.shape, dtype=torch.int64)
        return features

    def _run(self, features: dict[str, Any]) -> Any:
        import torch

        kind = self.device.partition(":")[0]
        with torch.autocast(kind, dtype=getattr(torch, self.dtype), enabled=self.dtype != "float32"):
            features = self.network[0](features)
        for name in ("token_embeddings", "sentence_embedding"):
            if name in features:
                features[name] = features[name].float()
        if "all_layer_embeddings" in features:
            features["all_layer_embeddings"] = tuple(layer.float() for layer in features["all_layer_embeddings"])
        if self._blank:
            features["token_embeddings"] = features["token_embeddings"] * features["attention_mask"].unsqueeze(-1)
        for part in list(self.network)[1:]:
            features = part(features)
        vectors = features["sentence_embedding"].float()[:, : self.model.dim]
        return torch.nn.functional.normalize(vectors, dim=1)


def slow_tokenizer(model: Model) -> Any:
    """The `tokenizers.Tokenizer` that transformers makes of a model's files. Raises `UnknownModel`."""
    with quiet():
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(str(model.tokenizer), local_files_only=True).backend_tokenizer
        except Exception as error:
            raise UnknownModel(
                f"model {model.name}: no tokenizer can be made from {model.tokenizer} ({first_line(error)}); "
                "save the tokenizer again, so that there is a tokenizer.json"
            ) from error


def first_line(error: Exception) -> str:
    """What an error says, as one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _network(model: Model, device: str) -> Any:
    with quiet():
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            network = SentenceTransformer(
                str(model.path),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32},
            )
        except Exception as error:  # whatever a damaged or foreign folder makes the libraries raise
            if "trust_remote_code" in str(error):
                said = "it is code of its own (trust_remote_code), which is not run"
                raise UnknownModel(f"model {model.name}: {said}; ask for one of transformers' own kinds") from error
            raise UnknownModel(
                f"model {model.name}: {model.path} could not be loaded ({first_line(error)}); "
                "download or save the model again, with transformers and sentence-transformers no newer than those here"
            ) from error
    network.truncate_dim = model.truncate_dim
    if not model.pool_prompt:
        network.set_pooling_include_prompt(False)
    _check(model, network)
    if getattr(network.tokenizer, "pad_token", "") is None:  # to encode with the reference; a mask hides it
        network.tokenizer.pad_token = network.tokenizer.eos_token or network.tokenizer.unk_token
    return network.eval()


def _check(model: Model, network: Any) -> None:
    """Raise `UnknownModel` unless what was loaded is a text encoder and what its files say."""
    kinds = getattr(network[0], "modality_config", {"text": {}})
    if network.tokenizer is None or "text" not in kinds:
        raise UnknownModel(f"model {model.name}: {type(network[0]).__name__} takes no plain text; give a text encoder")
    if "message" in kinds:
        raise UnknownModel(
            f"model {model.name}: it takes chat messages, not texts; save it with modality_config of text only"
        )
    dim, longest = network.get_embedding_dimension(), network.max_seq_length
    if dim != model.dim or (longest or 0) < model.max_tokens:
        raise UnknownModel(
            f"model {model.name}: its files state {model.dim} dimensions and {model.max_tokens} tokens, "
            f"loaded it has {dim} and {longest}; correct the configuration in {model.path}"
        )
    for part in network[0].modules():
        table, pad = getattr(part, "position_embeddings", None), getattr(part, "padding_idx", None)
        if isinstance(rows := getattr(table, "num_embeddings", None), int):
            most = rows - (pad + 1 if isinstance(pad, int) else 0)
            if most < model.max_tokens:
                raise UnknownModel(
                    f"model {model.name}: it has positions for {most} tokens, its files state {model.max_tokens}; "
                    f"set max_seq_length in {model.path}"
                )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading without progress bars and advice on a stream that belongs to the caller."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging as chatter

        chatter.set_verbosity_error()
        chatter.disable_progress_bar()
        yield
