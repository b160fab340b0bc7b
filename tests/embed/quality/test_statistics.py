"""Sums that add up, whatever way the vectors came."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.embed.quality import statistics
from penstock.embed.quality.statistics import Lot, gathered

DIM = 6
# what commits are has no meaning for their union as one commit
OF_COMMITS = {"commits", "documents_squared", "between", "lengths_between", "sampled", "near"}

Document = list[tuple[int, int]]
"""(seed of the vector, tokens) of each chunk."""
documents = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300)), min_size=1, max_size=5)
commits = st.lists(st.lists(documents, min_size=1, max_size=6), min_size=1, max_size=5)


def vector(seed: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=DIM)
    return (made / np.linalg.norm(made)).astype(np.float32)


def lot(commit: list[Document]) -> Lot:
    chunks = [(f"d{number}", *chunk) for number, document in enumerate(commit) for chunk in document]
    vectors = np.stack([vector(seed) for _, seed, _ in chunks])
    return gathered(vectors, [owner for owner, _, _ in chunks], [tokens for _, _, tokens in chunks])


@given(commits)
def test_what_is_added_up_is_what_the_union_is(parts: list[list[Document]]) -> None:
    """Counts, lengths, norms, sums of squares and the centroid, of any number of commits of any size."""
    total = sum((lot(part) for part in parts[1:]), lot(parts[0]))
    union = lot([document for part in parts for document in part])
    for name in union.figures.keys() - OF_COMMITS:
        assert total.figures[name] == pytest.approx(union.figures[name], rel=1e-9), name
    assert np.allclose(total.vector, union.vector, atol=1e-9)
    assert total.figures["commits"] == len(parts)
    assert total.figures["documents_squared"] == sum(len(part) ** 2 for part in parts)


@given(commits, st.randoms())
def test_the_order_of_commits_does_not_matter(parts: list[list[Document]], random: object) -> None:
    """Whoever loses a race adds the same to what the winner made."""
    one = sum((lot(part) for part in parts[1:]), lot(parts[0]))
    random.shuffle(parts)  # type: ignore[attr-defined]
    other = sum((lot(part) for part in parts[1:]), lot(parts[0]))
    assert one.figures == pytest.approx(other.figures, rel=1e-9)
    assert np.allclose(one.vector, other.vector, atol=1e-9)


def test_a_document_counts_once_however_long_it_is() -> None:
    """A book beside nine notes does not move the centroid by more than a note."""
    notes: list[Document] = [[(1, 10)] for _ in range(9)]
    book: Document = [(2, 200)] * 3000
    assert np.allclose(lot([*notes, book]).vector / 10, 0.9 * vector(1) + 0.1 * vector(2), atol=1e-6)
    assert lot([*notes, book]).figures["lengths"] == 9 * 10 + 200


def test_many_documents_are_gathered_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sums, wherever the parts end."""
    many: list[Document] = [[(n % 7, n % 90 + 1)] * (n % 9 + 1) for n in range(60)]
    whole = lot(many)
    for rows in (1, 7, 64):
        monkeypatch.setattr(statistics, "_ROWS", rows)
        assert np.allclose(lot(many).vector, whole.vector)
        assert lot(many).figures == pytest.approx(whole.figures)


def test_near_duplicates_are_counted_among_neighbours() -> None:
    """Three of ten vectors are copies of one; of very many vectors a bounded number is looked at."""
    some: list[Document] = [[(seed, 5)] for seed in (1, 2, 3, 4, 5, 6, 7, 8, 8, 8)]
    figures = lot(some).figures
    assert (figures["sampled"], figures["near"]) == (10, 3)
    many = np.repeat(vector(1)[None], 20_000, axis=0)
    figures = gathered(many, [str(n) for n in range(20_000)], [1] * 20_000).figures
    assert figures["sampled"] <= statistics.BLOCK * statistics.BLOCKS and figures["near"] == figures["sampled"]
