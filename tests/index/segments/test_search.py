"""Search is a brute-force search in float64, ties by chunk id, only faster: whatever is held, streamed or probed."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.segments import parts, rawvectors, search
from penstock.index.segments.faiss_door import train_ivf
from penstock.index.segments.parts import Held, Probed, Window
from penstock.index.segments.search import score, top_k
from penstock.index.types import Row


class Part:
    """A flat segment: in memory, or read in windows of a few rows."""

    def __init__(self, vectors, live, ids, window=0):
        self.vectors, self.live, self.ids, self.window = vectors, live, ids, window
        self.dim = vectors.shape[1]
        self.index = faiss.IndexFlatIP(self.dim)
        self.index.add(vectors)

    def parts(self, where, exact):
        if not self.live.any():
            return
        if not self.window:
            bits = None if self.live.all() else np.packbits(self.live, bitorder="little")
            reach = float(np.linalg.norm(self.vectors.astype(np.float64), axis=1).max())
            yield Held(self.index, self.live, bits, int(self.live.sum()), reach)
            return
        for start in range(0, len(self.vectors), self.window):
            ordinals = start + np.flatnonzero(self.live[start : start + self.window])
            if len(ordinals):
                rows = self.vectors[ordinals]
                yield Window(ordinals, rows, rawvectors.norm_bound(rows))

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


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    sizes=st.lists(st.tuples(st.integers(1, 400), st.sampled_from([0, 0, 1, 7, 150])), min_size=0, max_size=3),
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
    for number, (size, window) in enumerate(sizes):
        vectors = originals[rng.integers(0, distinct, size)] * (1 + nudge * rng.standard_normal((size, 1)))
        vectors = np.clip(vectors * scale, -3e38, 3e38).astype(np.float32)
        ids = [f"{hash_:08x}.{number}.{at}" for at, hash_ in enumerate(rng.integers(0, 2**31, size))]
        parts.append(Part(vectors, rng.random(size) >= dead, ids, window))
    queries = np.clip(rng.standard_normal((3, dim)) * min(scale, 1e10), -3e38, 3e38).astype(np.float32)
    expected = [brute(parts, query, k) for query in queries]
    assert answers(parts, queries, k) == expected
    assert [answers(parts, query[None], k)[0] for query in queries] == expected


@pytest.mark.parametrize("window", [0, 900])
def test_a_wall_of_ties_is_cut_by_chunk_id(window):
    """With thousands of equal scores the answers are the smallest chunk ids, not the first ordinals."""
    vectors = np.ones((5000, 16), dtype=np.float32)
    ids = [f"{(n * 7919) % 5000:05d}" for n in range(5000)]
    found = answers([Part(vectors, np.ones(5000, dtype=bool), ids, window)], vectors[:1], 5)
    assert [chunk for chunk, _ in found[0]] == ["00000", "00001", "00002", "00003", "00004"]


def test_ordinary_data_needs_no_second_look(monkeypatch):
    """The first candidates prove the answer: exactness costs one FAISS call per segment and batch."""
    calls = []
    real = parts.faiss_door.search
    monkeypatch.setattr(parts.faiss_door, "search", lambda *a: calls.append(1) or real(*a))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    part = Part(vectors, np.ones(3000, dtype=bool), [str(n) for n in range(3000)])
    top_k([part], rng.standard_normal((20, 64)).astype(np.float32), 10)
    assert len(calls) == 1


def test_what_lies_far_away_is_not_scored_twice(monkeypatch):
    """Of a window in which FAISS finds nothing near, no row is scored in float64."""
    scored = []
    real = search.score
    monkeypatch.setattr(search, "score", lambda rows, query: scored.append(len(rows)) or real(rows, query))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    vectors[1000:] /= 10
    part = Part(vectors, np.ones(3000, dtype=bool), [str(n) for n in range(3000)], window=1000)
    top_k([part], rng.standard_normal((1, 64)).astype(np.float32), 10)
    assert sum(scored) == 26


class Coded:
    """An IVF segment whose raw vectors are at hand."""

    def __init__(self, vectors, live=None):
        self.vectors, self.dim, self.ntotal = vectors, vectors.shape[1], len(vectors)
        self.live = np.ones(len(vectors), dtype=bool) if live is None else live
        self.ids = [f"{n:06d}" for n in range(len(vectors))]
        self.index = train_ivf(vectors[:4000], 64, seed=1, rounds=4, bits=4)
        self.index.add(vectors)

    def take(self, ordinals):
        return self.vectors[ordinals]

    def parts(self, where, exact):
        yield Probed(self.index, self, np.packbits(self.live, bitorder="little"), int(self.live.sum()))

    def row(self, ordinals):
        return [Row(self.ids[n], "uri", "", 0, 0, 1) for n in ordinals]


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((100, 32))
    made = centres[rng.integers(0, 100, 20_000)] + 0.5 * rng.standard_normal((20_000, 32))
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    queries = (centres + 0.5 * rng.standard_normal((100, 32))).astype(np.float32)
    return made, queries


def test_probing_finds_nearly_all_that_is_near(clustered):
    """On clustered vectors at least 95 of 100 of the ten nearest are found, with their exact scores in order."""
    vectors, queries = clustered
    coded = Coded(vectors)
    found = answers([coded], queries, 10)
    hits = 0
    for query, got in zip(queries, found, strict=True):
        exact = brute_array(coded, query)
        hits += len({chunk for chunk, _ in got} & {chunk for chunk, _ in exact[:10]})
        assert got == sorted(got, key=lambda pair: (-pair[1], pair[0]))
        assert set(got) <= set(exact)
    assert hits >= 950


def brute_array(part, query):
    scores = score(part.vectors, query)
    live = np.flatnonzero(part.live)
    return sorted(((part.ids[n], float(scores[n])) for n in live), key=lambda pair: (-pair[1], pair[0]))


def test_probing_does_not_depend_on_the_batch(clustered):
    """One query alone, or among a hundred: the same answers to the last bit."""
    vectors, queries = clustered
    coded = Coded(vectors)
    assert answers([coded], queries, 10) == [answers([coded], query[None], 10)[0] for query in queries]


def test_a_narrow_choice_does_not_starve_an_answer(clustered):
    """With one row in a hundred live, probing looks further and still finds at least 95 of 100 of the ten nearest."""
    vectors, queries = clustered
    live = np.random.default_rng(3).random(len(vectors)) < 0.01
    coded = Coded(vectors, live)
    hits = 0
    for query, got in zip(queries, answers([coded], queries, 10), strict=True):
        hits += len({chunk for chunk, _ in got} & {chunk for chunk, _ in brute_array(coded, query)[:10]})
        assert len(got) == 10 and all(live[int(chunk)] for chunk, _ in got)
    assert hits >= 950


@given(seed=st.integers(0, 10**9), rows=st.integers(1, 40), dim=st.integers(1, 400))
def test_a_score_does_not_depend_on_its_neighbours(seed, rows, dim):
    """Scored alone, in a batch, or out of a strided array: the same bits."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim)).astype(np.float32)
    query = rng.standard_normal(dim).astype(np.float32)
    together = score(vectors, query).tolist()
    assert [score(vectors[n : n + 1], query)[0] for n in range(rows)] == together
    assert score(np.asfortranarray(vectors), query).tolist() == together


