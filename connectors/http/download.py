"""A body on its way to disk, through cuts and changes: never the pieces of two versions in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, cast

from penstock.connectors.http.asking import Ask
from penstock.connectors.http.body import announced, content, encoded, too_large
from penstock.connectors.http.digests import Digests, check_file, of_the_whole
from penstock.connectors.http.faults import Fault
from penstock.connectors.http.types import Download, NetworkRules, NotModified
from penstock.connectors.http.wire import Answer
from penstock.connectors.types import StopSource

SETTLED = 60.0
"""Seconds that an entity must be older than the answer for its Last-Modified to tell versions apart (RFC 9110
8.8.2.2): younger ones may change twice within the second that the date counts."""
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
CONDITIONS = ("if-none-match", "if-modified-since")


class Transfer:
    """One download. The file at `path` is there, and empty."""

    def __init__(self, ask: Ask, path: Path, *, max_bytes: int, rules: NetworkRules) -> None:
        self._ask = ask
        self._path = path
        self._max_bytes = max_bytes
        self._max_ratio = rules.max_ratio
        self._size = 0
        self._furthest = 0
        self._total: int | None = None
        self._validator = ""
        self._digests: Digests = {}
        self._done = Download(path, 0, str(ask.url))

    @property
    def furthest(self) -> int:
        """Bytes that were ever on disk."""
        return self._furthest

    @property
    def accept(self) -> tuple[int, ...]:
        """Statuses besides 2xx that `take` understands now."""
        if self._size:
            return (416,)
        return (304,) if any(name in self._ask.headers for name in CONDITIONS) else ()

    def next(self) -> Ask:
        """The request for all, or for the rest."""
        if not self._validator:
            self._restart()
        if not self._size:
            return self._ask
        plain = {name: value for name, value in self._ask.headers.items() if name not in CONDITIONS}
        rest = {"range": f"bytes={self._size}-", "if-range": self._validator}
        return Ask(self._ask.method, self._ask.url, {**plain, **rest}, self._ask.body)

    def take(self, ask: Ask, answer: Answer) -> Download:
        """Write what came. Raises `Fault` while something is missing, `RejectItem`, `NotModified`."""
        if answer.status == 304:
            raise NotModified(f"{ask.shown} has not changed")
        if answer.status == 416:
            self._restart()
            raise Fault("truncated", f"{ask.shown} no longer has the rest of what it sent before")
        if answer.status == 206:
            self._check_rest(ask, answer)
        else:
            self._begin(ask, answer)
        try:
            self._write(ask, answer)
            if self._total is not None and self._size != self._total:
                raise Fault("truncated", f"{ask.shown} sent {self._size} of {self._total} bytes")
            check_file(self._path, self._digests)
        except Fault as fault:
            if fault.reason == "garbled":
                self._restart()
            raise
        return self._done

    def _begin(self, ask: Ask, answer: Answer) -> None:
        self._restart()
        headers = answer.headers
        if not encoded(answer):
            self._total = announced(answer)
            self._validator = validator(headers)
            self._digests = of_the_whole(headers) if answer.status == 200 else {}
        self._done = Download(
            self._path,
            0,
            str(ask.url),
            headers,
            headers.get("etag", ""),
            headers.get("last-modified", ""),
        )

    def _check_rest(self, ask: Ask, answer: Answer) -> None:
        wrong = self._mismatch(answer)
        if wrong:
            self._restart()
            raise Fault("garbled", f"{ask.shown} {wrong}")
        match = _RANGE.fullmatch(answer.headers["content-range"])
        if match is not None and match[3] != "*":
            self._total = int(match[3])
            if self._total > self._max_bytes:
                raise too_large(ask, self._max_bytes)
        self._digests = {**self._digests, **of_the_whole(answer.headers)}

    def _mismatch(self, answer: Answer) -> str:
        """Why a 206 is not the rest of what is on disk, "" if it is."""
        if not self._size:
            return "sent a part where all was asked for"
        match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None or encoded(answer):
            return "sent a part without saying which"
        first, last = int(match[1]), int(match[2])
        length = announced(answer)
        if first != self._size or last < first or (length is not None and length != last - first + 1):
            return "sent another part than the one that was asked for"
        if match[3] != "*" and (last >= int(match[3]) or (self._total or int(match[3])) != int(match[3])):
            return "sent a part of something of another size"
        was, now = self._done, answer.headers
        if (now.get("etag", was.etag), now.get("last-modified", was.last_modified)) != (was.etag, was.last_modified):
            return "sent a part of another version"
        return ""

    def _write(self, ask: Ask, answer: Answer) -> None:
        bounds = {"max_bytes": self._max_bytes, "max_ratio": self._max_ratio, "already": self._size}
        with self._open("ab") as file:
            for piece in content(ask, answer, **bounds):
                file.write(piece)
                self._size += len(piece)
                self._furthest = max(self._furthest, self._size)

    def _restart(self) -> None:
        if self._size:
            self._open("wb").close()
        self._size, self._total, self._validator, self._digests = 0, None, "", {}

    def _open(self, mode: str) -> BinaryIO:
        try:
            return cast(BinaryIO, self._path.open(mode))
        except FileNotFoundError:
            # Not to be taken for the item's absence.
            raise StopSource(f"the scratch folder {self._path.parent} is gone; make it again") from None


def validator(headers: Mapping[str, str]) -> str:
    """What If-Range may say about this answer: a strong ETag, or a Last-Modified that is old enough. "" if neither."""
    if headers.get("accept-ranges", "").strip().lower() == "none":
        return ""
    etag = headers.get("etag", "")
    if etag:
        return etag if re.fullmatch(r'"[^"]*"', etag) else ""
    try:
        modified = parsedate_to_datetime(headers["last-modified"])
        sent = parsedate_to_datetime(headers["date"])
        return headers["last-modified"] if (sent - modified).total_seconds() >= SETTLED else ""
    except (KeyError, ValueError, TypeError, OverflowError, IndexError):
        return ""
