"""A loaded model: token ids in, vectors out, as fast as this device does it and no two bits otherwise."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as Folder
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed import models
from penstock.embed.engine import capacity, retreat
from penstock.embed.engine import device as devices
from penstock.embed.engine.choice import Choice, chosen
from penstock.embed.engine.faults import DeviceLost, Fault, fault, first_line
from penstock.embed.engine.paths import Path, Work
from penstock.embed.engine.precision import candidates, cpu_flags
from penstock.embed.engine.remembered import Remembered, settled
from penstock.embed.engine.staging import Result
from penstock.embed.models import Model
from penstock.embed.quality import checks
from penstock.embed.tokenize import Tokenizer, document_tokenizer, query_tokenizer
from penstock.embed.types import Encoded, EncoderSpec, EncoderUnavailable, Refused, TokenIds

_log = logging.getLogger(__name__)
# Where nothing was probed: measured on a CPU (bench/encode), taken from published figures for a GPU.
_CPU_TOKENS, _CPU_ROWS = 1024, 8
_GPU_TOKENS, _GPU_ROWS = 16384, 256
_CPU_SIZES = (256, 512, 1024, 2048, 4096)
_GPU_SIZES = tuple(1 << power for power in range(11, 19))
_LEAST = 256


class NotFinite(Exception):
    """The model made something that is not a vector of one of these questions."""


class TorchEncoder:
    """A loaded model, an `Encoder`. One thread at a time may use it.

    `announce`, if it is set, is told the positions of each batch before it is computed.
    """

    def __init__(self, model: Model, choice: Choice, device: str, budget: int, budget_why: str) -> None:
        self.model = model
        self.dim = model.dim
        self.max_tokens = model.max_tokens
        self.identity = models.identity(model)
        self.provenance = _provenance(choice, device, budget, budget_why)
        self.tokenizer: Tokenizer = document_tokenizer(model)
        self.announce: Callable[[Sequence[int]], None] | None = None
        self._queries = query_tokenizer(model)
        self._path: Path[Any] = choice.path
        self._on_gpu = device != "cpu"
        self._prompt = choice.path.prompt_tokens(model.document_prompt)
        self._query_prompt = choice.path.prompt_tokens(model.query_prompt)
        self._allowance = retreat.Allowance(max(budget, _LEAST), min(_LEAST, budget))

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """Yield batches, longest first; each position exactly once. `texts` are not looked at.

        A text of which the model makes no usable vector, or that does not fit into memory alone, is refused. Raises
        ValueError, before anything is computed, if a sequence is empty or longer than `max_tokens`; `DeviceLost`;
        `EncoderUnavailable` when somebody else has taken the memory, or when different texts get the same vector.
        """
        yield from self._encode(ids, self._prompt)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions with the model's query prompt: float32 (len(texts), dim), unit norm.

        A question longer than the model takes is cut, and the log says so. Raises `NotFinite`.
        """
        ids = [self._fit(sequence) for sequence in self._queries.encode_batch(texts)]
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        for batch in self._encode(ids, self._query_prompt):
            if batch.refused:
                raise NotFinite(f"no vector of the question {texts[batch.refused[0].position]!r}")
            vectors[batch.positions] = batch.vectors
        return vectors

    def close(self) -> None:
        """Let go of the device."""
        self._path = _Closed()
        gc.collect()

    def _fit(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if len(ids) <= self.max_tokens:
            return ids
        _log.warning("a question of %d tokens was cut to the model's %d", len(ids), self.max_tokens)
        suffix = self._queries.suffix
        return ids[: self.max_tokens - len(suffix)] + suffix

    def _encode(self, ids: Sequence[TokenIds], prompt: int) -> Iterator[Encoded]:
        lengths = [len(sequence) for sequence in ids]
        for length in lengths:
            if not 0 < length <= self.max_tokens:
                raise ValueError(f"a sequence of {length} tokens: this model takes 1 to {self.max_tokens}")

        def start(work: Work) -> tuple[Work, Result]:
            if self.announce is not None:
                self.announce(work.positions)
            return work, self._path.start([ids[position] for position in work.positions], work, prompt=prompt)

        started: Iterator[tuple[Work, Result] | Refused] = retreat.computed(
            self._path.plan(lengths),
            start,
            size=lambda work: work.padded,
            halves=self._path.halves,
            release=devices.release,
            too_large=_too_large,
            allowance=self._allowance,
            control=self._control,
        )
        for found in _one_ahead(started) if self._on_gpu else started:
            if isinstance(found, Refused):
                yield _refusal(found, self.dim)
            else:
                work, result = found
                yield _encoded(work, result, ids)

    def _control(self, tokens: int) -> object:
        (work,) = self._path.plan([min(tokens, self.max_tokens)])
        return self._path.start([np.zeros(min(tokens, self.max_tokens), dtype=np.uint32)], work)()


def load(
    model: Model | str = models.DEFAULT,
    *,
    device: str | None = None,
    threads: int | None = None,
    dtype: str = "auto",
    remember: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> TorchEncoder:
    """Load a model, once per process, in any thread; seconds. `threads` bounds torch in the whole process.

    `device` is CUDA if there is any, `threads` the CPUs that this process may use, `dtype` `auto`, `float32` or
    the device's fast format. `remember`: a folder for what probing for the best batch found; empty: a CPU is not
    probed. Raises `UnknownModel` if it cannot be loaded, ValueError for an impossible dtype.
    """
    model = models.resolve(model) if isinstance(model, str) else model
    device = devices.prepared(device, threads)
    on_gpu = device != "cpu"
    low = devices.low(device)
    formats = candidates(
        dtype, low=low, flags=("cuda",) if on_gpu else cpu_flags(), speedup=lambda: devices.speedup(device, low, clock)
    )
    tokens, rows = (_GPU_TOKENS, _GPU_ROWS) if on_gpu else (_CPU_TOKENS, _CPU_ROWS)
    choice = chosen(model, device, formats, tokenizer=document_tokenizer(model), tokens=tokens, rows=rows)
    budget, why = _budget(model, choice, device, tokens, remember, clock)
    choice.path.with_budget(budget)
    loaded = TorchEncoder(model, choice, device, budget, why)
    for name in ("dtype", "path", "budget"):
        _log.info("model %s: %s %s: %s", model.name, name, loaded.provenance[name], loaded.provenance[f"{name}_why"])
    return loaded


def load_spec(spec: EncoderSpec) -> TorchEncoder:
    """`load` of what a spec says: what a process of its own is started with."""
    return load(
        models.of_spec(spec), device=spec.device, threads=spec.threads, dtype=spec.dtype, remember=spec.remember
    )


def _budget(
    model: Model, choice: Choice, device: str, tokens: int, remember: str, clock: Callable[[], float]
) -> tuple[int, str]:
    """Tokens to compute together, and why.

    On the padded path a CPU is not probed: there the size of a batch is part of what decides a vector's last bits.
    """
    here = device == "cpu"
    if here and (choice.path.name == "ordinary" or not remember):
        return tokens, "as measured on other CPUs"
    length = min(model.max_tokens, 256)

    def measure(size: int) -> capacity.Trial:
        count = max(1, size // length)
        choice.path.with_budget(max(size, length))
        ids = [np.zeros(length, dtype=np.uint32)] * count
        devices.forget_peak(device)
        started = clock()
        for work in choice.path.plan([length] * count):
            choice.path.start([ids[position] for position in work.positions], work)()
        return capacity.Trial(count * length, clock() - started, devices.peak(device))

    cap = devices.memory_cap(device)
    least = max(length, _LEAST if here else model.max_tokens)
    sizes = [size for size in (_CPU_SIZES if here else _GPU_SIZES) if size >= least] or [least]
    key = _key(model, choice, device)
    found = settled(
        key,
        cap,
        Remembered(Folder(remember) if remember else None),
        lambda: capacity.find(measure, sizes, cap, clock=clock, seconds=2.0 if here else 5.0, release=devices.release),
    )
    return found.tokens, found.why


def _key(model: Model, choice: Choice, device: str) -> dict[str, str]:
    said = _provenance(choice, device, 0, "")
    names = ("dtype", "path", "device", "cpu_flags", "threads", "torch", "transformers")
    return {
        **{name: said[name] for name in names},
        "weights": models.identity(model)["weights"],
        "max_tokens": str(model.max_tokens),
    }


def _encoded(work: Work, result: Result, ids: Sequence[TokenIds]) -> Encoded:
    try:
        vectors = result()
    except Exception as error:
        if fault(error) is Fault.DEVICE_LOST:
            raise DeviceLost(first_line(error)) from error
        raise
    if checks.collapsed(vectors, [ids[position] for position in work.positions]):
        raise EncoderUnavailable(checks.COLLAPSED)
    positions = np.array(work.positions, dtype=np.int64)
    unsound = checks.unsound(vectors)
    refused = tuple(Refused(work.positions[k], "not_finite", checks.why(vectors[k])) for k in np.flatnonzero(unsound))
    tokens = sum(len(ids[position]) for position in work.positions)
    return Encoded(positions[~unsound], vectors[~unsound], tokens=tokens, padded=work.padded, refused=refused)


def _refusal(refused: Refused, dim: int) -> Encoded:
    return Encoded(np.empty(0, dtype=np.int64), np.empty((0, dim), dtype=np.float32), 0, 0, (refused,))


def _too_large(work: Work) -> Refused:
    return Refused(work.positions[0], "too_large", f"{work.padded} tokens do not fit into the device's memory alone")


def _one_ahead(started: Iterator[Any]) -> Iterator[Any]:
    """The same, each handed on when the next was begun: the device has work while the host looks at results."""
    held: list[Any] = []
    for found in started:
        yield from held
        held = [found]
    yield from held


def _provenance(choice: Choice, device: str, budget: int, budget_why: str) -> dict[str, str]:
    import sentence_transformers
    import torch
    import transformers

    return {
        "dtype": choice.dtype,
        "dtype_why": choice.dtype_why,
        "path": choice.path.name,
        "path_why": choice.path_why,
        "budget": str(budget),
        "budget_why": budget_why,
        "device": devices.name_of(device),
        "cpu_flags": " ".join(cpu_flags()),
        "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__),
        "sentence_transformers": str(sentence_transformers.__version__),
        "transformers": str(transformers.__version__),
    }


class _Closed:
    """What is left of an encoder that let go of its device."""

    name = "closed"

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("this encoder was closed")
