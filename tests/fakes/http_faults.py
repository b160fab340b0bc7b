"""A server on a raw socket that says exactly what a test wants said, also what no server should say."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """One request. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Line:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.stopping = stopping
        self.open = True

    def say(self, data: bytes | str) -> None:
        """Send as it is."""
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def answer(self, status: int = 200, body: bytes | str = b"", **headers: str) -> None:
        """A proper answer; `X_Name` becomes the header X-Name."""
        data = body.encode() if isinstance(body, str) else body
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in lines):
            lines.append(f"Content-Length: {len(data)}")
        self.say("\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode("latin-1") + data)

    def drip(self, data: bytes, every: float, piece: int = 1) -> None:
        """Send a few bytes at a time until all is said, the other side hangs up, or the test is over."""
        for start in range(0, len(data), piece):
            self.say(data[start : start + piece])
            if self.stopping.wait(every):
                return

    def hang(self) -> None:
        """Say nothing more and stay on the line."""
        self.stopping.wait(20)

    def close(self) -> None:
        self.open = False

    def reset(self) -> None:
        """Hang up so that the other side gets a reset and no end of file."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.open = False


Play = Callable[[Line, Heard], object]


class FaultServer:
    """Listens on loopback; each request is played by `play`, on a thread for each connection."""

    def __init__(
        self, play: Play, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.play = play
        self.heard: list[Heard] = []
        self.connections = 0
        self._tls = tls
        self._stopping = threading.Event()
        self._listening = socket.create_server((host, port))
        self.host, self.port = self._listening.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [heard.target for heard in self.heard]

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            sock.settimeout(20)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            line = Line(sock, self._stopping)
            with contextlib.suppress(OSError):
                incoming = sock.makefile("rb")
                while line.open and (heard := hear(incoming)) is not None:
                    self.heard.append(heard)
                    self.play(line, heard)
                incoming.close()
        sock.close()

    def close(self) -> None:
        self._stopping.set()
        # A thread that waits in accept would keep the port open.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


def hear(incoming: object) -> Heard | None:
    """Read one request. None at the end of the connection."""
    first = incoming.readline().decode("latin-1")  # type: ignore[attr-defined]
    if not first.strip():
        return None
    method, target, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    while (line := incoming.readline().decode("latin-1").strip()) != "":  # type: ignore[attr-defined]
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Heard(method, target, headers, incoming.read(int(headers.get("content-length", "0"))))  # type: ignore[attr-defined]


@contextlib.contextmanager
def serving(
    play: Play, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[FaultServer]:
    """A server for the length of a block."""
    server = FaultServer(play, tls=tls, host=host, port=port)
    try:
        yield server
    finally:
        server.close()


def in_turn(*plays: Play) -> Play:
    """The first request gets the first play and so on; the last one is for all that follow."""
    count = iter(range(1 << 30))
    lock = threading.Lock()

    def play(line: Line, heard: Heard) -> object:
        with lock:
            number = next(count)
        return plays[min(number, len(plays) - 1)](line, heard)

    return play


def saying(status: int = 200, body: bytes | str = b"", **headers: str) -> Play:
    """A play that gives always the same proper answer."""
    return lambda line, heard: line.answer(status, body, **headers)


def raw(data: bytes | str, *, then: str = "close") -> Play:
    """A play that says these bytes and closes, resets or hangs."""

    def play(line: Line, heard: Heard) -> None:
        line.say(data)
        getattr(line, then)()
        line.close()

    return play
