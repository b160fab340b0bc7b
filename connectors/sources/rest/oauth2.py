"""Access tokens by OAuth2: client credentials or a refresh token (RFC 6749, sections 4.4 and 6)."""

from __future__ import annotations

import re
import threading
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.http.types import Door, Reply
from penstock.connectors.sources.rest.auth_options import OAuth2Auth, is_reference
from penstock.connectors.types import RetryLater, StopSource

_REFUSED = (400, 401, 403)
_CODE = re.compile(r"[a-z_]{1,40}\Z")


class OAuth2:
    """The token in force. Thread-safe. It asks `token_url` through a door of its own, so that nothing of ours goes
    with that but what it is meant to see."""

    def __init__(self, auth: OAuth2Auth, tools: Tools) -> None:
        self._auth = auth
        self._tools = tools
        self._lock = threading.Lock()
        self._door: Door | None = None
        self._token = ""
        self._until = float("inf")
        self._rotated = ""

    def headers(self) -> dict[str, str]:
        """With a token that is good for some time still. Raises `StopSource`, `RetryLater`."""
        with self._lock:
            if not self._token or self._tools.clock() >= self._until:
                self._obtain()
            return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> dict[str, str]:
        """With another token, as this one was refused. Raises `StopSource`, `RetryLater`."""
        with self._lock:
            self._obtain()
            return {"Authorization": f"Bearer {self._token}"}

    def close(self) -> None:
        if self._door is not None:
            self._door.close()

    def _obtain(self) -> None:
        form = self._form()
        reply = self._opened().request(
            self._auth.token_url,
            method="POST",
            form=form,
            headers={"Accept": "application/json"},
            accept_statuses=_REFUSED,
            valid=_granted,
        )
        answer = reply.json()
        if reply.status in _REFUSED:
            code = answer.get("error") if isinstance(answer, dict) else None
            said = f" ({code})" if isinstance(code, str) and _CODE.match(code) else ""
            what = "client_id, client_secret and refresh_token" if self._auth.refresh_token else "client_id and secret"
            raise StopSource(f"token_url does not give us a token{said}: check {what} under auth")
        self._token = answer["access_token"]
        lasts = _seconds(answer.get("expires_in"))
        # A token that lives shorter than the leeway is not renewed for each request.
        self._until = self._tools.clock() + lasts - min(self._auth.leeway, lasts / 2) if lasts else float("inf")
        self._keep(answer.get("refresh_token"))

    def _keep(self, fresh: Any) -> None:
        """A server may exchange the refresh token as well; the old one is then no good any more."""
        if self._auth.refresh_token is None or not isinstance(fresh, str) or not fresh or fresh == self._refresh():
            return
        if not self._rotated:
            self._tools.note(
                "the server exchanged the refresh token: the new one is kept for this run only; "
                "if the next run is refused, use client credentials or switch rotation off"
            )
        self._rotated = fresh

    def _refresh(self) -> str:
        written = self._auth.refresh_token
        return self._rotated or (self._tools.secret(written) if written else "")

    def _form(self) -> dict[str, str]:
        secret = self._tools.secret
        form = {name: secret(value) if is_reference(value) else value for name, value in self._auth.params.items()}
        if self._auth.refresh_token:
            form |= {"grant_type": "refresh_token", "refresh_token": self._refresh()}
        else:
            form["grant_type"] = "client_credentials"
        if self._auth.scope:
            form["scope"] = self._auth.scope
        if self._auth.client == "body":
            form |= {"client_id": self._auth.client_id, "client_secret": self._tools.secret(self._auth.client_secret)}
        return form

    def _opened(self) -> Door:
        if self._door is None:
            basic = None
            if self._auth.client == "basic":
                basic = (self._auth.client_id, self._tools.secret(self._auth.client_secret))
            self._door = self._tools.door(self._auth.token_url, basic=basic)
        return self._door


def _granted(reply: Reply) -> None:
    answer = reply.json() if reply.status not in _REFUSED else {"access_token": "-"}
    if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
        raise RetryLater("the answer of token_url holds no access_token", reason="garbled")


def _seconds(value: Any) -> float:
    try:
        lasts = float(value) if isinstance(value, (int, float, str)) else 0.0
    except ValueError:
        return 0.0
    return lasts if 0 < lasts < 1e9 else 0.0
