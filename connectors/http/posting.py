"""Requests that are paid for: each is a POST that is weighed in tokens, and may be lost after it was answered.

The same wire, budget, credentials and retries as a source's door (`door.py`), with three differences: a request waits
for its tokens as well as for its place; redirects are not followed, as a body with other people's texts goes where it
was meant to or nowhere; and what the answer means is said by the caller, who sees refusals too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from penstock.connectors.http.asking import Ask, ask
from penstock.connectors.http.body import content
from penstock.connectors.http.courier import Courier, Errand
from penstock.connectors.http.credentials import Credentials
from penstock.connectors.http.door import AGENT, approved
from penstock.connectors.http.faults import Fault
from penstock.connectors.http.meter import Meter, Taken
from penstock.connectors.http.network import Resolve, system_resolve
from penstock.connectors.http.ratelimit import cooldown
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.http.retrying import Retries
from penstock.connectors.http.statuses import REDIRECTS, judged
from penstock.connectors.http.types import Budget, NetworkRules, Outcome, Permit, Reply
from penstock.connectors.http.wire import Answer, Wire
from penstock.connectors.types import SourceError

T = TypeVar("T")

SEEN = (*REDIRECTS, *(status for status in range(400, 500) if status not in (408, 425)))
"""Answers that the caller sees, beside those that are well."""
LOST = ("timeout", "stalled", "reset", "truncated", "garbled")
"""Faults after which the server may have done the work, and may ask money for it."""


class Poster:
    """Posts to one URL. Thread-safe. `headers` go with every request.

    `budget` and `meter` are shared by everybody who uses the endpoint; the rest as in `HttpDoor`.
    Raises `StopSource` for a URL that cannot be asked.
    """

    def __init__(
        self,
        url: str,
        *,
        budget: Budget,
        meter: Meter,
        rules: NetworkRules,
        headers: Mapping[str, str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        redactor: Redactor,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._url, self._rules, self._redactor = url, rules, redactor
        self._budget, self._meter, self._clock, self._monotonic = budget, meter, clock, monotonic
        self._wire = Wire(rules, resolve=resolve, monotonic=monotonic)
        self._retries = Retries(rules, monotonic=monotonic, sleep=sleep, random=random)
        self._credentials = Credentials([url], headers=lambda: headers, renew=None, basic=None, redactor=redactor)
        self._lock = threading.Lock()
        self._unsure = 0
        ask("POST", url)

    @property
    def retries(self) -> Mapping[str, int]:
        """Repeated requests so far by reason, a word of `reasons.RETRIES`."""
        return self._retries.counts

    @property
    def unsure(self) -> int:
        """Tokens of requests whose answers were lost: nobody knows whether they are paid for."""
        return self._unsure

    def post(self, body: bytes, tokens: int, take: Callable[[Reply], tuple[T, int]]) -> T:
        """What `take` makes of the answer, JSON for JSON; repeated by the rules.

        `tokens`: what the request weighs, at most. `take` is called with 2xx, 3xx and 4xx, and returns a value and the
        tokens that were paid for; it may raise `RetryLater` (reason `garbled`) for an answer that is none, and anything
        else to end it. After 429 its answer is not looked at: the request is repeated.

        Raises `RetryLater` when attempts or time are spent, `StopSource` as the budget and the meter do.
        """
        made = ask("POST", self._url, headers={**AGENT, "accept": "application/json", "accept-encoding": "gzip"})
        asked = replace(made, body=body).with_headers(
            {"content-type": "application/json", "content-length": str(len(body))}
        )
        try:
            value, _ = self._retries.run(lambda: self._once(asked, tokens, take))
        except SourceError as error:
            raise self._redactor.cleaned(error) from None
        return value

    def close(self) -> None:
        self._wire.close()

    def _once(self, asked: Ask, tokens: int, take: Callable[[Reply], tuple[T, int]]) -> T:
        weighed = Weighed(self._budget, self._meter, tokens, self._monotonic)
        courier = Courier(self._wire, weighed, self._credentials, clock=self._clock, max_redirects=0)
        used: int | None = 0

        def hold(asked: Ask, answer: Answer) -> tuple[T, int]:
            reply = self._reply(asked, answer)
            weighed.headers = reply.headers
            if answer.status == 424:  # text-embeddings-inference says so when its model failed
                raise Fault("server_error", f"{asked.shown} answered 424")
            value = approved_value(reply, take)
            if answer.status == 429:
                raise judged(429, asked, cooldown(answer.headers, 429, self._clock()), one_item=False)
            return value

        try:
            value, used = courier.fetch(asked, Errand(hold, self._rules.total_seconds, accept=SEEN))
            return value
        except Fault as fault:
            used = None if fault.reason in LOST else 0
            raise
        finally:
            self._settle(weighed, used)

    def _reply(self, asked: Ask, answer: Answer) -> Reply:
        rules = self._rules
        pieces = content(asked, answer, max_bytes=rules.max_page_bytes, max_ratio=rules.max_ratio)
        return Reply(answer.status, str(asked.url), dict(answer.headers), b"".join(pieces))

    def _settle(self, weighed: Weighed, used: int | None) -> None:
        if weighed.taken is None:
            return
        if used is None:
            with self._lock:
                self._unsure += weighed.taken.tokens
        self._meter.settle(weighed.taken, used, weighed.headers)


class Weighed:
    """The `Budget` of one request: its place first, and then, when it could go, its tokens."""

    def __init__(self, budget: Budget, meter: Meter, tokens: int, monotonic: Callable[[], float]) -> None:
        self._budget, self._meter, self._tokens, self._monotonic = budget, meter, tokens, monotonic
        self.taken: Taken | None = None
        self.headers: Mapping[str, str] = {}

    @contextmanager
    def request(self) -> Iterator[Permit]:
        with self._budget.request() as permit:
            self.taken = self._meter.take(self._tokens)
            yield Timed(permit, self._monotonic)


class Timed:
    """A permit that does not count the time spent on waiting for tokens as the server's."""

    def __init__(self, permit: Permit, monotonic: Callable[[], float]) -> None:
        self._permit, self._monotonic, self._began = permit, monotonic, monotonic()

    def done(self, outcome: Outcome) -> None:
        seconds = outcome.seconds or self._monotonic() - self._began
        self._permit.done(replace(outcome, seconds=seconds))


def approved_value(reply: Reply, take: Callable[[Reply], tuple[T, int]]) -> tuple[T, int]:
    """What `take` makes of it; what it finds wanting becomes a fault, to be repeated."""
    kept: list[tuple[T, int]] = []
    approved(reply, lambda one: kept.append(take(one)))
    return kept[0]
