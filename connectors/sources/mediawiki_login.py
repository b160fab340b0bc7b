"""A session of a wiki, by a bot password: what `action=login` gives, for this wiki and nowhere else.

The door keeps no cookies. Those of the login are kept here, and go back as an explicit header, which the door takes
away on the way to any other origin.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from penstock.connectors.types import RetryLater, StopSource

Send = Callable[[dict[str, str], bool, dict[str, str]], tuple[dict[str, Any], str]]
"""Parameters, whether to post them, headers: the answer, and what it said in Set-Cookie."""
_PAIR = re.compile(r"(?:\A|, )([^=;,\s]+)=([^;,]*)")
_AGAIN = ("WrongToken", "NeedToken")


class Session:
    """Thread-safe: one thread logs in, the others wait and use what it got."""

    def __init__(self, url: str, user: str, password: Callable[[], str]) -> None:
        """`user` is `Name@bot`, as *Special:BotPasswords* shows it."""
        self._url, self._user, self._password = url, user, password
        self._cookie = ""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Session({self._url!r}, {self._user!r})"

    def cookie(self, send: Send, *, lost: str | None = None) -> str:
        """What to send. `lost` is one that the wiki knows no more: another is got, unless somebody did meanwhile.

        Raises `StopSource` when the wiki does not let us in, `RetryLater` when it does not now.
        """
        with self._lock:
            if not self._cookie or self._cookie == lost:
                self._cookie = self._logged_in(send)
            return self._cookie

    def _logged_in(self, send: Send) -> str:
        result, reason = "", ""
        for _ in range(2):  # an answer to the login that was lost has used its token up
            jar: dict[str, str] = {}
            answer, cookies = send({"action": "query", "meta": "tokens", "type": "login"}, False, {})
            jar.update(pairs(cookies))
            token = logintoken(answer)
            if not token or not jar:
                raise RetryLater(f"{self._url} gives no token to log in with", reason="garbled")
            asked = {"action": "login", "lgname": self._user, "lgpassword": self._password(), "lgtoken": token}
            answer, cookies = send(asked, True, {"cookie": joined(jar)})
            jar.update(pairs(cookies))
            said = answer.get("login")
            said = said if isinstance(said, dict) else {}
            result, reason = plain(said.get("result")), plain(said.get("reason"))
            if result == "Success":
                return joined(jar)
            if result == "Throttled":
                raise RetryLater(f"{self._url} takes no more logins for now", 300.0, reason="throttled")
            if result not in _AGAIN:
                break
        raise StopSource(f"{self._url} does not let {self._user} in ({result}: {reason}); check user and password")


def logintoken(answer: dict[str, Any]) -> str:
    query = answer.get("query")
    tokens = query.get("tokens") if isinstance(query, dict) else None
    token = tokens.get("logintoken") if isinstance(tokens, dict) else None
    return token if isinstance(token, str) else ""


def plain(text: Any) -> str:
    """What the wiki says, for a message of one line."""
    return re.sub(r"[^ -~]+|<[^>]*>", " ", text[:2000])[:120].strip() if isinstance(text, str) else ""


def pairs(cookies: str) -> dict[str, str]:
    """Names and values of Set-Cookie headers that were joined by commas. Dates in them have commas too, but no
    name with an equals sign right after those."""
    return {name: value for name, value in _PAIR.findall(cookies) if value not in ("", "deleted")}


def joined(jar: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in jar.items())
