"""A piece of cable between a client and a server: connections pass through it until it is cut or taken down."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Listens on `port` of 127.0.0.1 and passes everything on to `target`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = self._listening(0)
        self.port = int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Every connection that is open is lost; new ones may be made."""
        with self._lock:
            lost, self._open = self._open, []
        for each in lost:
            _end(each)

    def down(self) -> None:
        """Nobody answers at the port, and what was open is lost."""
        _end(self._listener)
        self.cut()

    def up(self) -> None:
        """Take `down` back."""
        if self._listener.fileno() < 0:
            self._listener = self._listening(self.port)

    def _listening(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while some := one.recv(1 << 16):
            other.sendall(some)
    _end(one)
    _end(other)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
