"""The door: HTTP for one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from penstock.connectors.http.redaction import Redactor
from penstock.connectors.http.types import Budget, Download, NetworkRules, Outcome, Reply
from penstock.connectors.types import RejectItem, RetryLater, StopSource


class HttpDoor:
    """`Door` for one source. See the contract in `types.py`."""

    def __init__(
        self,
        *,
        budget: Budget,
        rules: NetworkRules,
        scratch: Path,
        origins: Sequence[str] = (),
        headers: Callable[[], Mapping[str, str]] | None = None,
        renew: Callable[[], Mapping[str, str]] | None = None,
        basic: tuple[str, str] | None = None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        token: Callable[[], str],
        redactor: Redactor,
    ) -> None:
        self._budget, self._rules, self._scratch, self._token = budget, rules, scratch, token
        self._origins = {origin_of(url) for url in origins}
        self._headers, self._renew, self._basic = headers, renew, basic
        self._fresh: dict[str, str] | None = None
        self._client = httpx.Client(trust_env=False)
        self._retries: Counter[str] = Counter()

    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        accept_statuses: tuple[int, ...] = (),
        valid: Callable[[Reply], object] | None = None,
    ) -> Reply:
        tries = 0
        while True:
            auth = dict(self._fresh or (self._headers() if self._headers else {}))
            sent = {**(headers or {}), **(auth if origin_of(url) in self._origins else {})}
            try:
                with self._budget.request() as permit:
                    try:
                        answer = self._client.request(
                            method,
                            url,
                            params=params or None,
                            headers=sent,
                            json=json,
                            data=form,
                            auth=self._basic if self._basic and origin_of(url) in self._origins else None,
                        )
                    except httpx.HTTPError as error:
                        permit.done(Outcome("failed"))
                        raise RetryLater(f"no answer: {type(error).__name__}") from None
                    permit.done(Outcome("throttled" if answer.status_code in (429, 503) else "ok"))
                reply = Answered(
                    answer.status_code,
                    str(answer.url),
                    {k.lower(): v for k, v in answer.headers.items()},
                    answer.content,
                    tries,
                )
                if answer.is_success or answer.status_code in accept_statuses:
                    if valid is not None:
                        valid(reply)
                    return reply
                if answer.status_code in (404, 410):
                    raise FileNotFoundError(url)
                if answer.status_code == 401 and self._renew is not None and tries < 2:
                    self._fresh = dict(self._renew())
                    raise RetryLater("token", reason="token")
                if answer.status_code in (429, 500, 502, 503, 504):
                    raise RetryLater(f"status {answer.status_code}", reason="server_error")
                if answer.status_code == 403:
                    raise RetryLater("status 403", reason="forbidden", retries=99)
                raise StopSource(f"{url} answered {answer.status_code}")
            except RetryLater as fault:
                tries += 1
                if tries >= self._rules.attempts or fault.retries == 99:
                    raise
                self._retries[fault.reason] += 1

    def download(
        self,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int,
    ) -> Download:
        reply = self.request(url, params=params, headers=headers)
        if len(reply.body) > max_bytes:
            raise RejectItem(f"larger than {max_bytes} bytes", reason="too_large")
        path = self._scratch / self._token()
        path.write_bytes(reply.body)
        return Download(
            path,
            len(reply.body),
            reply.url,
            reply.headers,
            reply.headers.get("etag", ""),
            reply.headers.get("last-modified", ""),
            reply.retries,
        )

    @property
    def retries(self) -> Mapping[str, int]:
        return dict(self._retries)

    def close(self) -> None:
        self._client.close()


class Answered(Reply):
    """A `Reply` that reads its JSON."""

    def json(self) -> Any:
        import json

        try:
            return json.loads(self.body)
        except ValueError:
            raise RetryLater("not the JSON that was asked for", reason="garbled") from None


def origin_of(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port


@dataclass(frozen=True)
class Doors:
    """`OpenDoor` for one source: everything that a connector does not decide is in it already."""

    budget: Budget
    rules: NetworkRules
    scratch: Path
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    token: Callable[[], str]
    redactor: Redactor = field(default_factory=Redactor)

    def __call__(
        self,
        *origins: str,
        headers: Callable[[], Mapping[str, str]] | None = None,
        renew: Callable[[], Mapping[str, str]] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> HttpDoor:
        return HttpDoor(
            budget=self.budget,
            rules=self.rules,
            scratch=self.scratch,
            origins=origins,
            headers=headers,
            renew=renew,
            basic=basic,
            clock=self.clock,
            monotonic=self.monotonic,
            sleep=self.sleep,
            random=self.random,
            token=self.token,
            redactor=self.redactor,
        )
