"""The one door to sentence_transformers, transformers and torch."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed import models
from penstock.embed.engine.precision import Precision, choose, cpu_flags
from penstock.embed.engine.shapes import Batch, Shapes
from penstock.embed.models import Model, UnknownModel
from penstock.embed.tokenize import Tokenizer, document_tokenizer, query_tokenizer
from penstock.embed.types import Encoded, TokenIds

_log = logging.getLogger(__name__)
# The smallest budgets that saturate: measured on a CPU (bench/encode), taken from published figures for a GPU.
_CPU_TOKENS, _CPU_ROWS = 1024, 8
_GPU_TOKENS, _GPU_ROWS = 16384, 256
_PROBE = (
    "Penstock.",
    "What is the boundary layer of a flat plate at high speed?",
    "The gate admits water to the turbine at exactly the pace that it can take. " * 5,
    "Lens proteins of the eye were measured in twelve patients, before and after treatment (p < 0.05). " * 12,
)


class NotFinite(Exception):
    """The model made something that is not a vector, for the input `positions`: reject those texts."""

    def __init__(self, positions: tuple[int, ...]) -> None:
        super().__init__(f"the model returned no usable vector for {len(positions)} text(s): not finite, or zero")
        self.positions = positions


class TorchEncoder:
    """A loaded model, an `Encoder`. One thread at a time may use it."""

    def __init__(self, model: Model, network: Any, shapes: Shapes, precision: Precision, device: str) -> None:
        self.model = model
        self.dim = model.dim
        self.max_tokens = model.max_tokens
        self.identity = models.identity(model)
        self.provenance = _provenance(precision, device)
        self.tokenizer: Tokenizer = document_tokenizer(model)
        self._queries = query_tokenizer(model)
        self._network, self._shapes, self._dtype, self._device = network, shapes, precision.dtype, device
        tokenizer = network.tokenizer
        self._pad, self._left = int(tokenizer.pad_token_id or 0), tokenizer.padding_side == "left"
        self._types = "token_type_ids" in tokenizer.model_input_names

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """Yield batches, longest first; each position exactly once. `texts` are not looked at.

        Raises ValueError, before anything is computed, if a sequence is empty or longer than `max_tokens`, and
        `NotFinite` when a vector cannot be used.
        """
        for batch in self._shapes.pack([len(sequence) for sequence in ids]):
            rows = [ids[position] for position in batch.positions]
            vectors = self._forward(rows, batch)
            sound = np.isfinite(vectors).all(axis=1) & (np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3)
            if not sound.all():
                raise NotFinite(tuple(batch.positions[k] for k in np.flatnonzero(~sound)))
            positions = np.array(batch.positions, dtype=np.int64)
            yield Encoded(positions, vectors, tokens=sum(map(len, rows)), padded=batch.padded)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions with the model's query prompt: float32 (len(texts), dim), unit norm.

        A question longer than the model takes is cut, and the log says so. Raises `NotFinite`.
        """
        ids = [self._fit(sequence) for sequence in self._queries.encode_batch(texts)]
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        for batch in self.encode(ids):
            vectors[batch.positions] = batch.vectors
        return vectors

    def close(self) -> None:
        """Let go of the device."""
        self._network = None

    def _fit(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if len(ids) <= self.max_tokens:
            return ids
        _log.warning("a question of %d tokens was cut to the model's %d", len(ids), self.max_tokens)
        suffix = self._queries.suffix
        return ids[: self.max_tokens - len(suffix)] + suffix

    def _forward(self, rows: list[TokenIds], batch: Batch) -> NDArray[np.float32]:
        import torch

        inputs = np.full((batch.rows, batch.length), self._pad, dtype=np.int64)
        mask = np.zeros((batch.rows, batch.length), dtype=np.int64)
        for row in range(batch.rows):
            sequence = rows[min(row, len(rows) - 1)]  # a dummy row repeats the last one: same length, same path
            place = slice(batch.length - len(sequence), None) if self._left else slice(len(sequence))
            inputs[row, place], mask[row, place] = sequence, 1
        features = {"input_ids": torch.from_numpy(inputs), "attention_mask": torch.from_numpy(mask)}
        if self._types:
            features["token_type_ids"] = torch.zeros(inputs.shape, dtype=torch.int64)
        with torch.inference_mode():
            features = {name: tensor.to(self._device) for name, tensor in features.items()}
            vectors = _run(self._network, features, self._device, self._dtype)[: len(rows)]
        result: NDArray[np.float32] = vectors.cpu().numpy()
        return result


def load(
    model: Model | str = models.DEFAULT,
    *,
    device: str | None = None,
    threads: int | None = None,
    dtype: str = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> TorchEncoder:
    """Load a model, once per process, in any thread; seconds. `threads` bounds torch in the whole process.

    `device` is CUDA if there is any, `threads` the CPUs that this process may use, `dtype` `auto`, `float32` or
    the device's fast format. Raises `UnknownModel` if it cannot be loaded, ValueError for an impossible dtype.
    """
    model = models.resolve(model) if isinstance(model, str) else model
    os.environ["HF_HUB_OFFLINE"] = "1"  # the files are here: nothing may be asked of a network
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # torch's threads spin while they wait for each other. Beside any other busy process on the same cores that
    # makes both several times slower; a short spin costs nothing alone (docs/decisions/0006).
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    import torch

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    if device and device.startswith("cuda") and not torch.cuda.is_available():
        raise UnknownModel(f"[embed] device = {device!r}: torch sees no GPU here; leave it out, or say cpu")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = _network(model, device)
    on_gpu = device.startswith("cuda")
    flags = ("cuda",) if on_gpu else cpu_flags()
    low = "float16" if on_gpu and not torch.cuda.is_bf16_supported() else "bfloat16"
    reference = network.encode(list(_PROBE), normalize_embeddings=True, show_progress_bar=False)
    precision = choose(
        dtype,
        low=low,
        flags=flags,
        speedup=lambda: _speedup(device, low, clock),
        parity=lambda: _parity(network, reference, device, low),
    )
    if precision.dtype != "float32":
        _lower(network, precision.dtype)
    _log.info("model %s on %s in %s: %s", model.name, device, precision.dtype, precision.why)
    tokens, rows = (_GPU_TOKENS, _GPU_ROWS) if on_gpu else (_CPU_TOKENS, _CPU_ROWS)
    shapes = Shapes(max_length=model.max_tokens, budget=tokens, max_rows=rows)
    return TorchEncoder(model, network, shapes, precision, device)


def slow_tokenizer(model: Model) -> Any:
    """The `tokenizers.Tokenizer` of a model that has no tokenizer.json. Raises `UnknownModel`."""
    with _quiet():
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(str(model.path), local_files_only=True).backend_tokenizer
        except Exception as error:
            raise UnknownModel(f"model {model.name}: no tokenizer can be made from {model.path} ({error})") from error


def _network(model: Model, device: str) -> Any:
    with _quiet():
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
    if dim != model.dim or (longest or 0) < model.max_tokens:
        raise UnknownModel(
            f"model {model.name}: its files state {model.dim} dimensions and {model.max_tokens} tokens, "
            f"loaded it has {dim} and {longest}; correct the configuration in {model.path}"
        )
    return network.eval()


def _run(network: Any, features: dict[str, Any], device: str, dtype: str) -> Any:
    """Vectors float32 (rows, dim), unit norm: the transformer in `dtype`, all after it in fp32."""
    import torch

    with torch.autocast(device.partition(":")[0], dtype=getattr(torch, dtype), enabled=dtype != "float32"):
        features = network[0](features)
    for name in ("token_embeddings", "sentence_embedding"):
        if name in features:
            features[name] = features[name].float()
    for part in list(network)[1:]:
        features = part(features)
    return torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=1)


def _lower(network: Any, dtype: str) -> None:
    """Cast the transformer's linear weights once, as autocast would for each batch; the rest stays fp32."""
    import torch

    for part in network[0].modules():
        if isinstance(part, torch.nn.Linear):
            part.to(getattr(torch, dtype))


def _parity(network: Any, reference: NDArray[np.float32], device: str, dtype: str) -> float:
    import torch

    worst = 1.0
    with torch.inference_mode():
        for text, expected in zip(_PROBE, reference, strict=True):
            features = {k: v.to(device) if hasattr(v, "to") else v for k, v in network.preprocess([text]).items()}
            vector = _run(network, features, device, dtype)[0].cpu().numpy()
            worst = min(worst, float(vector @ expected))
    return worst if np.isfinite(worst) else 0.0


def _speedup(device: str, dtype: str, clock: Callable[[], float]) -> float:
    """How much faster a matrix product of the size of a layer is in `dtype` than in fp32, best of several."""
    import torch

    def best(number: Any) -> float:
        left, right = (torch.ones(shape, dtype=number, device=device) for shape in ((1024, 384), (384, 1536)))
        times = []
        for _ in range(5):
            started = clock()
            (left @ right).sum().item()
            times.append(clock() - started)
        return min(times)

    with torch.inference_mode():
        return best(torch.float32) / max(best(getattr(torch, dtype)), 1e-9)


def _provenance(precision: Precision, device: str) -> dict[str, str]:
    import sentence_transformers
    import torch
    import transformers

    return {
        "dtype": precision.dtype,
        "dtype_why": precision.why,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "cpu_flags": " ".join(cpu_flags()),
        "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__),
        "sentence_transformers": str(sentence_transformers.__version__),
        "transformers": str(transformers.__version__),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
