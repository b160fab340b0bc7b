"""One request on the wire and its answer, as faults by name: no cookies, no proxies, no environment."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpcore

from penstock.connectors.http.addresses import Allowance
from penstock.connectors.http.asking import Ask
from penstock.connectors.http.faults import Fault
from penstock.connectors.http.network import CheckedNetwork, Deadline, Resolve
from penstock.connectors.http.types import NetworkRules
from penstock.connectors.types import StopSource

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the five after which many servers close theirs."""

# Its debug lines show the heads of answers: cookies, signed URLs.
logging.getLogger("httpcore").setLevel(logging.INFO)


@dataclass(slots=True)
class Answer:
    """An answer whose body is still to come. `headers` have lower-case names; cookies are not among them."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    seconds: float
    """From sending the request to the answer's head."""
    pieces: Iterator[bytes] = field(repr=False)
    """The body as it was sent, to be read once. Raises `Fault`."""
    cookies: str = field(default="", repr=False)
    """What Set-Cookie said; nobody keeps it."""


class Wire:
    """Sends requests. Thread-safe; a connection is used by one thread at a time."""

    def __init__(self, rules: NetworkRules, *, resolve: Resolve, monotonic: Callable[[], float]) -> None:
        self._rules = rules
        self._monotonic = monotonic
        self._deadline = Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trust(rules),
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=CheckedNetwork(Allowance(rules.allow), resolve, self._deadline, monotonic),
        )

    @contextmanager
    def send(self, ask: Ask, seconds: float) -> Iterator[Answer]:
        """The answer to a request, for the length of a block; all of it within `seconds`.

        Raises `Fault`, `NotAllowed`, `Untrusted`, and `StopSource` for a header that cannot be sent.
        """
        began = self._monotonic()
        rules = self._rules
        head = min(seconds, rules.connect_seconds + 2 * rules.read_seconds)
        with self._deadline.until(began + head) as deadline:
            with faults(ask, lambda: "timeout"):
                response = self._pool.handle_request(self._request(ask))
            now = self._monotonic()
            deadline.at = began + seconds
            deadline.watch(now, rules.slowest, rules.read_seconds)
            headers = plain_headers(response.headers)
            cookies = headers.pop("set-cookie", "")
            try:
                yield Answer(
                    response.status,
                    headers,
                    now - began,
                    self._pieces(ask, response, began + seconds),
                    cookies,
                )
            finally:
                if surplus(response):
                    response.extensions["network_stream"].close()
                response.close()

    def close(self) -> None:
        self._pool.close()

    def _request(self, ask: Ask) -> httpcore.Request:
        rules, url = self._rules, ask.url
        host = url.netloc
        return httpcore.Request(
            method=ask.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(b"Host", host), *((k.encode("ascii"), v.encode("latin-1")) for k, v in ask.headers.items())],
            content=ask.body,
            extensions={
                "timeout": {"connect": rules.connect_seconds, "read": rules.read_seconds, "write": rules.read_seconds}
            },
        )

    def _pieces(self, ask: Ask, response: httpcore.Response, end: float) -> Iterator[bytes]:
        with faults(ask, lambda: "timeout" if self._monotonic() >= end else "stalled"):
            yield from response.iter_stream()


@contextmanager
def faults(ask: Ask, late: Callable[[], str]) -> Iterator[None]:
    """What httpcore raises, as faults; their messages show the URL and nothing else of the request."""
    try:
        yield
    except (httpcore.ReadTimeout, httpcore.WriteTimeout):
        reason = late()
        slow = "stopped sending its answer, or sends it too slowly" if reason == "stalled" else "did not answer in time"
        raise Fault(reason, f"{ask.shown} {slow}") from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise Fault("connect", f"no connection to {ask.shown}: {error or 'it took too long'}") from None
    except httpcore.RemoteProtocolError as error:
        raise Fault(broken(str(error)), f"the answer of {ask.shown} is no HTTP: {error}") from None
    except (httpcore.LocalProtocolError, UnicodeError):
        raise StopSource(
            f"the request to {ask.shown} cannot be sent: a header has a character that HTTP does not allow "
            "(a line break at the end of a token?)"
        ) from None
    except (httpcore.NetworkError, ssl.SSLError, OSError) as error:
        raise Fault("reset", f"the connection to {ask.shown} was lost: {type(error).__name__}") from None


def surplus(response: httpcore.Response) -> bool:
    """Whether more came on the connection than this answer: h11 would take it for the answer to the next request, and
    one document would get another one's bytes.

    httpcore has no public way to ask. If a later version keeps it elsewhere, no connection is used twice.
    """
    try:
        held, _ = response.stream._stream._connection._h11_state.trailing_data  # type: ignore[union-attr]
    except AttributeError:
        return True
    return bool(held)


def broken(said: str) -> str:
    """Whether an answer ended early or was never one, by what h11 says about it."""
    if "disconnected without sending" in said:
        return "reset"
    return "truncated" if "closed connection without sending complete" in said else "garbled"


def plain_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names, values as text, those of one name joined by commas."""
    plain: dict[str, str] = {}
    for key, value in raw:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1").strip()
        plain[name] = f"{plain[name]}, {text}" if name in plain else text
    return plain


def trust(rules: NetworkRules) -> ssl.SSLContext:
    """Verification against the system's certificates and `ca_file`. Raises `StopSource` if that cannot be read."""
    context = ssl.create_default_context()
    if rules.ca_file is not None:
        try:
            context.load_verify_locations(rules.ca_file)
        except (OSError, ssl.SSLError):
            raise StopSource(
                f"network.ca_file: {rules.ca_file} cannot be read as certificates (PEM); name another file"
            ) from None
    return context
