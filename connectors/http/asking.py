"""One request as it will be sent: the only module that knows httpx, for URLs and for encoding bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from penstock.connectors.http.redaction import shown
from penstock.connectors.types import RetryLater, StopSource

Origin = tuple[str, str, int]

KEPT = ("accept", "accept-language", "user-agent", "if-none-match", "if-modified-since", "range", "if-range")
"""Headers that may go to another origin than the one they were meant for: none of these is a secret."""
OF_THE_BODY = ("content-type", "content-length", "content-encoding")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request without credentials. Header names are lower case."""

    method: str
    url: httpx.URL = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def origin(self) -> Origin:
        return origin_of(self.url)

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return shown(str(self.url))

    def with_headers(self, headers: Mapping[str, str]) -> Ask:
        return replace(self, headers={**self.headers, **{name.lower(): value for name, value in headers.items()}})


def ask(
    method: str,
    url: str,
    *,
    params: Mapping[str, str | int] | None = None,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    form: Mapping[str, str] | None = None,
) -> Ask:
    """A request to be sent. Raises `StopSource` when it cannot be: no http URL, user and password in it, a header
    that HTTP does not allow. The message shows no value of a header."""
    try:
        parsed = httpx.URL(url)
        parsed = (parsed.copy_merge_params(dict(params)) if params else parsed).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise StopSource("a URL of this source cannot be read; check base_url in its configuration") from None
    wrong = unfit(parsed)
    if wrong:
        raise StopSource(f"{shown(url)} {wrong}; check the URLs in the configuration of this source")
    try:
        made = httpx.Request(method, parsed, headers=dict(headers or {}), json=json, data=dict(form) if form else None)
        sent = {name: value for name, value in made.headers.items() if name != "host"}
    except (UnicodeError, TypeError, ValueError):
        raise StopSource(f"the request to {shown(url)} cannot be sent: a header or its body is not sendable") from None
    return Ask(method.upper(), parsed, sent, made.content)


def origin_of(url: httpx.URL | str) -> Origin:
    """Scheme, host and port: what credentials belong to. Raises `StopSource` for what is no URL."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise StopSource("a URL of this source cannot be read; check base_url in its configuration") from None
    return parsed.scheme, parsed.host.rstrip("."), parsed.port or PORTS.get(parsed.scheme, 0)


def unfit(url: httpx.URL) -> str:
    """Why a URL is never asked, "" if it may be."""
    if url.scheme not in PORTS:
        return "is neither http nor https"
    if not url.host:
        return "names no host"
    if url.port is not None and not 0 < url.port < 1 << 16:
        return "names a port that cannot be"
    if url.userinfo:
        return "has a user or password in it"
    return ""


def redirected(before: Ask, status: int, location: str) -> Ask:
    """The request that a redirect leads to. To another origin go only headers that are no secret, and no body.

    Raises `RetryLater` (reason `refused`) where it must not be followed.
    """
    try:
        url = before.url.join(location)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise refused(before, "to something that is no URL") from None
    wrong = unfit(url)
    if wrong:
        raise refused(before, f"to a URL that {wrong}")
    if before.url.scheme == "https" and url.scheme == "http":
        raise refused(before, "from https to http")
    url = url.copy_with(fragment=None)
    elsewhere = origin_of(url) != before.origin
    method, body, headers = before.method, before.body, dict(before.headers)
    if status == 303 or (status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
    elif body and elsewhere:
        raise refused(before, "with its body to another origin")
    if not body:
        headers = {name: value for name, value in headers.items() if name not in OF_THE_BODY}
    if elsewhere:
        headers = {name: value for name, value in headers.items() if name in KEPT}
    return Ask(method, url, headers, body)


def refused(before: Ask, what: str) -> RetryLater:
    return RetryLater(f"{before.shown} redirects {what}: not followed", reason="refused")
