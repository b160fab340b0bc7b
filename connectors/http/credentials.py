"""What is added to requests to the source's own origins, and its renewal when it has expired."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from penstock.connectors.http.asking import Ask, Origin, origin_of
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.types import StopSource

GiveHeaders = Callable[[], Mapping[str, str]]
NO_SECRETS = ("accept", "accept-language", "content-type", "user-agent", "x-requested-with", "prefer", "api-version")


@dataclass(frozen=True, slots=True)
class Login:
    """Headers for the source's origins, and how often they were renewed before. -1: none, and none to be renewed."""

    headers: Mapping[str, str] = field(repr=False)
    generation: int


NOBODY = Login({}, -1)


class Expired(Exception):
    """The answer to a request with this login was 401."""

    def __init__(self, login: Login) -> None:
        super().__init__("401")
        self.login = login


class InRenewal(threading.local):
    """Whether this thread is inside `headers` or `renew`: its requests carry nothing, and a 401 to them is final."""

    now = False


class Credentials:
    """Thread-safe. One thread at a time asks for headers or renews them; others wait and use what it got."""

    def __init__(
        self,
        origins: Iterable[str],
        *,
        headers: GiveHeaders | None,
        renew: GiveHeaders | None,
        basic: tuple[str, str] | None,
        redactor: Redactor,
    ) -> None:
        self._origins = {origin_of(url) for url in origins}
        self._give, self._renew = headers, renew
        self._redactor = redactor
        self._basic: dict[str, str] = {}
        if basic is not None:
            redactor.learn_basic(*basic)
            pair = base64.b64encode(":".join(basic).encode()).decode()
            self._basic = {"authorization": f"Basic {pair}"}
        self._lock = threading.Lock()
        self._inside = InRenewal()
        self._given: Mapping[str, str] = {}
        self._login = Login(self._basic, 0)
        self._accepted = True
        """Whether the source took the newest login; the first one may have expired before we came."""

    def owns(self, origin: Origin) -> bool:
        """Whether requests to `origin` carry credentials, as long as there are any."""
        return origin in self._origins

    def login(self) -> Login:
        """What to send now. May ask the source (`headers` of the connector may): hold no place in the budget."""
        if self._inside.now:
            return NOBODY
        with self._lock:
            given = self._from(self._give) if self._give is not None else {}
            if given != self._given:
                # A connector that renews a token shortly before it ends says so here. One that always says the same
                # is not believed any more once that was refused and renewed.
                self._given, headers = given, {**self._basic, **given}
                if headers != self._login.headers:
                    self._login = Login(headers, self._login.generation + 1)
            return self._login

    def signed(self, ask: Ask, login: Login) -> tuple[Ask, Login]:
        """The request with its credentials, by now perhaps newer ones than `login`. Never waits."""
        if not self.owns(ask.origin):
            return ask, NOBODY
        newest = self._login
        login = newest if 0 <= login.generation < newest.generation else login
        return ask.with_headers(login.headers), login

    def accepted(self, login: Login) -> None:
        """The source took this login."""
        if login.generation == self._login.generation:
            self._accepted = True

    def renew(self, login: Login) -> None:
        """The source refused this login: get another one, unless somebody did meanwhile.

        Raises `StopSource` where there is none to get, or where the newest one was never taken either.
        """
        if login.generation < 0 or self._renew is None:
            raise StopSource("the source does not accept the credentials (401); check them in its configuration")
        with self._lock:
            if self._login.generation != login.generation:
                return
            if not self._accepted:
                raise StopSource("the source does not accept a renewed token either (401); check its credentials")
            fresh = {**self._basic, **self._from(self._renew)}
            self._login, self._accepted = Login(fresh, login.generation + 1), False

    def _from(self, give: GiveHeaders) -> dict[str, str]:
        self._inside.now = True
        try:
            given = {name.lower(): value for name, value in give().items()}
        finally:
            self._inside.now = False
        for name, value in given.items():
            if name not in NO_SECRETS:
                self._redactor.learn(value, value.rpartition(" ")[2])
        return given
