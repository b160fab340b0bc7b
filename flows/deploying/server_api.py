"""The few things that `penstock up` asks its Prefect server for, without importing Prefect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

_FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_SECONDS = 10.0
_BUSY_TIMES, _BETWEEN_SECONDS = 60, 0.5
"""How often a server is asked again that answers 503: on SQLite it does where another change came in between."""


class ApiFault(Exception):
    """No answer, or none that helps."""


class NotThere(ApiFault):
    """The server answers, and knows nothing of what was asked for."""


class _Busy(ApiFault):
    """Asked again, it may well answer."""


class Api:
    """One server. `auth`: user:password, where it asks for it. Each call raises `ApiFault` where it gets no answer."""

    def __init__(self, url: str, auth: str = "", *, sleep: Callable[[float], None]) -> None:
        self.url, self._sleep = url, sleep
        name, colon, password = auth.partition(":")
        self._auth = (name, password) if colon else None

    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            self._once("GET", "health")
        except ApiFault:
            return False
        return True

    def hands_out(self, pool: str) -> bool:
        """Whether workers get runs from this work pool; one that is not there hands out none."""
        try:
            return not self._ask("GET", f"work_pools/{pool}")["is_paused"]
        except NotThere:
            return False

    def pause(self, pool: str, paused: bool) -> None:
        """Stop handing out runs, or go on with it."""
        with suppress(NotThere):
            self._ask("PATCH", f"work_pools/{pool}", {"is_paused": paused})

    def limited(self, pool: str, limits: Mapping[str, int]) -> dict[str, int]:
        """Limit how many runs of these queues go at once, where nobody has. What holds then, without the unlimited."""
        found = {}
        for queue in self._ask("POST", f"work_pools/{pool}/queues/filter", {}):
            name, limit = queue["name"], queue["concurrency_limit"]
            if limit is None and name in limits:
                limit = limits[name]
                self._ask("PATCH", f"work_pools/{pool}/queues/{name}", {"concurrency_limit": limit})
            if limit is not None:
                found[name] = limit
        return found

    def crashed(self, run: str, message: str) -> bool:
        """Say of a flow run that its process died, unless it has ended already. Whether it had not."""
        try:
            if self._ask("GET", f"flow_runs/{run}")["state_type"] in _FINAL:
                return False
        except NotThere:
            return False
        self._ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "message": message}})
        return True

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        for _ in range(_BUSY_TIMES):
            with suppress(_Busy):
                return self._once(method, path, body)
            self._sleep(_BETWEEN_SECONDS)
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = httpx.request(method, f"{self.url}/{path}", json=body, auth=self._auth, timeout=_SECONDS)
        except httpx.HTTPError as error:
            raise ApiFault(f"Prefect at {self.url} does not answer ({type(error).__name__})") from None
        if answer.status_code == 404:
            raise NotThere(path)
        if not answer.is_success:
            fault = _Busy if answer.status_code == 503 else ApiFault
            raise fault(f"Prefect at {self.url} answers {answer.status_code} to {method} {path}")
        return answer.json() if answer.content else None
