"""The rough source on a port of loopback: in a thread of the test, or as a process of its own.

with Serving(RoughSource(World(seed=7))) as server:
    httpx.get(f"{server.url}/api/page/items")
    server.down(); server.up()                       # connections refused; the same port again
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import uvicorn

from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.ledger import Ledger


def config(source: RoughSource) -> uvicorn.Config:
    return uvicorn.Config(
        source,
        loop="asyncio",
        http="h11",
        lifespan="off",
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=1 << 16,
    )


def listening(port: int) -> socket.socket:
    """A socket on loopback; 0 takes any free port."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio asks before NODELAY
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    raw.bind(("127.0.0.1", port))
    raw.listen(256)
    return raw


class Serving:
    """A source on a thread. `source` may be changed while it serves, between requests."""

    def __init__(self, source: RoughSource, port: int = 0) -> None:
        self.source, self.port = source, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger(self) -> Ledger:
        return self.source.ledger

    def up(self) -> Serving:
        """Listen (again, on the same port)."""
        if self._thread is not None:
            return self
        raw = listening(self.port)
        self.port = raw.getsockname()[1]
        server = self._server = uvicorn.Server(config(self.source))
        self._thread = threading.Thread(target=self._run, args=(server, raw), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the rough source did not start")
            time.sleep(0.002)
        return self

    def _run(self, server: uvicorn.Server, raw: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve([raw])

        asyncio.run(serve())

    def down(self) -> None:
        """Refuse connections and cut those that there are."""
        if self._thread is None or self._server is None or self._loop is None:
            return
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        server.should_exit = server.force_exit = True

        def cut() -> None:
            for connection in list(server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()

        self._loop.call_soon_threadsafe(cut)
        thread.join(10)
        if thread.is_alive():
            raise RuntimeError("the rough source did not stop")

    def __enter__(self) -> Serving:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()
