"""The door against a web server that others wrote, behind a line that breaks."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.connectors.http.doors import bench

SIZE = 3_000_000


class BreakingLine:
    """A relay to a port that hangs up in the middle of large answers, by seed."""

    def __init__(self, port: int, seed: int) -> None:
        self._to = port
        self._chance = random.Random(seed)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.answered = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                limit = self._chance.randrange(200_000, 1_500_000)
                threading.Thread(target=self._carry, args=(near, far, 1 << 60), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, limit), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, limit: int) -> None:
        with contextlib.suppress(OSError):
            while limit > 0 and (data := source.recv(min(limit, 16384))):
                sink.sendall(data)
                limit -= len(data)
                self.answered += len(data) if sink.getsockname()[1] == self.port else 0
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """(folder, port) of a server that serves the folder."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "large.bin").write_bytes(random.Random(5).randbytes(SIZE))
    pages = Route("/page", lambda request: JSONResponse({"items": list(range(2000))}))
    app = Starlette(routes=[pages, Mount("/", StaticFiles(directory=folder))], middleware=[Middleware(GZipMiddleware)])
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield folder, listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_file_arrives_over_a_line_that_breaks(tmp_path: Path, files: tuple[Path, int], seed: int) -> None:
    """Whole, and continued rather than begun again."""
    folder, port = files
    line = BreakingLine(port, seed)
    at = bench(tmp_path, rules={"attempts": 20})
    done = at.door.download(f"http://127.0.0.1:{line.port}/large.bin", max_bytes=SIZE)
    line.close()
    assert done.path.read_bytes() == (folder / "large.bin").read_bytes()
    assert line.answered < 1.2 * SIZE
    assert done.retries >= 1 and set(at.door.retries) <= {"truncated", "reset"}


def test_pages_come_packed_and_unchanged_ones_do_not_come(tmp_path: Path, files: tuple[Path, int]) -> None:
    """gzip and If-None-Match as that server does them."""
    _, port = files
    door = bench(tmp_path).door
    page = door.request(f"http://127.0.0.1:{port}/page")
    assert page.headers["content-encoding"] == "gzip" and page.json()["items"][-1] == 1999
    first = door.request(f"http://127.0.0.1:{port}/large.bin", method="HEAD")
    tag = {"If-None-Match": first.headers["etag"]}
    assert door.request(f"http://127.0.0.1:{port}/large.bin", headers=tag, accept_statuses=(304,)).status == 304
