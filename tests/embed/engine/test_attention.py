"""Attention among the tokens of each sequence is that of the sequence alone."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from penstock.embed.engine import attention
from penstock.embed.engine.attention import ByRun
from penstock.embed.engine.packing import Pack, Packing

HEADS, WIDTH = 3, 8


def expected(states: Any, lengths: tuple[int, ...], bias: Any = None) -> Any:
    """Each sequence by itself, with torch's own attention in fp32."""
    found = []
    for part in states[: sum(lengths)].float().split(list(lengths)):
        query, key, value = part.view(len(part), 3, HEADS, WIDTH).permute(1, 2, 0, 3)
        mask = None if bias is None else bias[:, : len(part), : len(part)]
        mixed = scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask, scale=1.0)
        found.append(mixed[0].transpose(0, 1).reshape(len(part), HEADS * WIDTH))
    return torch.cat(found)


def pack_of(lengths: list[int]) -> Pack:
    (pack,) = Packing(budget=sum(lengths), step=16).plan(lengths)
    return pack


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_each_sequence_attends_to_itself_alone(lengths: list[int], biased: bool, low: bool) -> None:
    """Equally long neighbours are computed at once, and do not see each other."""
    pack = pack_of(lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    dtype = torch.bfloat16 if low else torch.float32
    states = torch.randn((pack.padded, 3 * HEADS * WIDTH), generator=generator).to(dtype)
    bias = torch.randn((HEADS, 40, 40), generator=generator) if biased else None
    out = torch.zeros((pack.padded, HEADS * WIDTH), dtype=dtype)
    ByRun(HEADS, bias)(states, pack, out)
    close = expected(states, pack.lengths, bias)
    assert torch.allclose(out[: sum(lengths)].float(), close, atol=0.05 if low else 1e-5)
    assert not out[sum(lengths) :].any()


def test_a_long_sequence_needs_no_square_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a length, scores are never held whole; the result is the same."""
    monkeypatch.setattr(attention, "_LONGEST", 20)
    pack = pack_of([50, 50, 7])
    states = torch.randn((pack.padded, 3 * HEADS * WIDTH), generator=torch.Generator().manual_seed(1))
    bias = torch.randn((HEADS, 50, 50), generator=torch.Generator().manual_seed(2))
    out = torch.zeros((pack.padded, HEADS * WIDTH))
    attend = ByRun(HEADS, bias)
    attend(states, pack, out)
    assert torch.allclose(out[:107], expected(states, pack.lengths, bias), atol=1e-5)
    assert attend._kept["scores"].numel() == HEADS * 7 * 7


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(0, 100))
def test_bounds_cover_every_token_in_order(lengths: list[int], filling: int) -> None:
    """The filling belongs to sequences too, none longer than the longest; their number is fixed."""
    padded = sum(lengths) + filling
    found = attention.bounds(lengths, padded, 30, 40)
    sizes = np.diff(found)
    assert found.dtype == np.int32
    assert found[0] == 0 or not padded
    assert found[-1] == padded
    assert sizes.min() >= 0
    assert sizes.max() <= 30
    assert sizes[: len(lengths)].tolist() == lengths
