"""From the hidden states of each sequence to its vector: what sentence-transformers has after the transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.embed.engine.anatomy import NotKnown


class Pooling:
    """The modules after the transformer, one sequence at a time where that is what keeps its bits its own."""

    def __init__(self, modules: Sequence[Any], device: str, truncate: int | None) -> None:
        """`modules`: all but the transformer. `truncate`: components kept. Raises `NotKnown`."""
        kinds = [type(module).__name__ for module in modules]
        if not kinds or kinds[0] != "Pooling":
            raise NotKnown(f"{', '.join(kinds) or 'nothing'} after the transformer has no fast path")
        pooling = modules[0]
        if not getattr(pooling, "include_prompt", True):
            raise NotKnown("pooling without the prompt has no fast path")
        self._pooling, self._device, self._truncate = pooling, device, truncate
        self._mode = pooling.get_pooling_mode_str() if hasattr(pooling, "get_pooling_mode_str") else ""
        self._after = [module for module in modules[1:] if type(module).__name__ != "Normalize"]
        if device != "cpu" and (self._after or self._mode not in ("mean", "cls")):
            raise NotKnown(f"pooling {self._mode} with {len(self._after)} parts after it has no fast path on a GPU")

    def __call__(self, hidden: Any, lengths: Sequence[int]) -> Any:
        """Vectors float32 (sequences, dim), unit norm, of hidden states (at least sum(lengths), hidden)."""
        import torch
        from torch.nn.functional import normalize

        if self._device != "cpu":
            pooled = self._at_once(hidden, lengths)
        else:
            parts = hidden[: sum(lengths)].split(list(lengths))
            pooled = torch.stack([self._alone(part) for part in parts])
        if self._truncate is not None:
            pooled = pooled[:, : self._truncate]
        return normalize(pooled.float(), dim=1)

    def _alone(self, part: Any) -> Any:
        import torch

        if self._mode == "mean" and not self._after:
            return part.mean(0)
        if self._mode == "cls" and not self._after:
            return part[0]
        features = {"token_embeddings": part[None], "attention_mask": torch.ones((1, len(part)), dtype=torch.int64)}
        for module in (self._pooling, *self._after):
            features = module(features)
        return features["sentence_embedding"][0]

    def _at_once(self, hidden: Any, lengths: Sequence[int]) -> Any:
        import torch

        counts = torch.tensor(lengths, dtype=torch.int64)
        if self._mode == "cls":
            return hidden[(counts.cumsum(0) - counts).to(hidden.device, non_blocking=True)]
        # one thread adds up one component of one sequence, in order: deterministic, unlike index_add
        return torch.segment_reduce(
            hidden[: sum(lengths)], "mean", lengths=counts.to(hidden.device, non_blocking=True), unsafe=True
        )
