"""One attempt: along its redirects, each hop with its own place in the budget and its own credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from penstock.connectors.http.asking import Ask, redirected
from penstock.connectors.http.credentials import NOBODY, Credentials, Expired
from penstock.connectors.http.faults import Fault
from penstock.connectors.http.network import NotAllowed, Untrusted
from penstock.connectors.http.ratelimit import cooldown
from penstock.connectors.http.statuses import REDIRECTS, judged
from penstock.connectors.http.types import Budget, Outcome
from penstock.connectors.http.wire import Answer, Wire
from penstock.connectors.types import RetryLater, StopSource

T = TypeVar("T")

SMALL = 16 << 10
"""A body that nobody wants is read if it is announced as no larger than that: the connection can be used again."""


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """What is wanted of an answer.

    `take` reads its body while its place in the budget is held; it is given 2xx and the statuses of `accept`.
    `seconds`: for each hop, the body included. `one_item`: it is one item's body, so that what the source refuses is
    that item and not its work.
    """

    take: Callable[[Ask, Answer], T]
    seconds: float
    accept: tuple[int, ...] = ()
    one_item: bool = False


class Courier:
    """Sends requests and brings the answers. Thread-safe."""

    def __init__(
        self,
        wire: Wire,
        budget: Budget,
        credentials: Credentials,
        *,
        clock: Callable[[], float],
        max_redirects: int,
    ) -> None:
        self._wire = wire
        self._budget = budget
        self._credentials = credentials
        self._clock = clock
        self._max_redirects = max_redirects

    def fetch(self, ask: Ask, errand: Errand[T]) -> T:
        """What the errand's `take` makes of the answer.

        Raises `Fault` for what may be tried again, and what `statuses.judged` says.
        """
        seen = set()
        for hop in range(self._max_redirects + 1):
            seen.add((ask.method, str(ask.url)))
            try:
                found = self._hop(ask, errand)
            except Expired as expired:
                self._credentials.renew(expired.login)
                raise Fault("token", f"{ask.shown} answered 401 to each token that we got") from None
            except NotAllowed as error:
                if hop == 0 and not errand.one_item:
                    raise StopSource(str(error)) from None
                raise RetryLater(str(error), reason="refused") from None
            except Untrusted as error:
                if self._credentials.owns(ask.origin) or (hop == 0 and not errand.one_item):
                    raise StopSource(str(error)) from None
                raise RetryLater(str(error), reason="unreachable") from None
            if not isinstance(found, Onward):
                return found
            ask = found.ask
            if (ask.method, str(ask.url)) in seen:
                raise Fault("server_error", f"{ask.shown} redirects in a circle")
        raise Fault("server_error", f"{ask.shown} is the end of more than {self._max_redirects} redirects")

    def _hop(self, ask: Ask, errand: Errand[T]) -> T | Onward:
        # Asked before there is a place in the budget: a connector may have to fetch its first token.
        login = self._credentials.login() if self._credentials.owns(ask.origin) else NOBODY
        with self._budget.request() as permit:
            signed, login = self._credentials.signed(ask, login)
            verdict, head, wait = "cancelled", 0.0, 0.0
            try:
                with self._wire.send(signed, errand.seconds) as answer:
                    verdict, head = "ok", answer.seconds
                    wait = cooldown(answer.headers, answer.status, self._clock())
                    if answer.status == 401 and 401 not in errand.accept and login is not NOBODY:
                        raise Expired(login)
                    if answer.status < 400:
                        self._credentials.accepted(login)
                    return taken(ask, answer, errand, wait)
            except Fault as fault:
                verdict, wait = fault.verdict, max(wait, fault.cooldown)
                if fault.reason in ("timeout", "stalled"):
                    head = 0.0  # it is not the head's quickness that counts: the budget takes the whole time
                raise
            finally:
                if verdict != "cancelled":
                    permit.done(Outcome(verdict, head, wait))


class Onward:
    """Where a redirect leads."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask


def taken(ask: Ask, answer: Answer, errand: Errand[T], wait: float) -> T | Onward:
    """What was asked for, or where it is. Raises what the status means otherwise."""
    if 200 <= answer.status < 300 or answer.status in errand.accept:
        return errand.take(ask, answer)
    discard(answer)
    if answer.status in REDIRECTS and answer.headers.get("location"):
        return Onward(redirected(ask, answer.status, answer.headers["location"]))
    raise judged(answer.status, ask, wait, one_item=errand.one_item)


def discard(answer: Answer) -> None:
    """Read a small body to its end, for the connection's sake; whatever is wrong with it does not matter."""
    length = answer.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) < 8 and int(length) <= SMALL:
        try:
            for _ in answer.pieces:
                pass
        except Fault:
            pass
