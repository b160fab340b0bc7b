"""What a refusal means, and what of it may be repeated to people."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.remote import refusals
from penstock.embed.remote.types import Declined, Response
from penstock.embed.types import EncoderUnavailable


def refused(status: int, body: Any, *texts: str) -> None:
    refusals.check(Response(status, {}, json.dumps(body).encode()), texts)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"error": {"message": "maximum context length is 8192 tokens", "code": None}}, "8192 tokens"),
        (413, {"error": "Input validation error: `inputs` must have less than 512 tokens", "error_type": "x"}, "512"),
        (422, {"detail": [{"loc": ["body"], "msg": "too long", "input": "the secret plan"}]}, "too long"),
        (400, {"object": "error", "message": "This model's maximum context length", "code": 400}, "maximum"),
        (429, {"error": {"message": "Request too large for m: Limit 40000, Requested 60000"}}, "too large"),
        (400, "broken", "400"),
    ],
)
def test_what_is_about_the_texts_is_declined_in_the_servers_words(status: int, body: Any, said: str) -> None:
    """OpenAI, text-embeddings-inference, FastAPI, vLLM: each says it elsewhere. What was sent is not repeated."""
    with pytest.raises(Declined, match=said) as error:
        refused(status, body, "the secret plan")
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_empty_account_is_not_asked_again(code: str) -> None:
    """It is a 429 like any other, but for its code."""
    with pytest.raises(EncoderUnavailable, match="quota"):
        refused(429, {"error": {"message": "You exceeded your current quota", "code": code}})
    refused(429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}})


def test_well_is_well() -> None:
    """2xx says nothing."""
    refused(200, {"data": []})


@given(st.text(min_size=12, max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_no_piece_of_a_text_is_repeated(text: str, before: str, after: str) -> None:
    """However the server quotes it: no twelve characters in a row, and never more than is readable."""
    said = refusals.without(f"{before}{text}{after}", [text])
    assert all(text[at : at + 12] not in said for at in range(len(text) - 11) if "…" not in text[at : at + 12])
    assert len(said) <= refusals.LONGEST
