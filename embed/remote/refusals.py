"""What the status of an answer means, by what to do next; and what the server said, without anybody's text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from penstock.embed.remote.types import Declined, Response
from penstock.embed.types import EncoderUnavailable

ABOUT_ITEMS = (400, 413, 422)
LONGEST = 240
"""Characters of a server's message that are kept."""
_PIECE = 12
"""Characters: a shorter piece of a text within a message is a word like any other."""
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_TOO_LARGE = "request too large"


def check(response: Response, texts: Sequence[str]) -> None:
    """Return for 2xx and for a 429 that waiting mends. Raises `Declined` and `EncoderUnavailable`.

    `texts` are those of the request: none of them is repeated in a message.
    """
    status = response.status
    if status < 300:
        return
    words = list(_words(response.body))
    said = without(_line(words), texts)
    told = f" ({said})" if said else ""
    if status in ABOUT_ITEMS or (status == 429 and _TOO_LARGE in said.lower()):
        raise Declined(f"{status}{told}")
    if status == 402 or (status == 429 and any(code in words for code in _NO_MONEY)):
        raise EncoderUnavailable(
            f"the endpoint's quota is used up, or its account has no money{told}: mend that, then run again"
        )
    if status == 429:
        return
    raise EncoderUnavailable(_fix(status) + told)


def _fix(status: int) -> str:
    if status == 401:
        return "the endpoint does not accept the key (401): check [embed.endpoint] key and what it names"
    if status == 403:
        return "the endpoint does not let this key use this model (403): check [embed.endpoint] key and [embed] model"
    if status == 404:
        return "the endpoint knows no such model, or is not there (404): check [embed] model and [embed.endpoint] url"
    if status < 400:
        return f"the endpoint redirects ({status}), which is not followed: give its own address in [embed.endpoint] url"
    return f"the endpoint takes no requests like this ({status}): check [embed.endpoint] url"


def without(message: str, texts: Sequence[str]) -> str:
    """The message, cut to `LONGEST`, with `…` for every piece of a text that is in it."""
    message = message[: 4 * LONGEST]
    hide = [False] * len(message)
    for at in range(len(message)):
        piece = message[at : at + _PIECE]
        if len(piece) == _PIECE and any(piece in text for text in texts):
            hide[at : at + _PIECE] = [True] * _PIECE
    for text in texts:
        at = message.find(text) if 4 <= len(text) < _PIECE else -1
        while at >= 0:
            hide[at : at + len(text)] = [True] * len(text)
            at = message.find(text, at + 1)
    kept = [char if not hidden else "…" for char, hidden in zip(message, hide, strict=True)]
    shown = [char for k, char in enumerate(kept) if char != "…" or k == 0 or kept[k - 1] != "…"]
    return "".join(shown)[:LONGEST]


def _line(words: Sequence[str]) -> str:
    return " ".join(": ".join(dict.fromkeys(words)).split())


def _words(body: bytes) -> Iterator[str]:
    """What an error says: OpenAI's `error`, FastAPI's `detail`, vLLM's `message`, TEI's `error` as text."""
    try:
        said = json.loads(body[: 1 << 16])
    except (ValueError, RecursionError):
        return
    yield from _said(said, 0)


def _said(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 4:
        for each in value[:4]:
            yield from _said(each, depth + 1)
    elif isinstance(value, dict) and depth < 4:
        # Not `input` and `ctx`, which are what was sent.
        for key in ("error", "detail", "message", "msg", "code", "type"):
            if key in value:
                yield from _said(value[key], depth + 1)
