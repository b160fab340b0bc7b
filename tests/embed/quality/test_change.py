"""What is told of a run, and what is not: chance is silent, another kind of documents is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed.quality import change
from penstock.embed.quality.statistics import Lot, gathered

DIM = 64


def corpus(
    count: int, seed: int, topic: int = 0, pull: float = 1.0, tokens: tuple[int, int] = (20, 250)
) -> tuple[NDArray[np.float32], list[int]]:
    """Unit vectors around a topic's direction, and lengths."""
    random = np.random.default_rng([seed, 1])
    centre = np.random.default_rng([topic, 2]).normal(size=DIM)
    made = random.normal(size=(count, DIM)) + pull * centre
    lengths = random.integers(*tokens, size=count).tolist()
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32), lengths


def lot(made: tuple[NDArray[np.float32], list[int]]) -> Lot:
    return gathered(made[0], [str(n) for n in range(len(made[0]))], made[1])


BEFORE = lot(corpus(500, 0))


def test_documents_of_the_same_kind_are_silent() -> None:
    """However many or few there are: chance alone is told of in fewer than one run in a hundred."""
    runs = [(seed, 3 + seed * 7 % 58) for seed in range(1, 301)]
    told = [run for run in runs if change.told(BEFORE, lot(corpus(run[1], run[0])))]
    assert len(told) < len(runs) / 100


def test_documents_of_another_kind_are_told() -> None:
    """From ten documents on, with the cosine of the centroids."""
    (line,) = change.told(BEFORE, lot(corpus(40, 5, topic=9)))
    assert "lie elsewhere" in line and "0." in line
    assert change.told(BEFORE, lot(corpus(9, 5, topic=9))) == []
    assert change.told(lot(corpus(29, 0)), lot(corpus(40, 5, topic=9))) == []


def test_a_turned_space_is_told() -> None:
    """A model whose dimensions are exchanged makes vectors as good as before, and elsewhere."""
    vectors, lengths = corpus(60, 7)
    assert len(change.told(BEFORE, lot((vectors[:, ::-1].copy(), lengths)))) == 1


def test_longer_chunks_are_told() -> None:
    """A parser that no longer finds paragraphs makes chunks that are full."""
    (line,) = change.told(BEFORE, lot(corpus(60, 7, tokens=(240, 256))))
    assert "248 tokens on average, 137 before" in line


def test_copies_are_told() -> None:
    """Where nearly every vector has a twin, something is boilerplate."""
    vectors, lengths = corpus(60, 7)
    doubled = np.repeat(vectors, 3, axis=0), lengths * 3
    assert any("near-duplicate" in line for line in change.told(BEFORE, lot(doubled)))


def test_commits_that_always_differ_make_another_one_no_news() -> None:
    """Where each commit brought a topic of its own, the next topic is as usual."""
    base = lot(corpus(40, 100, topic=100))
    for number in range(1, 12):
        base = base + lot(corpus(40, 100 + number, topic=100 + number))
    assert change.told(base, lot(corpus(40, 200, topic=200))) == []
    alike = lot(corpus(40, 100))
    for number in range(1, 12):
        alike = alike + lot(corpus(40, 100 + number))
    assert len(change.told(alike, lot(corpus(40, 200, topic=200)))) == 1


@pytest.mark.parametrize("commits", [1, 40])
def test_a_space_without_variance_is_no_division_by_zero(commits: int) -> None:
    """Equal documents before: equal ones now are silent, others are told."""
    one = corpus(1, 1)
    before = lot((np.repeat(one[0], 40, axis=0), [100] * 40))
    if commits > 1:
        single = lot((one[0], [100]))
        before = sum((single for _ in range(commits - 1)), single)
    same = lot((np.repeat(one[0], 12, axis=0), [100] * 12))
    assert [line for line in change.told(before, same) if "near" not in line] == []
    assert any("lie elsewhere" in line for line in change.told(before, lot(corpus(12, 3))))


def test_figures_are_given_with_and_without_a_before() -> None:
    """Numbers that JSON can hold; the distance only where there is something to be distant from."""
    now = lot(corpus(40, 5))
    alone, beside = change.described(None, now), change.described(BEFORE, now)
    assert alone.keys() < beside.keys()
    assert alone["documents"] == 40 and beside["before_documents"] == 500
    assert alone["norm_mean"] == pytest.approx(1, abs=1e-5)
    assert beside["centroid_cosine"] > 0.9 and np.isfinite(list(beside.values())).all()
    assert change.described(lot(corpus(1, 1)), now).keys() == alone.keys()
