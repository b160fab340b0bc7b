"""Search is a brute-force search in float64 with ties by chunk id, only faster."""

from __future__ import annotations

from functools import cached_property

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index import search
from penstock.index.search import score, top_k
from penstock.index.types import Row


class Part:
    """A segment in memory."""

    def __init__(self, vectors, live, ids):
        self.vectors, self.live, self.ids = vectors, live, ids
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)

    @cached_property
    def reach(self):
        return float(np.linalg.norm(self.vectors.astype(np.float64), axis=1).max())

    def row(self, ordinals):
        return [Row(self.ids[n], "uri", "", 0, 0, 1) for n in ordinals]


def brute(parts, query, k):
    every = []
    for part in parts:
        for ordinal in np.flatnonzero(part.live):
            products = part.vectors[ordinal].astype(np.float64) * query.astype(np.float64)
            every.append((-float(np.add.reduce(products)), part.ids[ordinal]))
    return [(chunk, -negative) for negative, chunk in sorted(every)[:k]]


def answers(parts, queries, k):
    return [[(match.row.chunk_id, match.score) for match in found] for found in top_k(parts, queries, k)]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    sizes=st.lists(st.integers(1, 400), min_size=0, max_size=3),
    dim=st.sampled_from([1, 2, 3, 8, 33]),
    distinct=st.sampled_from([1, 2, 5, 50, 10_000]),
    k=st.sampled_from([1, 2, 10, 37, 2000]),
    dead=st.sampled_from([0.0, 0.3, 0.97, 1.0]),
    scale=st.sampled_from([1.0, 1e-22, 1e18, 1e38]),
    nudge=st.sampled_from([0.0, 1e-7]),
)
def test_search_is_brute_force_in_float64(seed, sizes, dim, distinct, k, dead, scale, nudge):
    """Duplicates, near-ties, dead rows, tiny and huge values: the same rows, scores and order, bit by bit."""
    rng = np.random.default_rng(seed)
    originals = rng.standard_normal((distinct, dim))
    parts = []
    for number, size in enumerate(sizes):
        vectors = originals[rng.integers(0, distinct, size)] * (1 + nudge * rng.standard_normal((size, 1)))
        vectors = np.clip(vectors * scale, -3e38, 3e38).astype(np.float32)
        ids = [f"{hash_:08x}.{number}.{at}" for at, hash_ in enumerate(rng.integers(0, 2**31, size))]
        parts.append(Part(vectors, rng.random(size) >= dead, ids))
    queries = np.clip(rng.standard_normal((3, dim)) * min(scale, 1e10), -3e38, 3e38).astype(np.float32)
    expected = [brute(parts, query, k) for query in queries]
    assert answers(parts, queries, k) == expected
    assert [answers(parts, query[None], k)[0] for query in queries] == expected


def test_a_wall_of_ties_is_cut_by_chunk_id():
    """With thousands of equal scores the answers are the smallest chunk ids, not the first ordinals."""
    vectors = np.ones((5000, 16), dtype=np.float32)
    ids = [f"{(n * 7919) % 5000:05d}" for n in range(5000)]
    found = answers([Part(vectors, np.ones(5000, dtype=bool), ids)], vectors[:1], 5)
    assert [chunk for chunk, _ in found[0]] == ["00000", "00001", "00002", "00003", "00004"]


def test_ordinary_data_needs_no_second_look(monkeypatch):
    """The first candidates prove the answer: exactness costs one FAISS call per segment and batch."""
    calls = []
    real = search.faiss_door.search
    monkeypatch.setattr(search.faiss_door, "search", lambda *a: calls.append(1) or real(*a))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    part = Part(vectors, np.ones(3000, dtype=bool), [str(n) for n in range(3000)])
    top_k([part], rng.standard_normal((20, 64)).astype(np.float32), 10)
    assert len(calls) == 1


@given(seed=st.integers(0, 10**9), rows=st.integers(1, 40), dim=st.integers(1, 400))
def test_a_score_does_not_depend_on_its_neighbours(seed, rows, dim):
    """Scored alone, in a batch, or out of a strided array: the same bits."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim)).astype(np.float32)
    query = rng.standard_normal(dim).astype(np.float32)
    together = score(vectors, query).tolist()
    assert [score(vectors[n : n + 1], query)[0] for n in range(rows)] == together
    assert score(np.asfortranarray(vectors), query).tolist() == together


def test_no_segments_give_no_answers():
    """Each query gets an empty list."""
    assert top_k([], np.ones((2, 3), dtype=np.float32), 5) == [[], []]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_queries_that_are_not_finite_are_refused(bad):
    """NaN compares with nothing, so no order could be right."""
    with pytest.raises(ValueError, match="finite"):
        top_k([], np.array([[bad, 1]], dtype=np.float32), 5)


def test_wrong_questions_are_refused():
    """Another width, another type, another shape, or no answers wanted."""
    part = Part(np.ones((2, 3), dtype=np.float32), np.ones(2, dtype=bool), ["a", "b"])
    query = np.ones((1, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="4 dimensions"):
        top_k([part], np.ones((1, 4), dtype=np.float32), 5)
    with pytest.raises(ValueError, match="float32"):
        top_k([part], query.astype(np.float64), 5)
    with pytest.raises(ValueError, match="float32"):
        top_k([part], query[0], 5)
    for k in (0, -1):
        with pytest.raises(ValueError, match="k must"):
            top_k([part], query, k)


def test_scores_that_overflow_in_float32_are_not_lost():
    """Infinity minus infinity is no candidate for FAISS; such vectors are all scored in float64."""
    vectors = np.zeros((300, 3), dtype=np.float32)
    vectors[0] = [2e38, 2e38, 0]
    vectors[1] = [0, 0, 1e37]
    query = np.array([[10, -9, 1]], dtype=np.float32)
    part = Part(vectors, np.ones(300, dtype=bool), [str(n) for n in range(300)])
    assert [match.row.chunk_id for match in top_k([part], query, 1)[0]] == ["0"]
