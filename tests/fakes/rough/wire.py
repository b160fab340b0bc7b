"""One request on the wire: an answer in good order, or bytes behind the server's back and a cut connection."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.rough.ledger import Seen

Header = tuple[str, str]
CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What would be answered in good order. `document`: what the body is; `is_file`: bytes and not JSON."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    document: str = ""
    is_file: bool = False


class Exchange:
    """One request and what is done to it. `skew`: seconds that our own clock is wrong by."""

    def __init__(self, scope: Mapping[str, Any], receive: Any, send: Any, skew: float = 0.0) -> None:
        self._receive, self._send, self._skew = receive, send, skew
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query = scope["query_string"].decode("latin-1")
        self.target = f"{self.path}?{query}" if query else self.path
        self.query = dict(parse_qsl(query))
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.base = f"http://{self.headers.get('host', '')}"
        # uvicorn hands out bound methods of its own cycle: the transport is what raw bytes need.
        self._transport: asyncio.Transport = send.__self__.transport
        credentials = {"authorization", "cookie", "x-api-key"} & self.headers.keys()
        self.seen = Seen(
            time.monotonic(),
            self.method,
            self.target,
            int((scope.get("client") or ("", 0))[1]),
            credentials=bool(credentials),
            since=self.headers.get("range", ""),
        )

    def date(self, later: float = 0.0) -> str:
        """Now, by this server's clock."""
        return formatdate(time.time() + self._skew + later, usegmt=True)

    async def form(self) -> bytes:
        """The request's body."""
        body, more = b"", True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                break
            body, more = body + message["body"], message.get("more_body", False)
        return body

    async def answer(self, answer: Answer) -> None:
        """All of it, in good order."""
        self.seen.status = answer.status
        headers = [*answer.headers, ("date", self.date())]
        if answer.status not in (204, 304):
            headers.append(("content-length", str(len(answer.body))))
        await self._send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
            }
        )
        body = b"" if self.method == "HEAD" or answer.status in (204, 304) else answer.body
        for start in range(0, max(len(body), 1), CHUNK):
            last = start + CHUNK >= len(body)
            if last:  # the client may go on as soon as it has these bytes
                self.seen.ended = time.monotonic()
                self.seen.delivered = bool(answer.document) and not self._transport.is_closing()
                self.seen.document = answer.document
            await self._send({"type": "http.response.body", "body": body[start : start + CHUNK], "more_body": not last})

    def raw(self, data: bytes) -> None:
        self._transport.write(data)

    def raw_head(self, status: int, headers: Iterable[Header], length: int) -> None:
        self.seen.status = status
        self.raw(head(status, [*headers, ("date", self.date()), ("content-length", str(length))]))

    async def close(self) -> None:
        """What was written still arrives; then the connection ends in good order."""
        self._over()
        self._transport.close()
        await self._gone()

    async def reset(self, after: float = 0.02) -> None:
        """RST. What was written has `after` seconds to arrive: the kernel drops what has not."""
        if after:
            await asyncio.sleep(after)
        self._over()
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        await self._gone()

    async def left(self, seconds: float) -> bool:
        """Wait until the client leaves, for `seconds` at most; whether it did."""
        try:
            await asyncio.wait_for(self._gone(), seconds)
        except TimeoutError:
            return False
        self._over()
        return True

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _over(self) -> None:
        if not self.seen.ended:
            self.seen.ended, self.seen.cut = time.monotonic(), True


def head(status: int, headers: Iterable[Header]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
