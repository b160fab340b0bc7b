"""Nothing is believed that comes back: what is not a vector of its text is never taken for one."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.remote import answers
from penstock.embed.remote.types import Response, Terms, Unsound

TERMS = Terms("m")
NUMBERS = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.just(float("nan")), st.text()
)


def response(data: Any, **more: Any) -> Response:
    return Response(200, {}, json.dumps({"data": data, **more}).encode())


def rows(*vectors: Any) -> list[dict[str, Any]]:
    return [{"index": k, "embedding": row} for k, row in enumerate(vectors)]


def test_vectors_are_put_where_their_index_says() -> None:
    """The order of the answer does not matter, and the server's count of tokens is taken."""
    data = rows([0.6, 0.8], [1.0, 0.0])[::-1]
    found = answers.read(response(data, usage={"total_tokens": 7}), 2, None, TERMS)
    np.testing.assert_allclose(found.vectors, [[0.6, 0.8], [1, 0]], atol=1e-7)
    assert (found.faults, found.tokens, found.vectors.dtype) == ({}, 7, np.float32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (rows([0.6, 0.8]), "1 vectors for 2"),
        ([*rows([0.6, 0.8]), {"index": 0, "embedding": [1, 0]}], "an index twice"),
        (rows([0.6, 0.8], [1, 0], [0, 1]), "index 2"),
        ([{"index": 0, "embedding": [1, 0]}, {"index": -1, "embedding": [1, 0]}], "index -1"),
        (rows([0.6, 0.8], [1, 0, 0]), "dimensions"),
        ([{"embedding": [1, 0]}, {"embedding": [0, 1]}], "JSON"),
        (rows("no base64!", [1, 0]), "base64"),
        (rows(base64.b64encode(b"abc").decode(), [1, 0]), "32-bit"),
        ("nothing", "JSON"),
    ],
)
def test_an_answer_that_is_none_is_said_to_be_none(data: Any, said: str) -> None:
    """Then the request is made again."""
    with pytest.raises(Unsound, match=said):
        answers.read(response(data), 2, 2, TERMS)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([None, 1.0], "finite"), ([float("nan"), 1.0], "finite"), ([float("inf"), 1.0], "finite"), ([0, 0], "zero"),
        ([0.5**0.5, 0.5**0.5], "constant"), ([3.0, 4.0], "norm 5"), ([1e300, 1.0], "too large"),
    ],
)  # fmt: skip
def test_a_vector_that_is_none_costs_its_text_alone(row: list[float], said: str) -> None:
    """The other one of the answer is taken."""
    found = answers.read(response(rows(row, [0.6, 0.8])), 2, 2, TERMS)
    assert list(found.faults) == [0] and said in found.faults[0]
    np.testing.assert_allclose(found.vectors[1], [0.6, 0.8], atol=1e-7)


def test_half_precision_on_the_way_is_mended() -> None:
    """A norm of 1.003 becomes 1; where it is configured, so does any other."""
    (row,) = answers.read(response(rows([0.603, 0.802])), 1, None, TERMS).vectors
    assert abs(np.linalg.norm(row) - 1) < 1e-6
    (row,) = answers.read(response(rows([30.0, 40.0])), 1, None, Terms("m", normalize=True)).vectors
    np.testing.assert_allclose(row, [0.6, 0.8], atol=1e-7)


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {"index": st.one_of(st.integers(-1, 3), st.text(max_size=2), st.none())},
                optional={"embedding": st.one_of(st.lists(NUMBERS, max_size=4), st.text(max_size=9))},
            ),
        ),
        max_size=4,
    ),
    st.integers(1, 3),
    st.booleans(),
)
def test_whatever_comes_is_a_unit_vector_or_a_fault(data: Any, count: int, normalize: bool) -> None:
    """Each position has one of the two, or the answer is none."""
    try:
        found = answers.read(response(data), count, None, Terms("m", normalize=normalize))
    except Unsound:
        return
    for position in range(count):
        if position not in found.faults:
            row = found.vectors[position]
            assert np.isfinite(row).all() and abs(np.linalg.norm(row) - 1) < 1e-5
            assert len(row) == 1 or row.min() < row.max()


@given(st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(Unsound):
        answers.read(Response(200, {}, body), 1, None, TERMS)
