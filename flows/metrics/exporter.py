"""The last look over HTTP: `/metrics` for Prometheus, `/healthz` for whoever restarts what hangs. Only GET.

Requests look at nothing: they get what the last look found, however many there are.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import Any

MOST = 32
"""Requests at the same time; whoever comes then is hung up on."""
SECONDS = 10.0
"""So long a client may take for each line."""
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What is served. `at`: when it was made, seconds since 1970."""

    text: bytes
    at: float


class Exporter:
    """Serves on `host` and `port` (0: any that is free) from `start` until `close`.

    `fresh`: seconds for which a page counts as alive; `clock`: seconds since 1970. Raises `OSError` where it cannot
    listen.
    """

    def __init__(self, host: str, port: int, *, content_type: str, fresh: float, clock: Callable[[], float]) -> None:
        self.page: Page | None = None
        self.content_type, self._fresh, self._clock = content_type, fresh, clock
        self._server = _Server(host, port, self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="exporter", daemon=True)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}/metrics"

    def alive(self) -> bool:
        """Whether somebody still looks."""
        page = self.page
        return page is not None and self._clock() - page.at <= self._fresh

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, exporter: Exporter) -> None:
        self.exporter = exporter
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self._free = threading.BoundedSemaphore(MOST)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that HTTPServer does, which may take a minute where DNS is away."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "penstock", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "penstock", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        exporter = self.server.exporter
        match self.path.partition("?")[0]:
            case "/metrics" if exporter.page is not None:
                self._answer(200, exporter.content_type, exporter.page.text)
            case "/metrics":
                self._answer(503, TEXT, b"the first look goes on\n")
            case "/healthz" if exporter.alive():
                self._answer(200, TEXT, b"ok\n")
            case "/healthz":
                self._answer(503, TEXT, b"there was no look for a while\n")
            case _:
                self._answer(404, TEXT, b"there is /metrics and /healthz\n")

    def _refuse(self) -> None:
        self._answer(405, TEXT, b"only GET\n")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status == 405:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""


def address(word: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:9464`, `[::1]:9464`, `:9464` or `9464`: without a host only this machine is served.

    The host is an address, no name. Raises `ValueError` that says how to write it.
    """
    host, _, port = word.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{word!r} is no address; write 127.0.0.1:9464, or 0.0.0.0:9464 for everybody") from None
    if not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{word!r} has no port from 0 to 65535; write 127.0.0.1:9464")
    return host, int(port)


def open_to_all(host: str) -> bool:
    """Whether others than this machine can reach it there."""
    return not ipaddress.ip_address(host).is_loopback
