"""The door: HTTP for one source. What it promises is in `types.Door`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.connectors.http.asking import Ask, ask
from penstock.connectors.http.body import content
from penstock.connectors.http.courier import Courier, Errand
from penstock.connectors.http.credentials import Credentials, GiveHeaders
from penstock.connectors.http.download import Transfer
from penstock.connectors.http.faults import Disliked
from penstock.connectors.http.network import Resolve, system_resolve
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.http.retrying import Retries
from penstock.connectors.http.types import Budget, Download, NetworkRules, NotModified, Reply
from penstock.connectors.http.wire import Answer, Wire
from penstock.connectors.types import RetryLater, SourceError, StopSource

AGENT = {"user-agent": "penstock"}


class HttpDoor:
    """`Door` for one source: budget, rules and credentials are fixed. Thread-safe.

    `origins`, `headers`, `renew` and `basic` as in `OpenDoor`. `scratch` is where downloads go; it exists. `clock`:
    seconds since 1970; `monotonic`: seconds; `random`: evenly from [0, 1); `token`: fresh names for files.
    Raises `StopSource` for an origin that is no URL and a `ca_file` that cannot be read, `ValueError` for an empty
    entry of `rules.allow`.
    """

    def __init__(
        self,
        *,
        budget: Budget,
        rules: NetworkRules,
        scratch: Path,
        origins: Sequence[str] = (),
        headers: GiveHeaders | None = None,
        renew: GiveHeaders | None = None,
        basic: tuple[str, str] | None = None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        token: Callable[[], str],
        redactor: Redactor,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._rules, self._scratch, self._token, self._redactor = rules, scratch, token, redactor
        self._wire = Wire(rules, resolve=resolve, monotonic=monotonic)
        self._retries = Retries(rules, monotonic=monotonic, sleep=sleep, random=random)
        self._credentials = Credentials(origins, headers=headers, renew=renew, basic=basic, redactor=redactor)
        self._courier = Courier(self._wire, budget, self._credentials, clock=clock, max_redirects=rules.max_redirects)

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
        cookies: bool = False,
    ) -> Reply:
        """One answer, in memory: see `Door.request`."""
        with self._cleaned():
            sent = {"accept-encoding": "gzip", **AGENT, **lower(headers)}
            asked = ask(method, url, params=params, headers=sent, json=json, form=form)

            def hold(ask: Ask, answer: Answer) -> Reply:
                rules = self._rules
                pieces = content(ask, answer, max_bytes=rules.max_page_bytes, max_ratio=rules.max_ratio)
                headers = dict(answer.headers)
                if cookies and answer.cookies and self._credentials.owns(ask.origin):
                    headers["set-cookie"] = answer.cookies
                    self._redactor.learn(*session_values(answer.cookies))
                return approved(Reply(answer.status, str(ask.url), headers, b"".join(pieces)), valid)

            errand = Errand(hold, self._rules.total_seconds, accept_statuses)
            reply, repeated = self._retries.run(lambda: self._courier.fetch(asked, errand))
            return replace(reply, retries=repeated)

    def download(
        self,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int,
    ) -> Download:
        """One body, on disk: see `Door.download`."""
        with self._cleaned():
            # Unpacked bytes could not be continued by Range: what is meant to be kept is asked for as it is.
            sent = {**AGENT, **lower(headers), "accept-encoding": "identity"}
            try:
                asked = ask("GET", url, params=params, headers=sent)
            except StopSource as error:  # somebody wrote that address into one item: the others may be well
                raise RetryLater(str(error), reason="refused") from None
            with self._new_file() as path:
                transfer = Transfer(asked, path, max_bytes=max_bytes, rules=self._rules)
                seconds = self._rules.total_seconds + max_bytes / max(self._rules.slowest, 1)
                done, repeated = self._retries.run(
                    lambda: self._courier.fetch(
                        transfer.next(), Errand(transfer.take, seconds, transfer.accept, one_item=True)
                    ),
                    reached=lambda: transfer.furthest,
                )
                return replace(done, size=path.stat().st_size, retries=repeated)

    @property
    def retries(self) -> Mapping[str, int]:
        return self._retries.counts

    def close(self) -> None:
        self._wire.close()

    @contextmanager
    def _new_file(self) -> Iterator[Path]:
        """An empty file, gone again if the block fails."""
        path = self._scratch / self._token()
        try:
            path.open("xb").close()
        except FileNotFoundError:
            # Not to be taken for the item's absence.
            raise StopSource(f"the scratch folder {self._scratch} is gone; make it again") from None
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @contextmanager
    def _cleaned(self) -> Iterator[None]:
        """No message leaves with a secret in it, nor with the error below it, whose message we did not write."""
        try:
            yield
        except (SourceError, FileNotFoundError, NotModified) as error:
            error.args = tuple(self._redactor.clean(arg) if isinstance(arg, str) else arg for arg in error.args)
            raise error from None


@dataclass(frozen=True)
class Doors:
    """`OpenDoor` for one source: what a connector does not decide is in it already."""

    budget: Budget
    rules: NetworkRules
    scratch: Path
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    token: Callable[[], str]
    redactor: Redactor
    resolve: Resolve = system_resolve

    def __call__(
        self,
        *origins: str,
        headers: GiveHeaders | None = None,
        renew: GiveHeaders | None = None,
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
            resolve=self.resolve,
        )


def approved(reply: Reply, valid: Callable[[Reply], object] | None) -> Reply:
    """The reply, if the caller likes it."""
    if valid is not None:
        try:
            valid(reply)
        except RetryLater as error:
            raise Disliked(error) from None
    return reply


def session_values(cookies: str) -> list[str]:
    """What may be secret in a Set-Cookie header: the values of its pairs."""
    return [part.partition("=")[2].strip(' "') for part in re.split("[;,]", cookies)]


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}
