"""The path that every model can take: the modules of sentence-transformers, run on our token ids in fixed shapes.

Padding is on the right whatever side the tokenizer prefers: a mask hides it from bidirectional models, causal ones
never look that way, and positions count from the text's first token. So a vector is that of the text alone,
unpadded; what `SentenceTransformer.encode` makes of a left-padded batch differs from that, not we.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.models import Model, UnknownModel
from penstock.embed.types import TokenIds


class Ordinary:
    """A loaded model. One thread at a time may use it."""

    def __init__(self, model: Model, network: Any, device: str) -> None:
        self.model, self.device, self.dtype = model, device, "float32"
        self.network = network
        """The `SentenceTransformer`, which truncates as `model` says; a reference only until `lower` was called."""
        self._tokenizer = network.tokenizer
        self._pad = int(self._tokenizer.pad_token_id or 0)
        self._types = "token_type_ids" in self._tokenizer.model_input_names
        # A convolution looks at its neighbours: beyond the text's end it must find nothing.
        self._blank = any(type(part).__name__ == "CNN" for part in network)

    @classmethod
    def load(cls, model: Model, device: str) -> Ordinary:
        """Load in fp32. Raises `UnknownModel` if it cannot be loaded, or is not what its files say."""
        network = _network(model, device)
        network.truncate_dim = model.truncate_dim
        return cls(model, network, device)

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

    def _features(self, rows: Sequence[TokenIds], rows_n: int, length: int) -> dict[str, Any]:
        import torch

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
        if self._blank:
            features["token_embeddings"] *= features["attention_mask"].unsqueeze(-1)
        for part in list(self.network)[1:]:
            features = part(features)
        vectors = features["sentence_embedding"].float()[:, : self.model.dim]
        return torch.nn.functional.normalize(vectors, dim=1)


def _network(model: Model, device: str) -> Any:
    with quiet():
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            network = SentenceTransformer(
                str(model.path), device=device, local_files_only=True, model_kwargs={"dtype": torch.float32}
            )
        except Exception as error:  # whatever a damaged or foreign folder makes the libraries raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnknownModel(f"model {model.name}: {model.path} could not be loaded ({reason})") from error
    if not hasattr(network[0], "auto_model"):
        raise UnknownModel(f"model {model.name}: its first part is {type(network[0]).__name__}, not a transformer")
    dim, longest = network.get_embedding_dimension(), network.max_seq_length
    if dim < model.dim or (longest or 0) < model.max_tokens:
        raise UnknownModel(
            f"model {model.name}: its files state {model.dim} dimensions and {model.max_tokens} tokens, "
            f"loaded it has {dim} and {longest}; correct the configuration in {model.path}"
        )
    return network.eval()


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
