"""A MediaWiki's api.php: one question and its answer, continuation, and what its errors mean.

Answers are 200 whatever they say; an error is an object in the answer (https://www.mediawiki.org/wiki/API:Errors_and_warnings).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.connectors.http.types import Door, Reply
from penstock.connectors.sources.mediawiki_login import Session
from penstock.connectors.types import RetryLater, StopSource

Params = Mapping[str, str | int]

_THROTTLED = ("maxlag", "ratelimited", "actionthrottledtext", "busy", "pool-", "concurrency-limit")
_UNWELL = ("readonly", "internal_api_error", "unknownerror", "servererror", "dberror")
_MISSING = ("nosuchpageid", "missingtitle", "nosuchrevid", "pagecannotexist", "invalidtitle")
_DENIED = ("permissiondenied", "permission-denied", "accessdenied", "readrequired")
_CREDENTIALS = ("readapidenied", "assert", "mwoauth", "badtoken", "notloggedin", "login", "wrongpassword", "blocked")
_SESSION = ("assert", "readapidenied", "badtoken", "notloggedin")
_LONGEST_WAIT = 3600.0


class ApiError(StopSource):
    """The answer is an error that asking again would not mend: the end, unless it is about one page. `code` is
    MediaWiki's."""

    def __init__(self, url: str, code: str, message: str) -> None:
        self.code = code
        if self.credentials or self.denied:
            super().__init__(
                f"{url} refuses us ({message}); set token, or user and password, or mend the rights of that user"
            )
        else:
            super().__init__(f"{url} does not understand a question ({message}); it must be MediaWiki 1.31 or later")

    @property
    def denied(self) -> bool:
        """This page, or this question, is not for us."""
        return self.code.startswith(_DENIED)

    @property
    def credentials(self) -> bool:
        """Who we are is not accepted, or nobody may read without saying who they are."""
        return self.code.startswith(_CREDENTIALS)

    def of_an_item(self, uri: str) -> Exception:
        """What it becomes when one page was asked for."""
        if self.code.startswith(_MISSING):
            return FileNotFoundError(errno.ENOENT, "no such page", uri)
        if self.credentials:
            return self
        reason = "forbidden" if self.denied else "server_error"
        return RetryLater(f"the wiki answers {self.code} for {uri}", reason=reason)


