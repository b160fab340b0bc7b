"""What each kind of misbehaviour does to a request: one function each, by the names of `faults.KINDS`."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

from tests.fakes.rough.wire import Answer, Exchange, Header, head

BOMB_MEGABYTES = 96
SORRY = b"<!doctype html><html><head><title>Sorry</title></head><body><h1>We will be back</h1></body></html>"
HTML: tuple[Header, ...] = (("content-type", "text/html; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Means:
    """`wait`: seconds of Retry-After; `stall`: seconds that slow kinds last; `elsewhere`: another origin's URL."""

    wait: float = 1.0
    stall: float = 30.0
    elsewhere: str = "http://127.0.0.1:9"


Misdeed = Callable[[Exchange, Answer, Means], Awaitable[None]]


def _says(status: int, body: bytes = SORRY, headers: tuple[Header, ...] = HTML) -> Misdeed:
    async def do(exchange: Exchange, answer: Answer, means: Means) -> None:
        await exchange.answer(Answer(status, headers, body))

    return do


async def _throttled(exchange: Exchange, answer: Answer, means: Means) -> None:
    await exchange.answer(Answer(429, (("retry-after", str(round(means.wait))),), b""))


async def _throttled_date(exchange: Exchange, answer: Answer, means: Means) -> None:
    # A date has whole seconds, and is told by our own clock, which may be wrong: so is our Date.
    await exchange.answer(Answer(429, (("retry-after", exchange.date(means.wait)),), b""))


async def _reset(exchange: Exchange, answer: Answer, means: Means) -> None:
    await exchange.reset(0)


async def _reset_mid(exchange: Exchange, answer: Answer, means: Means) -> None:
    _half(exchange, answer)
    await exchange.reset()


async def _truncated(exchange: Exchange, answer: Answer, means: Means) -> None:
    _half(exchange, answer)
    await exchange.close()


async def _too_long(exchange: Exchange, answer: Answer, means: Means) -> None:
    exchange.raw_head(answer.status, answer.headers, len(answer.body) + 17)
    exchange.raw(answer.body)
    await exchange.close()


async def _too_short(exchange: Exchange, answer: Answer, means: Means) -> None:
    exchange.raw_head(answer.status, answer.headers, len(answer.body) // 2)
    exchange.raw(answer.body)
    await exchange.close()


async def _stalled(exchange: Exchange, answer: Answer, means: Means) -> None:
    _half(exchange, answer)
    await exchange.left(means.stall)
    await exchange.close()


async def _silent(exchange: Exchange, answer: Answer, means: Means) -> None:
    await exchange.left(means.stall)
    await exchange.close()


async def _loris(exchange: Exchange, answer: Answer, means: Means) -> None:
    start = head(200, [("x-slow", "a" * 60_000)])
    await _dripping(exchange, start, means.stall)


async def _drip(exchange: Exchange, answer: Answer, means: Means) -> None:
    exchange.raw_head(answer.status, answer.headers, len(answer.body) + 60_000)
    await _dripping(exchange, answer.body + b" " * 60_000, means.stall)


async def _dripping(exchange: Exchange, data: bytes, seconds: float) -> None:
    until = time.monotonic() + seconds
    for byte in data:
        exchange.raw(bytes([byte]))
        if time.monotonic() > until or await exchange.left(0.05):
            break
    await exchange.close()


async def _garbage(exchange: Exchange, answer: Answer, means: Means) -> None:
    noise = random.Random(answer.body).randbytes(len(answer.body))
    await exchange.answer(Answer(answer.status, answer.headers, noise))


async def _wrong_digest(exchange: Exchange, answer: Answer, means: Means) -> None:
    if not answer.is_file:
        await _says(500)(exchange, answer, means)
        return
    wrong = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    headers = tuple((name, wrong if name == "repr-digest" else value) for name, value in answer.headers)
    await exchange.answer(Answer(answer.status, headers, answer.body))


async def _error_page(exchange: Exchange, answer: Answer, means: Means) -> None:
    await _says(502 if answer.is_file else 200)(exchange, answer, means)


async def _gzip_bomb(exchange: Exchange, answer: Answer, means: Means) -> None:
    headers = (*(pair for pair in answer.headers if pair[0] != "content-encoding"), ("content-encoding", "gzip"))
    await exchange.answer(Answer(200, headers, _bomb()))


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(BOMB_MEGABYTES)) + packer.flush()


async def _huge_header(exchange: Exchange, answer: Answer, means: Means) -> None:
    exchange.raw_head(200, (("x-huge", "h" * (1 << 20)), *answer.headers), len(answer.body))
    exchange.raw(answer.body)
    await exchange.close()


def _redirects(to: Callable[[Exchange, Means], str]) -> Misdeed:
    async def do(exchange: Exchange, answer: Answer, means: Means) -> None:
        await exchange.answer(Answer(302, (("location", to(exchange, means)),), b""))

    return do


def _half(exchange: Exchange, answer: Answer) -> None:
    exchange.raw_head(answer.status, answer.headers, len(answer.body))
    exchange.raw(answer.body[: len(answer.body) // 2])


MISDEEDS: dict[str, Misdeed] = {
    "throttled": _throttled,
    "throttled_date": _throttled_date,
    "throttled_bare": _says(429, b"slow down", (("content-type", "text/plain"),)),
    "error_500": _says(500),
    "error_502": _says(502),
    "error_503": _says(503),
    "reset": _reset,
    "reset_mid": _reset_mid,
    "truncated": _truncated,
    "too_long": _too_long,
    "too_short": _too_short,
    "stalled": _stalled,
    "loris": _loris,
    "drip": _drip,
    "silent": _silent,
    "garbage": _garbage,
    "error_page": _error_page,
    "other_page": _says(200),
    "wrong_digest": _wrong_digest,
    "gzip_bomb": _gzip_bomb,
    "huge_header": _huge_header,
    "redirect_loop": _redirects(lambda exchange, means: exchange.target),
    "redirect_private": _redirects(lambda exchange, means: "http://169.254.169.254/latest/meta-data/"),
    "redirect_elsewhere": _redirects(lambda exchange, means: f"{means.elsewhere}{exchange.target}"),
    "forbidden": _says(403, b'{"error": "not for you"}', (("content-type", "application/json"),)),
    "expired": _says(401, b'{"error": "invalid_token"}', (("www-authenticate", 'Bearer error="invalid_token"'),)),
    "not_found": _says(404, b'{"error": "no such thing"}', (("content-type", "application/json"),)),
}
