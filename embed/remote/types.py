"""What an encoder elsewhere is asked with, and how asking goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Terms(msgspec.Struct, frozen=True):
    """What an endpoint is asked for, and what one request may hold.

    `dimensions`: sent along, and what must come back; None: the model's own. `normalize`: scale what comes to unit
    norm; else it must come so. `max_items`, `max_request_tokens`: of one request; `max_text_tokens`: of one text,
    prompt included. `at_once`: requests that may be under way. `exact`: token counts are the model's own and no
    estimate.
    """

    model: str
    dimensions: int | None = None
    normalize: bool = False
    encoding: Literal["float", "base64"] = "float"
    max_items: int = 32
    max_request_tokens: int = 16_384
    max_text_tokens: int = 512
    at_once: int = 8
    query_prompt: str = ""
    document_prompt: str = ""
    exact: bool = False


class Response(msgspec.Struct, frozen=True):
    """An answer: 2xx, 3xx or 4xx. `headers` have lower-case names. No secret is in a body that is an error's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Post(Protocol):
    """Sends a JSON body to the endpoint, within its budgets, and gives what `judge` makes of the answer. Thread-safe.

    `tokens`: what the request weighs, at most. `judge` returns its value and the tokens that were paid for; it is
    called for each answer. When it raises `Unsound` the request is repeated, as it is after faults of the network and
    the server and after 429, whatever `judge` returns for that; anything else that it raises ends the request.

    Raises `GaveUp` when that was repeated often enough, and `EncoderUnavailable` when asking makes no sense for now.
    """

    def __call__(self, body: bytes, tokens: int, judge: Callable[[Response], tuple[T, int]]) -> T: ...


class Unsound(Exception):
    """An answer that is not what was asked for, and may be so the next time."""


class GaveUp(Exception):
    """No good answer came to one request, however often it was sent. `after`: seconds until it may be better.

    `by_items`: it may be because of what is in the request (errors of the server, answers that are none), and not
    because nothing is there to answer, or too much is asked.
    """

    def __init__(self, message: str, *, after: float | None = None, by_items: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.by_items = by_items


class Declined(Exception):
    """The endpoint does not take this request: too many items, too many tokens, or a text that it refuses (400, 413,
    422). The message is the server's own, in one line, without the text."""