@given(seed=st.integers(0, 10**9), dim=st.integers(1, 400), scale=st.sampled_from([1.0, 1e-30, 1e-40, 1e19, 1e38]))
def test_the_bound_on_norms_is_one(seed, dim, scale):
    """No vector is longer, not even where its squares are too small or too large for float32."""
    rows = np.clip(np.random.default_rng(seed).standard_normal((20, dim)) * scale, -3e38, 3e38).astype(np.float32)
    longest = np.linalg.norm(rows.astype(np.float64), axis=1).max()
    bound = rawvectors.norm_bound(rows)
    assert bound >= longest
    assert scale != 1.0 or bound <= longest * 1.001


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


@pytest.mark.parametrize("window", [0, 120])
def test_scores_that_overflow_in_float32_are_not_lost(window):
    """Infinity minus infinity is no candidate for FAISS; such vectors are all scored in float64."""
    vectors = np.zeros((300, 3), dtype=np.float32)
    vectors[0] = [2e38, 2e38, 0]
    vectors[1] = [0, 0, 1e37]
    query = np.array([[10, -9, 1]], dtype=np.float32)
    part = Part(vectors, np.ones(300, dtype=bool), [str(n) for n in range(300)], window)
    assert [match.row.chunk_id for match in top_k([part], query, 1)[0]] == ["0"]
