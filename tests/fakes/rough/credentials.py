"""Who may ask: nobody in particular, basic, an API key, or OAuth2 tokens that wear out.

Every secret holds `MARK`, so that a test finds it wherever it leaked to.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

MARK = "hush5ecret"
CLIENT = ("penstock", f"{MARK}-client")
USER = ("reader", f"{MARK}-password")
API_KEY = f"{MARK}-key"
KEY_HEADER = "x-api-key"


@dataclass(slots=True)
class Guard:
    """`uses`: a token is good for so many requests (None: no limit); `lifetime`: and for so many seconds.

    `rotating`: a refresh token is good once. `refresh`: whether there are refresh tokens at all.
    """

    kind: Literal["none", "basic", "key", "oauth"] = "none"
    uses: int | None = None
    lifetime: float = 3600.0
    rotating: bool = False
    refresh: bool = True
    clock: Callable[[], float] = time.monotonic
    tokens: dict[str, tuple[int, float]] = field(default_factory=dict)
    refreshers: set[str] = field(default_factory=set)
    granted: list[str] = field(default_factory=list)
    """The grant types that tokens were given for."""

    def lets_in(self, headers: Mapping[str, str]) -> bool:
        match self.kind:
            case "none":
                return True
            case "basic":
                return _basic(headers) == USER
            case "key":
                return headers.get(KEY_HEADER) == API_KEY
        scheme, _, token = headers.get("authorization", "").partition(" ")
        used, since = self.tokens.get(token, (0, float("-inf")))
        if scheme.lower() != "bearer" or self.clock() - since >= self.lifetime:
            return False
        if self.uses is not None and used >= self.uses:
            return False
        self.tokens[token] = (used + 1, since)
        return True

    def revoke(self) -> None:
        """No access token is good any more."""
        self.tokens.clear()

    def grant(self, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, dict[str, object]]:
        """The token endpoint: (status, body)."""
        if (_basic(headers) or (form.get("client_id", ""), form.get("client_secret", ""))) != CLIENT:
            return 401, {"error": "invalid_client"}
        kind = form.get("grant_type", "")
        if kind == "refresh_token":
            if form.get("refresh_token") not in self.refreshers:
                return 400, {"error": "invalid_grant"}
            if self.rotating:
                self.refreshers.discard(form["refresh_token"])
        elif kind != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        self.granted.append(kind)
        token = f"{MARK}-access-{len(self.granted)}"
        self.tokens[token] = (0, self.clock())
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if self.refresh:
            refresher = f"{MARK}-refresh-{len(self.granted) if self.rotating else 0}"
            self.refreshers.add(refresher)
            answer["refresh_token"] = refresher
        return 200, answer


def _basic(headers: Mapping[str, str]) -> tuple[str, str] | None:
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded).decode().partition(":")
    except ValueError:
        return None
    return user, password
