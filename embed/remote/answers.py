"""An answer read and judged: vectors at their positions, or why there is none. Nothing is believed."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.remote.types import Response, Terms, Unsound

UNIT = 0.02
"""How far from 1 a norm may be where unit norm is promised: half precision on the way costs less."""
SMALLEST, LARGEST = 1e-6, 1e6
"""Of the largest component: beyond these it is no vector, however it is scaled."""
FLAT = 1e-6
"""Components that differ by less than that share of the largest are one and the same: a constant says nothing."""


class Answer(msgspec.Struct, frozen=True):
    """`vectors` float32 (n, dim), unit norm where `faults` says nothing; `faults`: position -> what is wrong with it.

    `tokens` as the server counted them, -1 if it did not say.
    """

    vectors: NDArray[np.float32]
    faults: dict[int, str]
    tokens: int


class _Item(msgspec.Struct):
    index: int
    embedding: list[float | None] | str


class _Usage(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Body(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


_DECODER = msgspec.json.Decoder(_Body)  # made while importing: threads that make one at once can end the process


def read(response: Response, count: int, dim: int | None, terms: Terms) -> Answer:
    """The vectors of `count` texts. `dim` None: as wide as they all are. Raises `Unsound` for an answer that is none:
    not the JSON that was asked for, an index that is missing, there twice or unknown, vectors of another width."""
    body = _body(response.body)
    indexes = sorted(item.index for item in body.data)
    if indexes != list(range(count)):
        raise Unsound(f"the answer has {_odd(indexes, count)}")
    rows: list[NDArray[np.float64] | None] = [None] * count
    for item in body.data:
        rows[item.index] = _numbers(item.embedding)
    widths = {len(row) for row in rows if row is not None}
    wanted = dim or terms.dimensions or (max(widths) if widths else 0)
    if widths - {wanted} or not wanted:
        raise Unsound(f"the answer has vectors of {max(widths - {wanted}, default=0)} dimensions, not {wanted}")
    vectors, faults = np.zeros((count, wanted), dtype=np.float32), dict[int, str]()
    for position, row in enumerate(rows):
        made = _unit(row, terms.normalize)
        if isinstance(made, str):
            faults[position] = made
        else:
            vectors[position] = made
    usage = body.usage or _Usage()
    tokens = usage.total_tokens if usage.total_tokens is not None else usage.prompt_tokens
    return Answer(vectors, faults, tokens if tokens is not None and tokens >= 0 else -1)


def _body(data: bytes) -> _Body:
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        # Python's servers write NaN, which is no JSON: that must cost one text and not the whole request, for ever.
        return msgspec.convert(_no_constants(json.loads(data)), _Body)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise Unsound("the answer is not the JSON of embeddings") from None


def _no_constants(value: Any) -> Any:
    items = value.get("data") if isinstance(value, dict) else None
    for item in items if isinstance(items, list) else ():
        row = item.get("embedding") if isinstance(item, dict) else None
        if isinstance(row, list):
            item["embedding"] = [None if isinstance(x, float) and not np.isfinite(x) else x for x in row]
    return value


def _numbers(embedding: list[float | None] | str) -> NDArray[np.float64]:
    """As numbers; null is not finite."""
    if isinstance(embedding, str):
        try:
            data = base64.b64decode(embedding, validate=True)
        except (binascii.Error, ValueError):
            raise Unsound("the answer has a vector that is no base64") from None
        if len(data) % 4:
            raise Unsound("the answer has a vector that is not made of 32-bit floats")
        return np.frombuffer(data, dtype="<f4").astype(np.float64)
    return np.array(embedding, dtype=np.float64)


def _unit(row: NDArray[np.float64] | None, normalize: bool) -> NDArray[np.float64] | str:
    """The vector of unit norm, or what is wrong with it."""
    if row is None or not np.isfinite(row).all():
        return "its vector is not finite"
    most = float(np.abs(row).max(initial=0.0))
    if not SMALLEST < most < LARGEST:
        return "its vector is zero" if most <= SMALLEST else "its vector is far too large"
    norm = float(np.linalg.norm(row))
    if len(row) > 1 and float(np.ptp(row)) <= FLAT * most:
        return "its vector is constant"
    if not normalize and abs(norm - 1) > UNIT:
        return f"its vector has norm {norm:.3g} and not 1; if that is how the model is, set [embed.endpoint] normalize"
    return row / norm


def _odd(indexes: list[int], count: int) -> str:
    if len(set(indexes)) < len(indexes):
        return "an index twice"
    if unknown := set(indexes) - set(range(count)):
        return f"the index {min(unknown)}, which was not asked for"
    return f"{len(indexes)} vectors for {count} texts"


def nothing() -> Answer:
    """No vectors."""
    return Answer(np.zeros((0, 0), dtype=np.float32), {}, 0)
