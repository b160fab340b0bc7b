"""Vectors that are none, and an encoder that gives everything one vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.embed.quality import checks


def units(count: int, dim: int = 24, seed: int = 1) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def constant(dim: int = 24) -> NDArray[np.float32]:
    return np.full(dim, dim**-0.5, dtype=np.float32)


SPOILED = {
    "not finite": np.array([np.nan, *[0.2] * 23], dtype=np.float32),
    "not finite, infinite": np.array([np.inf, *[0.2] * 23], dtype=np.float32),
    "has norm 0, not 1": np.zeros(24, dtype=np.float32),
    "has norm 1.01": units(1)[0] * np.float32(1.01),
    "are the same": constant(),
    "are the same, negative": -constant(),
}


def test_sound_vectors_pass() -> None:
    """Unit vectors of any kind, also none at all and almost one-hot ones."""
    assert not checks.unsound(units(500)).any()
    assert checks.unsound(units(0)).shape == (0,)
    assert not checks.unsound(np.eye(24, dtype=np.float32)).any()
    assert not checks.unsound(units(3) * np.float32(1.0005)).any()


@pytest.mark.parametrize("name", SPOILED)
def test_a_vector_that_is_none_is_found_alone_and_named(name: str) -> None:
    """Its neighbours are sound, and the reason is said."""
    vectors = units(5)
    vectors[3] = SPOILED[name]
    assert checks.unsound(vectors).tolist() == [False, False, False, True, False]
    assert name.partition(",")[0] in checks.why(vectors[3])


@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(st.integers(0, 299), st.sampled_from(sorted(SPOILED))), max_size=5, unique_by=lambda hit: hit[0]
    ),
)
def test_exactly_the_spoiled_ones_are_found(count: int, spoiled: list[tuple[int, str]]) -> None:
    """Wherever they are, however many."""
    vectors, wrong = units(count), {at for at, _ in spoiled if at < count}
    for at, name in spoiled:
        if at < count:
            vectors[at] = SPOILED[name]
    assert set(np.flatnonzero(checks.unsound(vectors)).tolist()) == wrong


def test_different_texts_with_one_vector_are_a_collapse() -> None:
    """Whatever the vector is, and however little it trembles."""
    ids = [(1, n) for n in range(6)]
    same = np.repeat(units(1), 6, axis=0)
    assert checks.collapsed(same, ids)
    assert checks.collapsed(same + np.linspace(0, 5e-7, 6, dtype=np.float32)[:, None], ids)


def test_equal_texts_and_few_texts_are_none() -> None:
    """The same text again has the same vector; two texts may be almost the same; one other vector is enough."""
    same = np.repeat(units(1), 6, axis=0)
    assert not checks.collapsed(same, [(1, 2)] * 6)
    assert not checks.collapsed(same, [(1, 2)] * 4 + [(3,)] * 2)
    assert not checks.collapsed(same[:3], [(1, n) for n in range(3)])
    other = same.copy()
    other[5] = units(1, seed=2)[0]
    assert not checks.collapsed(other, [(1, n) for n in range(6)])
    assert not checks.collapsed(units(6), [(1, n) for n in range(6)])
    assert not checks.collapsed(units(0), [])