class Api:
    """One wiki's api.php. Thread-safe."""

    def __init__(
        self,
        url: str,
        door: Callable[[], Door],
        *,
        common: Params,
        note: Callable[[str], None],
        identified: bool,
        session: Session | None = None,
    ) -> None:
        """`common` goes with each question. `identified`: answers for anonymous readers are refused by the wiki
        itself, so that a session that was lost never looks like a wiki with fewer pages."""
        self._url, self._make_door, self._note, self._session = url, door, note, session
        self._basics: dict[str, str | int] = {"format": "json", "formatversion": 2, **common}
        self._common = {**self._basics, "assert": "user"} if identified else self._basics
        self._door: Door | None = None
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, params: Params, *, post: bool = False) -> tuple[dict[str, Any], int]:
        """The answer, and how often it was asked for again. `post` for questions too long for a URL.

        Raises `ApiError`, and what the door raises; `StopSource` where there is no api.php.
        """
        asked, lost = {**self._common, **params}, None
        while True:
            cookie = self._session.cookie(self._to_log_in, lost=lost) if self._session else ""
            answer, reply = self._send(asked, post, {"cookie": cookie} if cookie else {})
            if "error" not in answer:
                break
            code, message = said(answer["error"])
            if not cookie or lost is not None or not code.startswith(_SESSION):
                raise ApiError(self._url, code, message)
            lost = cookie
        self._tolerate(answer.get("warnings"))
        return answer, reply.retries

    def _to_log_in(self, params: dict[str, str], post: bool, headers: dict[str, str]) -> tuple[dict[str, Any], str]:
        answer, reply = self._send({**self._basics, **params}, post, headers, cookies=True)
        if "error" in answer:
            raise ApiError(self._url, *said(answer["error"]))
        return answer, reply.headers.get("set-cookie", "")

    def _send(
        self, asked: Params, post: bool, headers: dict[str, str], *, cookies: bool = False
    ) -> tuple[dict[str, Any], Reply]:
        """One question, its answer an error perhaps."""
        answers: list[dict[str, Any]] = []

        def valid(reply: Reply) -> None:
            answers[:] = [read(reply)]

        sent: dict[str, Any] = {"method": "GET", "params": asked}
        if post:
            sent = {"method": "POST", "form": {name: str(value) for name, value in asked.items()}}
        try:
            reply = self._opened().request(self._url, **sent, headers=headers, valid=valid, cookies=cookies)
        except FileNotFoundError:
            reply = None
        if reply is None:
            raise StopSource(f"there is no MediaWiki API at {self._url}; set url to the address of its api.php")
        return answers[0], reply

    def answers(self, params: Params, *, post: bool = False) -> Iterator[dict[str, Any]]:
        """All answers to a query, continued as each says: its `continue` goes back whole, whatever is in it.

        Raises `RetryLater` when it never ends or breaks off.
        """
        on: dict[str, str | int] = {}
        seen: set[int] = set()
        while True:
            answer, _ = self.ask({**params, **on}, post=post)
            yield answer
            if "continue" not in answer:
                if answer.get("batchcomplete") is not True:
                    raise RetryLater(f"{self._url} broke off in the middle of a list", reason="truncated")
                return
            given = answer["continue"]
            if not isinstance(given, dict) or not all(isinstance(each, str | int) for each in given.values()):
                raise RetryLater(f"{self._url} gives a continuation that is none", reason="garbled")
            on = given
            place = hash(tuple(sorted((name, str(value)) for name, value in on.items())))
            if place in seen:
                raise RetryLater(f"{self._url} goes round in circles while it lists", reason="garbled")
            seen.add(place)

    def batches(self, params: Params, *, post: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Pages, a batch at a time, each put together from all answers that speak of it: only `batchcomplete` says
        that nothing of them is still to come."""
        merged: dict[Any, dict[str, Any]] = {}
        for answer in self.answers(params, post=post):
            for page in entries(answer, "pages"):
                merge(merged.setdefault(page.get("pageid") or page.get("title"), {}), page)
            if answer.get("batchcomplete") is True:
                yield list(merged.values())
                merged = {}

    def _opened(self) -> Door:
        with self._lock:
            if self._door is None:
                self._door = self._make_door()
            return self._door

    def _tolerate(self, warnings: Any) -> None:
        """A wiki that warns has answered all the same; each module's first warning is passed on."""
        if not isinstance(warnings, dict):
            return
        for module, warning in warnings.items():
            with self._lock:
                new = module not in self._warned
                self._warned.add(module)
            if new:
                text = warning.get("warnings", "") if isinstance(warning, dict) else warning
                self._note(f"{self._url} warns ({one_line(module)}): {one_line(text)}")


def read(reply: Reply) -> dict[str, Any]:
    """The answer of a reply. Raises `RetryLater` for what asking again may mend."""
    answer = reply.json()
    if not isinstance(answer, dict):
        raise RetryLater(f"{reply.url.split('?', 1)[0]} answers with JSON that is no object", reason="garbled")
    if "error" in answer:
        code, message = said(answer["error"])
        if code.startswith(_THROTTLED):
            raise RetryLater(message, asked_to_wait(reply), reason="throttled")
        if code.startswith(_UNWELL):
            raise RetryLater(message, asked_to_wait(reply), reason="server_error")
    elif not answer.keys() & {"query", "batchcomplete", "continue", "parse", "login"}:
        raise RetryLater(f"{reply.url.split('?', 1)[0]} gives an empty answer", reason="garbled")
    return answer


def asked_to_wait(reply: Reply) -> float:
    """Seconds of the Retry-After that comes with maxlag errors."""
    value = reply.headers.get("retry-after", "")
    return min(float(value), _LONGEST_WAIT) if value.isascii() and value.isdigit() and len(value) < 9 else 0.0


def said(error: Any) -> tuple[str, str]:
    """Code and message of an error object."""
    found = error if isinstance(error, dict) else {}
    code = one_line(found.get("code")) or "unknown"
    return code, f"{code}: {one_line(found.get('info'))}"


def one_line(text: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text or "")[:2000]).split())[:200]


def entries(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """`query.NAME`: pages, or the entries of a list; empty when the answer has none. Raises `RetryLater`."""
    query = answer.get("query", {})
    found = query.get(name, []) if isinstance(query, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise RetryLater("an answer of the wiki is not what was asked for", reason="garbled")
    return found


def merge(page: dict[str, Any], more: dict[str, Any]) -> None:
    """Lists grow, anything else is as the latest answer says."""
    for name, value in more.items():
        if isinstance(value, list) and isinstance(page.get(name), list):
            page[name] = page[name] + value
        else:
            page[name] = value
