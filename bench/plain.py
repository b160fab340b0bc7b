"""The same model as everybody else runs it: `SentenceTransformer.encode` in its ways, and the bare network."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import load, say
from numpy.typing import NDArray

Ways = dict[str, Callable[[], object]]
LOW = {"autocast": "the network under autocast", "weights": "all weights in that format"}


class Plain:
    """sentence-transformers' network of a model directory, weights in fp32, and copies of it in other formats."""

    def __init__(self, path: Path, device: str, prompt: str = "") -> None:
        import torch
        import transformers
        from sentence_transformers import SentenceTransformer

        transformers.utils.logging.disable_progress_bar()
        self.device, self._prompt = device, prompt or None
        self.network = SentenceTransformer(
            str(path), device=device, local_files_only=True, model_kwargs={"dtype": torch.float32}
        ).eval()
        self._lowered: dict[str, Any] = {}

    def encode(self, texts: Sequence[str], batch: int = 32, mode: str = "", dtype: str = "float32") -> NDArray[Any]:
        """`encode`, normalised: as it comes, or with `dtype` by `mode` (`autocast`, `weights`)."""
        with self._mode(mode, dtype) as network:
            found: NDArray[Any] = network.encode(
                list(texts), batch_size=batch, prompt=self._prompt, normalize_embeddings=True, show_progress_bar=False
            )
        return found

    def counted(self, texts: Sequence[str]) -> int:
        """Tokens that `encode` computes for these texts, padding not counted."""
        prompt = self._prompt or ""
        cut = self.network.tokenizer([prompt + text for text in texts], truncation=True, max_length=self.longest)
        return sum(map(len, cut["input_ids"]))

    @property
    def longest(self) -> int:
        return int(self.network.max_seq_length)

    def batches(self, ids: Sequence[Sequence[int]], budget: int) -> list[dict[str, Any]]:
        """What the network takes, on its device: longest first, as many rows as `budget` tokens hold with padding."""
        import torch

        order = sorted(range(len(ids)), key=lambda position: -len(ids[position]))
        made, pad = [], int(self.network.tokenizer.pad_token_id or 0)
        while order:
            width = len(ids[order[0]])
            rows, order = order[: max(1, budget // width)], order[max(1, budget // width) :]
            inputs = np.full((len(rows), width), pad, dtype=np.int64)
            for row, position in enumerate(rows):
                inputs[row, : len(ids[position])] = ids[position]
            lengths = np.array([[len(ids[position])] for position in rows])
            features = {"input_ids": inputs, "attention_mask": (np.arange(width) < lengths).astype(np.int64)}
            if "token_type_ids" in self.network.tokenizer.model_input_names:
                features["token_type_ids"] = np.zeros_like(inputs)
            made.append({name: torch.from_numpy(array).to(self.device) for name, array in features.items()})
        return made

    def forward(self, batches: Sequence[dict[str, Any]], mode: str = "", dtype: str = "float32") -> None:
        """All batches through the whole network, pooling included. Nothing is tokenised, sorted, copied or kept."""
        import torch

        with self._mode(mode, dtype) as network, torch.inference_mode():
            for features in batches:
                network(dict(features))
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()

    @contextlib.contextmanager
    def _mode(self, mode: str, dtype: str) -> Iterator[Any]:
        import torch

        low = getattr(torch, dtype)
        if mode == "weights":
            if dtype not in self._lowered:
                self._lowered[dtype] = copy.deepcopy(self.network).to(low)
            yield self._lowered[dtype]
        else:
            with torch.autocast(self.device.partition(":")[0], dtype=low, enabled=mode == "autocast"):
                yield self.network


def best_device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def as_it_comes(way: Callable[..., Any]) -> Callable[..., Any]:
    """`way` under torch's own precision of fp32 products, whatever a fast engine has set for the process."""
    import torch

    def run(*args: Any, **options: Any) -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            return way(*args, **options)
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def seconds_of(way: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def in_turns(ways: Ways, repeat: int) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each way in each turn, and the load before each turn. Who begins changes from turn to turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    loads = []
    for turn in range(repeat):
        loads.append(load())
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(seconds_of(ways[name]))
            say(f"turn {turn + 1} of {repeat}, load before it {loads[-1]}: {name} {seconds[name][-1]:.2f} s")
    return seconds, loads


def fastest(ways: Ways) -> tuple[str, dict[str, float]]:
    """The name of the fastest of a few, each tried once after a first, uncounted one; and all their seconds."""
    next(iter(ways.values()))()
    tried = {name: round(seconds_of(way), 3) for name, way in ways.items()}
    return min(tried, key=tried.__getitem__), tried
