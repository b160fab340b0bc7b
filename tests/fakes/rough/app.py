"""The rough source: an ASGI app that serves a `World`, sometimes.

Under uvicorn with h11 only: what no server would send in good order is written past it (wire.py).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tests.fakes.rough.credentials import Guard
from tests.fakes.rough.faults import Faults, Spell
from tests.fakes.rough.ledger import Ledger, Seen
from tests.fakes.rough.listing import Listing, detail
from tests.fakes.rough.misdeeds import MISDEEDS, Means
from tests.fakes.rough.wire import Answer, Exchange
from tests.fakes.rough.world import World

JSON = (("content-type", "application/json"),)
TELLING_SPELLS = {"throttled": 429, "maintenance": 503}


@dataclass(slots=True)
class RoughSource:
    """Everything is open to change between requests. `latency`: seconds before each answer; `skew`: by how much our
    clock is wrong; `forbidden`: numbers of documents that answer 403 for now; `elsewhere`: another origin's URL."""

    world: World
    faults: Faults = field(default_factory=Faults)
    spells: Sequence[Spell] = ()
    guard: Guard = field(default_factory=Guard)
    listing: Listing = field(default_factory=Listing)
    forbidden: set[int] = field(default_factory=set)
    latency: float = 0.0
    skew: float = 0.0
    elsewhere: str = "http://127.0.0.1:9"
    ledger: Ledger = field(default_factory=Ledger)
    asked: Counter[str] = field(default_factory=Counter)
    came: int = 0
    """Requests so far, those of spells among them."""
    _began: dict[int, float] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, self.skew)
        if exchange.path.startswith("/_"):
            await exchange.answer(await self._controlled(exchange))
            return
        self.ledger.seen.append(exchange.seen)
        self.came += 1
        form = await exchange.form() if exchange.method == "POST" else b""
        try:
            await self._serve(exchange, form)
        finally:
            if not exchange.seen.ended:
                exchange.seen.ended, exchange.seen.cut = time.monotonic(), True

    async def _serve(self, exchange: Exchange, form: bytes) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        spell = self._spell(exchange.target)
        if spell is not None:
            await self._struck(exchange, *spell)
            return
        if exchange.path == "/oauth/token":
            answer = self._token(exchange, form)
        elif not self.guard.lets_in(exchange.headers):
            await exchange.answer(Answer(401, (*JSON, ("www-authenticate", "Bearer")), b'{"error": "who are you?"}'))
            return
        else:
            answer = self._answer(exchange)
        fault = self.faults.decide(exchange.target, self.asked[exchange.target])
        self.asked[exchange.target] += 1
        if fault is None:
            await exchange.answer(answer)
            return
        exchange.seen.fault = fault
        if fault.startswith("throttled") and fault != "throttled_bare":
            exchange.seen.told = self.faults.wait
        if fault == "expired":
            self.guard.revoke()
        await MISDEEDS[fault](exchange, answer, Means(self.faults.wait, self.faults.stall, self.elsewhere))

    # ── weather ──────────────────────────────────────────────────────────────────────────────────────────────

    def _spell(self, target: str) -> tuple[Spell, float] | None:
        """What hangs over everything now, and for how many seconds still."""
        now = time.monotonic()
        for place, spell in enumerate(self.spells):
            if self.came < spell.after or not target.startswith(spell.only):
                continue
            began = self._began.setdefault(place, now)
            left = float("inf") if spell.seconds is None else began + spell.seconds - now
            if left > 0:
                return spell, left
        return None

    async def _struck(self, exchange: Exchange, spell: Spell, left: float) -> None:
        exchange.seen.fault = f"spell:{spell.kind}"
        nothing = Answer(200, (), b"")
        if spell.kind not in TELLING_SPELLS:
            await MISDEEDS[spell.kind](exchange, nothing, Means(stall=self.faults.stall))
            return
        seconds = 3600 if left == float("inf") else int(left) + 1  # never told too little
        exchange.seen.told = seconds
        await exchange.answer(Answer(TELLING_SPELLS[spell.kind], (("retry-after", str(seconds)),), b"not now"))

    def calm(self) -> None:
        """No more faults, no more weather, an honest listing, a fresh ledger; nothing counts as asked before."""
        self.faults, self.spells, self.listing = Faults(), (), Listing()
        self.forbidden.clear()
        self.asked.clear()
        self.ledger.clear()

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────

    def _token(self, exchange: Exchange, form: bytes) -> Answer:
        status, said = self.guard.grant(dict(parse_qsl(form.decode())), exchange.headers)
        return Answer(status, (*JSON, ("cache-control", "no-store")), msgspec.json.encode(said))

    def _answer(self, exchange: Exchange) -> Answer:
        match exchange.path.strip("/").split("/"):
            case ["api", "items", number] if number.isdigit():
                return self._detail(exchange, int(number))
            case ["api", style, "items"]:
                found = self.listing.page(self.world, style, exchange.query, exchange.base)
                if found is not None:
                    return Answer(200, (*JSON, *found[1]), msgspec.json.encode(found[0]))
                return Answer(400, JSON, b'{"error": "no such page"}')
            case ["files", name]:
                return self._file(exchange, name)
        return Answer(404, JSON, b'{"error": "no such thing"}')

    def _detail(self, exchange: Exchange, number: int) -> Answer:
        entry = self.world.get(number)
        if entry is None:
            return Answer(404, JSON, b'{"error": "no such thing"}')
        if number in self.forbidden:
            return Answer(403, JSON, b'{"error": "not for you"}')
        etag = f'"{number}-{entry.revision}"'
        if exchange.headers.get("if-none-match") == etag:
            return Answer(304, (("etag", etag),), b"")
        said = detail(self.world, entry, exchange.base, self.listing.skew)
        return Answer(200, (*JSON, ("etag", etag)), msgspec.json.encode(said), document=f"items/{number}")

    def _file(self, exchange: Exchange, name: str) -> Answer:
        found = self.world.file(name)
        if found is None:
            return Answer(404, (("content-type", "text/plain"),), b"no such file")
        entry, body, media = found
        if entry.number in self.forbidden:
            return Answer(403, (("content-type", "text/plain"),), b"not for you")
        digest = hashlib.sha256(body).digest()
        etag = f'"{digest.hex()[:16]}"'
        headers = (
            ("content-type", media),
            ("etag", etag),
            ("last-modified", formatdate(self.world.modified(entry), usegmt=True)),
            ("accept-ranges", "bytes"),
            ("repr-digest", f"sha-256=:{base64.b64encode(digest).decode()}:"),
        )
        if exchange.headers.get("if-none-match") == etag:
            return Answer(304, headers[1:3], b"")
        start = _range_start(exchange.headers.get("range", ""), exchange.headers.get("if-range", etag) == etag)
        if start and start >= len(body):
            return Answer(416, (("content-range", f"bytes */{len(body)}"),), b"")
        if start:
            span = ("content-range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            return Answer(206, (*headers, span), body[start:], document=f"files/{name}", is_file=True)
        return Answer(200, headers, body, document=f"files/{name}", is_file=True)

    # ── control, for a source in a process of its own ────────────────────────────────────────────────────────

    async def _controlled(self, exchange: Exchange) -> Answer:
        """`GET /_ledger` tells what was seen; `POST /_control` (a `Control` as JSON) changes the weather."""
        if exchange.path == "/_ledger":
            return Answer(200, JSON, msgspec.json.encode(self.ledger.seen))
        if exchange.path != "/_control" or exchange.method != "POST":
            return Answer(404, JSON, b"{}")
        change = msgspec.json.decode(await exchange.form(), type=Control)
        if change.calm:
            self.calm()
        if change.faults is not None:
            self.faults = change.faults
        if change.spells is not None:
            self.spells, self.came, self._began = change.spells, 0, {}
        if change.share is not None:
            self.listing = Listing(share=change.share)
        for number in change.edit:
            self.world.edit(number)
        for number in change.remove:
            self.world.remove(number)
        for _ in range(change.add):
            self.world.add()
        return Answer(200, JSON, b"{}")


class Control(msgspec.Struct, forbid_unknown_fields=True):
    """What `/_control` changes; what is left out stays."""

    calm: bool = False
    faults: Faults | None = None
    spells: list[Spell] | None = None
    share: float | None = None
    edit: list[int] = []
    remove: list[int] = []
    add: int = 0


def _range_start(said: str, unchanged: bool) -> int:
    """Where `Range: bytes=N-` begins; 0 for everything else, which may be answered whole."""
    first, dash, last = said.removeprefix("bytes=").partition("-")
    return int(first) if unchanged and said.startswith("bytes=") and dash and not last and first.isdigit() else 0


def ledger_of(body: bytes) -> Ledger:
    """What `/_ledger` told."""
    return Ledger(msgspec.json.decode(body, type=list[Seen]))
