"""The line between penstock and a server: it counts what is asked, hangs up in the middle, and can be down."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class Line:
    """A relay on a port of its own that stays the same. `asked` counts what came from the client's side, in pieces as
    they arrived: about one for each request. `cut_at`: bytes of answers after which a connection is hung up."""

    def __init__(self, port: int) -> None:
        self.to = port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._when: tuple[int, Callable[[], None]] | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.asked = self.answered = self.cuts = 0
        self.cut_at: Callable[[], int | None] = lambda: None
        self._up = True
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def at(self, more: int, what: Callable[[], None]) -> None:
        """Do `what` once `more` more pieces were asked for."""
        self._when = (self.asked + more, what)

    def down(self) -> None:
        """Hang up, and refuse connections."""
        self._up = False
        self._listening.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        if not self._up:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self._up = True
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.to), timeout=10)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                with self._lock:
                    self._open |= {near, far}
                limit = self.cut_at()
                threading.Thread(target=self._carry, args=(near, far, None, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, limit, False), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, limit: int | None, asking: bool) -> None:
        left = 1 << 60 if limit is None else limit
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(min(left, 65536))):
                if asking:
                    self._count()
                sink.sendall(data)
                left -= len(data)
                self.answered += 0 if asking else len(data)
        self.cuts += left <= 0
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            # The last of the two closes: the other thread may still be in recv.
            gone = not {source, sink} <= self._open
            self._open -= {source, sink}
        if gone:
            source.close()
            sink.close()

    def _count(self) -> None:
        with self._lock:
            self.asked += 1
            when = self._when
            if when is None or self.asked < when[0]:
                return
            self._when = None
        threading.Thread(target=when[1], daemon=True).start()
