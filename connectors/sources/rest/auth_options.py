"""Who we are, as the configuration says it. Every secret is named, never written."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from penstock.connectors.connector import Secret

HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


_SECRET_NAME = re.compile(
    r"authorization|cookie|password|secret|assertion|(api|access|auth|private|session|refresh)[-_]?(key|token)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|block:[a-z0-9-]+")


def names_a_secret(name: str) -> bool:
    """Whether what is called so is not for a file that people read."""
    return _SECRET_NAME.search(name) is not None


def is_reference(written: str) -> bool:
    """Whether it is a `Secret`."""
    return _REFERENCE.fullmatch(written) is not None


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    pass


class NoAuth(_Kind, frozen=True, tag="none"):
    """Nobody in particular."""


class BearerAuth(_Kind, frozen=True, tag="bearer"):
    """`Authorization: Bearer TOKEN`."""

    token: Secret


class HeaderAuth(_Kind, frozen=True, tag="header"):
    """A header of the API's own: `name: prefix value`. A space after the prefix has to be written."""

    name: HeaderName
    value: Secret
    prefix: str = ""


class BasicAuth(_Kind, frozen=True, tag="basic"):
    """User and password. `user` may be a `Secret` too."""

    user: str
    password: Secret


class QueryAuth(_Kind, frozen=True, tag="query"):
    """A key as a query parameter, which servers like to write into their logs: take another kind if there is one."""

    param: str
    value: Secret


class OAuth2Auth(_Kind, frozen=True, tag="oauth2"):
    """A token from `token_url`: by `refresh_token` if one is given, else as the client itself.

    `client`: the client's id and secret go in the `body` (most servers) or as `basic` credentials. `leeway`: seconds
    before its end at which a token is renewed. `params` go along; a secret among them is named like any other.
    """

    token_url: str
    client_id: str
    client_secret: Secret
    refresh_token: Secret | None = None
    scope: str = ""
    params: dict[str, str] = msgspec.field(default_factory=dict)
    client: Literal["body", "basic"] = "body"
    leeway: Annotated[float, Meta(ge=0)] = 60.0

    def __post_init__(self) -> None:
        for name, value in self.params.items():
            if names_a_secret(name) and not is_reference(value):
                raise ValueError(f"params.{name} is a secret: write ${{VARIABLE}} or block:NAME, and set that")
        try:
            parts = urlsplit(self.token_url)
        except ValueError:
            raise ValueError("token_url is no address: write https://host/path") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("token_url is no address: write https://host/path")
        if parts.scheme == "http" and not _is_near(parts.hostname):
            raise ValueError(f'token_url = "{self.token_url}" would show the secret to the network: write https://')


Auth = NoAuth | BearerAuth | HeaderAuth | BasicAuth | QueryAuth | OAuth2Auth


def _is_near(host: str) -> bool:
    """Loopback or private by what is written; whether it may be reached is for the source's network rules."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return address.is_loopback or address.is_private
