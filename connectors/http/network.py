"""Connections to checked addresses only, every read and write within a deadline.

A name is looked up here and nowhere else, and what is connected to is the address that was checked: there is no
second look-up that could answer otherwise.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore

from penstock.connectors.http.addresses import Allowance
from penstock.connectors.types import SourceError

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) to addresses. Raises `OSError`."""

_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}
PIECE = 16 << 10
"""Bytes written in one go: each write looks at the deadline again."""


class NotAllowed(SourceError):
    """The address may not be asked."""


class Untrusted(SourceError):
    """The certificate is not one to trust."""


class NoSuchHost(Untrusted):
    """There is no host of that name: asking again would say the same."""


class Stalled(httpcore.ReadTimeout):
    """The answer drips: too few bytes for too long."""


class Deadline(threading.local):
    """When the request that this thread has in hand must be over, a moment of the monotonic clock; and, once `watch`
    is called, how fast its answer has to come."""

    at: float = float("inf")
    slowest: float = 0.0
    window: float = float("inf")
    since: float = 0.0
    got: int = 0

    @contextmanager
    def until(self, moment: float) -> Iterator[Deadline]:
        """Set it for a block; the one before comes back after it."""
        before = dict(self.__dict__)
        self.at, self.window = moment, float("inf")
        try:
            yield self
        finally:
            self.__dict__.clear()
            self.__dict__.update(before)

    def watch(self, now: float, slowest: float, window: float) -> None:
        """From now on `slowest` bytes a second have to come, on average over each `window` seconds."""
        self.since, self.got, self.slowest, self.window = now, 0, slowest, window

    def came(self, count: int, now: float) -> None:
        """Raises `Stalled` when what came is too little."""
        self.got += count
        if now - self.since >= self.window:
            if self.got < self.slowest * (now - self.since):
                raise Stalled(f"{self.got} bytes in {now - self.since:.1f} seconds")
            self.since, self.got = now, 0


class CheckedNetwork(httpcore.NetworkBackend):
    """What httpcore connects through."""

    def __init__(
        self, allowance: Allowance, resolve: Resolve, deadline: Deadline, monotonic: Callable[[], float]
    ) -> None:
        self._allowance = allowance
        self._resolve = resolve
        self._deadline = deadline
        self._monotonic = monotonic
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first allowed address of `host` that answers. Raises `NotAllowed` if none is allowed."""
        end = min(self._deadline.at, self._monotonic() + (timeout if timeout is not None else float("inf")))
        failure: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError("no address")
        for address in self._addresses(host, port, end):
            left = end - self._monotonic()
            if left <= 0:
                raise httpcore.ConnectTimeout("no time left to connect")
            try:
                stream = self._sockets.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return TimedStream(stream, self._deadline, self._monotonic)
        raise failure

    def _addresses(self, host: str, port: int, end: float) -> list[str]:
        try:
            found = within(end - self._monotonic(), lambda: self._resolve(host, port))
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                raise NoSuchHost(f"there is no host {host}: check the address, and the name server") from None
            raise httpcore.ConnectError(f"the name of the host was not found: {error}") from None
        except (OSError, ValueError) as error:
            raise httpcore.ConnectError(f"the name of the host was not found: {error}") from None
        allowed = [address for address in found if self._allowance.permits(host, address)]
        if found and not allowed:
            raise NotAllowed(
                f"{host} leads to {found[0]}, which is no public address; "
                "if it is meant, add the host or its network to network.allow of this source"
            )
        return allowed


class TimedStream(httpcore.NetworkStream):
    """A connection whose every read and write also keeps the deadline of the request in hand."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline, monotonic: Callable[[], float]) -> None:
        self._stream = stream
        self._deadline = deadline
        self._monotonic = monotonic

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._left(timeout, httpcore.ReadTimeout))
        self._deadline.came(len(data), self._monotonic())
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._stream.write(buffer[start : start + PIECE], self._left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Raises `Untrusted`: trying again would not change a certificate."""
        left = self._left(timeout, httpcore.ConnectTimeout)
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, left)
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise Untrusted(
                    f"the certificate of {server_hostname} is not trusted ({error.__cause__.verify_message}); "
                    "if it is signed by an authority of your own, name that one's file in network.ca_file"
                ) from None
            raise
        return TimedStream(stream, self._deadline, self._monotonic)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None, late: type[Exception]) -> float | None:
        left = self._deadline.at - self._monotonic()
        if left <= 0:
            raise late("the deadline is over")
        return left if timeout is None else min(timeout, left)


def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that the operating system knows for a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def within(seconds: float, look_up: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What `look_up` gives, or `httpcore.ConnectTimeout`: the system's own look-up cannot be told a limit."""
    answers: list[Sequence[str]] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(look_up())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="penstock-dns")
    thread.start()
    thread.join(max(seconds, 0.0))
    if answers:
        return answers[0]
    raise errors[0] if errors else httpcore.ConnectTimeout("the name of the host was not found in time")
