"""The API as the connector asks it: addresses, credentials, and answers that are what they should be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from penstock.connectors.connector import Tools
from penstock.connectors.http.types import Door, Download, Reply
from penstock.connectors.sources.rest.auth_options import BasicAuth, BearerAuth, HeaderAuth, OAuth2Auth, QueryAuth
from penstock.connectors.sources.rest.oauth2 import OAuth2
from penstock.connectors.sources.rest.options import RestOptions
from penstock.connectors.types import RetryLater, StopSource

_NOT_THIS_ONE = (400, 402, 405, 406, 409, 412, 413, 414, 415, 422, 423, 424, 451)
_PORTS = {"http": 80, "https": 443}


class Api:
    """One API. Thread-safe. Nothing is asked, and no secret looked up, before the first request."""

    def __init__(self, options: RestOptions, tools: Tools) -> None:
        self._options = options
        self._tools = tools
        self._base = options.url.rstrip("/")
        self._origin = origin(self._base)
        self._lock = threading.Lock()
        self._door: Door | None = None
        self._oauth2 = OAuth2(options.auth, tools) if isinstance(options.auth, OAuth2Auth) else None

    def url(self, path: str) -> str:
        """`path` below the base; an address that is whole already stays as it is."""
        return path if path.startswith(("http://", "https://")) else f"{self._base}/{path.lstrip('/')}"

    def ours(self, url: str) -> bool:
        """Whether it leads to the scheme, host and port of the base."""
        return origin(url) == self._origin

    def path(self, url: str) -> str:
        """An address of ours without its origin, "" if it is not ours or holds more than a path."""
        parts = urlsplit(url) if self.ours(url) else None
        return parts.path if parts and not parts.query and not parts.fragment else ""

    def rooted(self, path: str) -> str:
        """The address that `path` was given for."""
        parts = urlsplit(self._base)
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    def get(
        self, url: str, params: Mapping[str, str | int], read: Callable[[Any], Any], *, one_item: bool = False
    ) -> tuple[Reply, Any]:
        """An answer, and what `read` makes of its JSON; `read` raises `RetryLater` for what should be asked again.

        `one_item`: what the API will not answer concerns this item alone. Raises what `Door.request` does.
        """
        made: list[Any] = []
        tolerated = _NOT_THIS_ONE if one_item else ()

        def valid(reply: Reply) -> None:
            made.clear()
            if reply.status in tolerated:
                return
            try:
                body = reply.json()
            except RecursionError:
                raise RetryLater("the JSON is nested too deeply", reason="garbled") from None
            made.append(read(body))

        if not self.ours(url):
            raise StopSource(f"{shown(url)} is another place than url, which is not asked: check the paths")
        address, query = self._signed(url, params)
        headers = {"Accept": "application/json", **self._options.headers}
        missing = False
        try:
            reply = self._opened().request(
                address, params=query, headers=headers, valid=valid, accept_statuses=tolerated
            )
        except FileNotFoundError:
            missing = True  # raised again outside, as the address in the first one may hold a key
        if missing:
            raise FileNotFoundError(f"{shown(url)} is not there")
        if reply.status in tolerated:
            raise RetryLater(f"{shown(url)} answered {reply.status}", reason="refused", retries=reply.retries)
        return reply, made[0]

    def known(self) -> None:
        """Raises `StopSource` where `whoami` says that we are nobody: some APIs answer a wrong or revoked key with
        what anybody may see, and the rest would look deleted."""
        if not self._options.whoami:
            return
        url = self.url(self._options.whoami)
        why = "404"
        try:
            self.get(url, {}, lambda body: body)
            return
        except FileNotFoundError:
            pass
        except RetryLater as error:
            if error.reason != "forbidden":
                raise
            why = "forbidden"
        raise StopSource(f"{shown(url)} does not know us ({why}): check the credentials, and whoami")

    def download(self, url: str, max_bytes: int) -> Download:
        """A file. Raises what `Door.download` does."""
        address, query = self._signed(url, {})
        headers = self._options.headers if self.ours(url) else {}
        missing = False
        try:
            got = self._opened().download(address, params=query, headers=headers, max_bytes=max_bytes)
        except FileNotFoundError:
            missing = True
        if missing:
            raise FileNotFoundError(f"{shown(url)} is not there")
        return got

    def _signed(self, url: str, params: Mapping[str, str | int]) -> tuple[str, dict[str, str | int] | None]:
        """Address and parameters, with the key of `query` credentials for our own origin only."""
        auth = self._options.auth
        query = dict(params)
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        if isinstance(auth, QueryAuth) and self.ours(url):
            query[auth.param] = self._tools.secret(auth.value)
        if not given:
            return url, query or None
        kept = [(name, value) for name, value in given if name not in query]
        if not query:
            return url, None
        return urlunsplit(parts._replace(query=urlencode([*kept, *query.items()]))), None

    def _opened(self) -> Door:
        with self._lock:
            if self._door is None:
                self._door = self._open()
            return self._door

    def _open(self) -> Door:
        secret, open_door, base = self._tools.secret, self._tools.door, self._base
        match self._options.auth:
            case BearerAuth(token):
                fixed = {"Authorization": f"Bearer {secret(token)}"}
                return open_door(base, headers=lambda: fixed)
            case HeaderAuth(name, value, prefix):
                named = {name: prefix + secret(value)}
                return open_door(base, headers=lambda: named)
            case BasicAuth(user, password):
                who = secret(user) if user.startswith(("${", "block:")) else user
                return open_door(base, basic=(who, secret(password)))
            case OAuth2Auth() if self._oauth2 is not None:
                return open_door(base, headers=self._oauth2.headers, renew=self._oauth2.renew)
            case _:
                return open_door(base)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; one that equals no other for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ("", url, 0)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return ("", url, 0)
    return (parts.scheme, parts.hostname.lower(), port if port is not None else _PORTS[parts.scheme])


def shown(url: str) -> str:
    """An address as people may see it: without its query."""
    return url.partition("?")[0][:300]
