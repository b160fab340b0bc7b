"""An endpoint that speaks OpenAI's `/v1/embeddings`, serves real vectors, and misbehaves by seed.

    with Serving(Embeddings(seed=7, rate=0.3)) as server:
        ... f"{server.url}/v1" ...

Vectors are a projection of hashed trigrams: a pure function of the text, alike for texts that are alike. Under uvicorn
with h11 only, as the rough source, whose wire it uses.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.rough.wire import Answer, Exchange

DIM = 64
POISON, UNSPEAKABLE, DEADLY = "poison", "unspeakable", "deadly"
"""Words: a text with the first is refused with 400 (nobody says which), the second becomes NaN, the third is a 500."""
FAULTS = (
    "429", "429 after", "500", "502", "503", "reset", "reset body", "drip", "truncated", "shuffled", "missing",
    "duplicate", "extra", "width", "nan", "zero", "constant", "norm", "hang", "no json", "424",
)  # fmt: skip
MOST = 2
"""Faults that the same texts meet, and answers in which one text is spoilt, unless every request meets a fault: so that
a test is not at the mercy of chance."""
LOST = ("drip", "hang", "reset body", "truncated", "missing", "duplicate", "extra", "width", "no json", "reset")
"""After these the work was done, and the client has nothing of it."""
SPOILING = ("nan", "zero", "constant", "norm")
"""One text has no vector; the others have theirs."""
_WORD = re.compile(r"\w{1,6}|[^\w\s]")


@dataclass(slots=True)
class Limits:
    """None: not enforced. `window`: seconds of what is called a minute."""

    items: int = 2048
    request_tokens: int = 1 << 30
    text_tokens: int = 512
    requests: int | None = None
    tokens: int | None = None
    window: float = 1.0


@dataclass(slots=True)
class Asked:
    """One request, as it came. `status` is what it got, 0 if nothing."""

    at: float
    texts: tuple[str, ...]
    tokens: int
    fault: str = ""
    status: int = 0
    given: int = 0
    """Usable vectors in the answer."""


@dataclass
class Embeddings:
    """An ASGI app. Everything is open to change between requests. `rate`: the share of requests with a fault of
    `faults`. `announce`: say limits in headers. `quota`: tokens until the account is empty."""

    seed: int = 0
    rate: float = 0.0
    faults: Sequence[str] = FAULTS
    limits: Limits = field(default_factory=Limits)
    announce: bool = False
    quota: int | None = None
    key: str = ""
    latency: float = 0.0
    scale: float = 1.0
    """The norm of vectors."""
    counts: float = 1.0
    """Of the tokens that are there, so many are said to be."""
    status: int = 0
    """Every request is answered with it, if it is not 0."""
    shift: float = 0.0
    """Another model under the same name: so much of it is in the vectors."""

    def __post_init__(self) -> None:
        self.asked: list[Asked] = []
        self.billed = 0
        self.inside = self.most_inside = 0
        """Requests that are being answered, now and at most."""
        self._dice = random.Random(self.seed)
        self._struck: Counter[tuple[str, ...]] = Counter()
        self._spoilt_for: Counter[str] = Counter()
        self._lock = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        body = await exchange.form()
        if exchange.method != "POST" or not exchange.path.endswith("/embeddings"):
            await exchange.answer(error(404, "there is nothing here"))
            return
        asked = json.loads(body)
        texts = tuple(asked["input"])
        seen = Asked(time.monotonic(), texts, sum(map(tokens_of, texts)))
        with self._lock:
            if self._dice.random() < self.rate and (self._struck[texts] < MOST or self.rate == 1.0):
                seen.fault = self._dice.choice(self.faults)
                self._struck[texts] += 1
            self.asked.append(seen)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await self._serve(exchange, asked, seen)
        finally:
            self.inside -= 1

    async def _serve(self, exchange: Exchange, asked: dict[str, Any], seen: Asked) -> None:
        if self.latency:
            await exchange.left(self.latency)
        refusal = self._refusal(exchange, seen)
        if refusal is not None:
            seen.status = refusal.status
            await exchange.answer(refusal)
            return
        self.billed += seen.tokens
        answer = self._answer(asked, seen)
        match seen.fault:
            case "reset":
                await exchange.reset(0.0)
            case "hang":
                await exchange.left(30.0)
            case "reset body":
                exchange.raw_head(200, answer.headers, len(answer.body))
                exchange.raw(answer.body[: len(answer.body) // 2])
                await exchange.reset()
            case "truncated":
                exchange.raw_head(200, answer.headers, len(answer.body))
                exchange.raw(answer.body[: len(answer.body) // 2])
                await exchange.close()
            case "drip":
                exchange.raw_head(200, answer.headers, len(answer.body))
                for byte in answer.body[:400]:
                    exchange.raw(bytes([byte]))
                    if await exchange.left(0.05):
                        return
                await exchange.reset()
            case _:
                seen.status = 200
                await exchange.answer(answer)

    def _refusal(self, exchange: Exchange, seen: Asked) -> Answer | None:
        limits = self.limits
        if self.status:
            return error(self.status, "not now")
        if self.key and exchange.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {exchange.headers.get('authorization')}", "invalid_api_key")
        if self.quota is not None and self.billed + seen.tokens > self.quota:
            return error(429, "You exceeded your current quota", "insufficient_quota")
        match seen.fault:
            case "429":
                return error(429, "slow down")
            case "429 after":
                return error(429, "slow down", headers=(("retry-after-ms", "40"),))
            case "500" | "502" | "503" | "424":
                return error(int(seen.fault), "something is broken")
        if wait := self._over(seen):
            return error(429, "Rate limit reached", "rate_limit_exceeded", (("retry-after", f"{wait:.3f}"),))
        if len(seen.texts) > limits.items or seen.tokens > limits.request_tokens:
            return error(413, f"batch size {len(seen.texts)} > maximum allowed batch size")
        if any(tokens_of(text) > limits.text_tokens for text in seen.texts):
            worst = max(seen.texts, key=tokens_of)
            return error(
                413, f"Input validation error: {worst[:200]!r} must have less than {limits.text_tokens} tokens"
            )
        if any(POISON in text for text in seen.texts):
            return error(400, "the input is invalid")
        if any(DEADLY in text for text in seen.texts):
            return error(500, "CUDA error")
        return None

    def _over(self, seen: Asked) -> float:
        """Seconds to wait, 0 if it may pass: nothing but what was let through in the last window counts."""
        limits = self.limits
        with self._lock:
            passed = [
                one for one in self.asked if one is not seen and one.status != 429 and one.at > seen.at - limits.window
            ]
            over = limits.requests is not None and len(passed) + 1 > limits.requests
            over |= limits.tokens is not None and sum(one.tokens for one in passed) + seen.tokens > limits.tokens
            if over:
                seen.status = 429
        return max(0.01, min((one.at for one in passed), default=seen.at) + limits.window - seen.at) if over else 0.0

    def _answer(self, asked: dict[str, Any], seen: Asked) -> Answer:
        data = [self._item(k, text, asked, seen) for k, text in enumerate(seen.texts)]
        data = self._spoilt(data, seen)
        said = int(seen.tokens * self.counts)
        usage = {"prompt_tokens": said, "total_tokens": said}
        body = json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}).encode()
        if seen.fault == "no json":
            body = body[:-7]
        return Answer(200, (("content-type", "application/json"), *self._announced(seen)), body)

    def _item(self, index: int, text: str, asked: dict[str, Any], seen: Asked) -> dict[str, Any]:
        row = vector(text, int(asked.get("dimensions", DIM)), self.shift) * self.scale
        seen.given += UNSPEAKABLE not in text
        values: Any = [float("nan")] * len(row) if UNSPEAKABLE in text else [float(x) for x in row]
        if asked.get("encoding_format") == "base64":
            values = base64.b64encode(np.array(values, "<f4").tobytes()).decode()
        return {"object": "embedding", "index": index, "embedding": values}

    def _spoilt(self, data: list[dict[str, Any]], seen: Asked) -> list[dict[str, Any]]:
        pick = self._dice.randrange(len(data))
        if seen.fault in SPOILING:
            # A text comes in requests with others and alone: what counts against it is counted for itself.
            if self._spoilt_for[seen.texts[pick]] >= MOST and self.rate < 1.0:
                return data
            self._spoilt_for[seen.texts[pick]] += 1
        row = data[pick]
        wide = len(row["embedding"]) if isinstance(row["embedding"], list) else DIM
        if seen.fault in LOST:
            seen.given = 0
        match seen.fault:
            case "shuffled":
                self._dice.shuffle(data)
            case "missing":
                del data[pick]
            case "duplicate":
                row["index"] = (row["index"] + 1) % len(data) if len(data) > 1 else 1
            case "extra":
                data.append({**row, "index": len(data)})
            case "width":
                row["embedding"] = [0.1] * (wide + 1)
            case "nan":
                row["embedding"] = [None] * wide
            case "zero":
                row["embedding"] = [0.0] * wide
            case "constant":
                row["embedding"] = [wide**-0.5] * wide
            case "norm":
                row["embedding"] = [0.2, *[0.0] * (wide - 1)]
        seen.given -= seen.fault in SPOILING
        return data

    def _announced(self, seen: Asked) -> list[tuple[str, str]]:
        if not self.announce:
            return []
        limits, said = self.limits, []
        passed = [one for one in self.asked if one.status != 429 and one.at > seen.at - limits.window]
        for unit, most, used in (
            ("requests", limits.requests, len(passed)),
            ("tokens", limits.tokens, sum(one.tokens for one in passed)),
        ):
            if most is not None:
                reset = limits.window * min(1.0, used / most)
                said += [
                    (f"x-ratelimit-limit-{unit}", str(most)),
                    (f"x-ratelimit-remaining-{unit}", str(max(0, most - used))),
                    (f"x-ratelimit-reset-{unit}", f"{reset * 1000:.0f}ms" if reset < 1 else f"{reset:.2f}s"),
                ]
        return said

    def most_in_a_window(self, window: float) -> tuple[int, int]:
        """(requests, tokens) of the fullest window of what came, refused or not."""
        came = sorted(((one.at, one.tokens) for one in self.asked), key=lambda pair: pair[0])
        best, first, weight = (0, 0), 0, 0
        for last, (at, tokens) in enumerate(came):
            weight += tokens
            while came[first][0] <= at - window:
                weight -= came[first][1]
                first += 1
            best = max(best[0], last - first + 1), max(best[1], weight)
        return best


def error(status: int, message: str, code: str = "", headers: Sequence[tuple[str, str]] = ()) -> Answer:
    body = json.dumps({"error": {"message": message, "type": code or "error", "code": code or None}}).encode()
    return Answer(status, (("content-type", "application/json"), *headers), body)


def tokens_of(text: str) -> int:
    """As this server counts: words in pieces of six, signs, and two more."""
    return len(_WORD.findall(text)) + 2


def vector(text: str, dim: int = DIM, shift: float = 0.0) -> NDArray[np.float32]:
    """Unit norm, float32 (dim,)."""
    total = np.zeros(DIM)
    for at in range(len(text) + 1):
        total += _trigram(f"\2{text}\3"[at : at + 3])
    total = total[:dim] + shift * np.linspace(-1, 1, dim) * np.linalg.norm(total)
    return (total / np.linalg.norm(total)).astype(np.float32)


@functools.lru_cache(1 << 16)
def _trigram(piece: str) -> NDArray[np.float64]:
    digest = hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=DIM).digest()
    return np.frombuffer(digest, dtype=np.uint8) - 127.5
