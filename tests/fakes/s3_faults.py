"""A faulty network between a client and a real S3 server: real sockets, misbehaving as networks and servers do.

    with FaultyProxy(server.url) as proxy:
        proxy.faults.add(Fault("drop_reply", method="PUT"))       # once
        proxy.faults.add(Fault("status", status=503, chance=0.1, times=None))
        proxy.down(); proxy.up()                                   # connections refused; the same port again

`proxy.url` takes the place of the server's. `proxy.faults.struck` counts what was done, by kind.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal[
    "drop_request",  # the connection is closed and the server hears nothing
    "drop_reply",  # the server acts, the connection is closed without an answer
    "status",  # the server hears nothing, the client gets `status`
    "status_after",  # the server acts, the client gets `status`
    "hang",  # nothing ever comes, until `seconds` are over, the fault is cleared or the proxy goes down
    "slow",  # the request goes on after `seconds`
    "ignore_conditions",  # If-None-Match and If-Match are lost on the way
    "ignore_metadata",  # so are x-amz-meta-*
    "alter_body",  # the server gets other bytes than were sent, as many
    "shorten",  # half of the answer's body is all that comes, and Content-Length says so
    "truncate",  # the connection is closed in the middle of the answer's body
]
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do to requests of `method` whose path holds `key` (empty: any), `times` times (None: always)."""

    kind: Kind
    method: str = ""
    key: str = ""
    times: int | None = 1
    chance: float = 1.0
    status: int = 500
    code: str = "InternalError"
    seconds: float = 3600.0


class Faults:
    """The faults in force. Those of a seed strike in the same order again if requests come in the same order."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._left: list[tuple[Fault, int | None]] = []
        self.cleared = threading.Event()
        self.struck: Counter[str] = Counter()

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._left += [(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        """No more faults; what hangs is let go."""
        with self._lock:
            self._left.clear()
            self.cleared.set()
            self.cleared = threading.Event()

    def take(self, method: str, path: str) -> dict[str, Fault]:
        """The faults that strike this request, by kind; one of a kind at a time."""
        struck: dict[str, Fault] = {}
        with self._lock:
            for at, (fault, left) in enumerate(self._left):
                fits = fault.method in ("", method) and fault.key in path and fault.kind not in struck
                if fits and left != 0 and self._random.random() < fault.chance:
                    struck[fault.kind] = fault
                    self._left[at] = (fault, None if left is None else left - 1)
            self.struck.update(struck.keys())
        return struck


class FaultyProxy:
    """Listens on a free port of loopback and passes requests on to `upstream` (`http://host:port`)."""

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.faults = Faults(seed)
        self.requests: list[tuple[str, str]] = []
        self._port = 0
        self._listening: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> FaultyProxy:
        self.up()
        return self

    def up(self) -> None:
        """Listen (again, on the same port)."""
        if self._listening is None:
            self._listening = _Listener(self, self._port)
            self._port = self._listening.server_address[1]
            threading.Thread(target=self._listening.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and cut those that there are."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            listening.shutdown()
            listening.server_close()
            listening.cut()

    stop = down

    def __enter__(self) -> FaultyProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.down()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy, port: int) -> None:
        self.proxy = proxy
        self.gone = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Relay)

    def process_request(self, request, client_address) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        self.gone.set()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is no news here."""


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart, and must not wait for one another
    server: _Listener

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy = self.server.proxy
        proxy.requests.append((self.command, self.path))
        faults = proxy.faults.take(self.command, self.path)
        if hang := faults.get("hang") or faults.get("slow"):
            self._wait(hang.seconds)
        if "drop_request" in faults or "hang" in faults or self.server.gone.is_set():
            return self._cut()
        if said := faults.get("status"):
            return self._say(said)
        if "alter_body" in faults:
            body = bytes(byte ^ 1 for byte in body)
        status, headers, answer = self._forward(body, faults)
        if "drop_reply" in faults:
            return self._cut()
        if said := faults.get("status_after"):
            return self._say(said)
        if "shorten" in faults:
            answer = answer[: len(answer) // 2]
        return self._answer(status, headers, answer, cut="truncate" in faults)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay

    def _wait(self, seconds: float) -> None:
        cleared = self.server.proxy.faults.cleared
        while seconds > 0 and not cleared.wait(0.05) and not self.server.gone.is_set():
            seconds -= 0.05

    def _forward(self, body: bytes, faults: dict[str, Fault]) -> tuple[int, list[tuple[str, str]], bytes]:
        lost = (("if-none-match", "if-match") if "ignore_conditions" in faults else ()) + (
            ("x-amz-meta-",) if "ignore_metadata" in faults else ()
        )
        connection = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP and not name.lower().startswith(lost or ("\0",)):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            kept = [(n, v) for n, v in reply.getheaders() if n.lower() not in _HOP - {"content-length"}]
            return reply.status, kept, reply.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._cut()

    def _say(self, fault: Fault) -> None:
        told = f"<Error><Code>{fault.code}</Code><Message>{self.headers.get('Authorization')}</Message></Error>"
        self._answer(fault.status, [("Content-Type", "application/xml")], told.encode(), cut=False)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
