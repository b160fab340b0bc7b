"""How good rankings are, by the judgements of people: nDCG and recall as trec_eval and BEIR count them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

DEPTH = 10
REACH = 100


def ndcg(ranking: Sequence[str], gains: Mapping[str, int], k: int = DEPTH) -> float:
    """Normalised discounted cumulative gain of the first `k` of `ranking`, 0 to 1.

    `ranking`: different ids, best first. `gains`: id → grade; what is not in it, or not above 0, is not relevant.
    DCG = Σ gain / log2(rank + 1) with rank from 1, divided by the DCG of the best ranking there can be (Järvelin and
    Kekäläinen 2002, doi:10.1145/582415.582418, with the discount and the linear gain of trec_eval's ndcg_cut, which
    is what BEIR reports). 0 where nothing is relevant.
    """
    best = _dcg(sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k])
    return _dcg([max(gains.get(name, 0), 0) for name in ranking[:k]]) / best if best else 0.0


def recall(ranking: Sequence[str], gains: Mapping[str, int], k: int = REACH) -> float:
    """The share of the relevant ids that is among the first `k` of `ranking`, 0 to 1 (trec_eval's recall)."""
    relevant = {name for name, gain in gains.items() if gain > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
