"""The contract of sources, for a JSON API that is paged by number and has a feed, and for one that follows links."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.http.door import Doors
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.sources.rest import CONNECTOR
from penstock.connectors.sources.rest.naming import segment
from penstock.connectors.types import RetryLater
from tests.connectors.sources.rest_bench import SECRET, collection
from tests.connectors.tools import LOOPBACK
from tests.fakes.json_api import Answer, Asked, JsonApi
from tests.fakes.tools import Kit
from tests.suites.changes_suite import ChangesSuite
from tests.suites.source_bench import NAMES, Bench
from tests.suites.source_suite import SourceSuite

FAULTS = {"forbidden": 403, "server_error": 500, "refused": 422}


class RestKit(Kit):
    """With the real door, whose waiting moves the kit's clock only."""

    redactor = Redactor()

    def secret(self, written: str) -> str:
        found = super().secret(written)
        self.redactor.learn(found)
        return found

    @property
    def tools(self) -> Tools:
        self.door = Doors(
            budget=self.budget,
            rules=LOOPBACK,
            scratch=self.scratch,
            clock=self.time.clock,
            monotonic=time.monotonic,
            sleep=self.time.sleep,
            random=lambda: 0.5,
            token=lambda: f"{next(self._tokens):016x}",
            redactor=self.redactor,
        )
        return super().tools


class RestBench(Bench):
    """Rows of the small API; each change is dated a second later than the one before."""

    connector = CONNECTOR
    names = NAMES
    secret = SECRET
    faults = {reason: (RetryLater, reason) for reason in FAULTS}

    def __init__(self, api: JsonApi, folder: Path, rules: dict[str, Any]) -> None:
        self.api = api
        api.size = 13
        api.hook = self.spoiling
        api.allowed = {f"token {SECRET}"}
        auth = {"kind": "header", "name": "Authorization", "prefix": "token ", "value": "${KEY}"}
        self.options = {"url": api.url, "auth": auth, "collections": [rules]}
        self.kit = RestKit(folder / "scratch", {"KEY": SECRET}, max_bytes=self.max_bytes)
        self.now = 1_600_000_000
        self.spoilt: dict[str, int] = {}
        self.cuts = 0
        self.down = self.lost = False

    def spoiling(self, asked: Asked) -> Answer | None:
        if self.down:
            return Answer({}, 503)
        if self.lost:
            return Answer({}, 404)
        if asked.path in self.spoilt:
            return Answer({}, self.spoilt[asked.path])
        if self.cuts and ("page" in asked.query or "after" in asked.query) and asked.query.get("page") != "1":
            self.cuts -= 1
            return Answer(b'{"items": [{"id": "cut')
        return None

    def uri(self, name: str) -> str:
        return f"{self.NAME}/items/{segment(name)}"

    def put(self, name: str, text: str) -> None:
        with self.api.lock:
            self.change(name, text=text)

    def change(self, name: str, **members: Any) -> None:
        self.now += 1
        row = self.api.rows.get(name, {"id": name, "title": name, "kind": "", "who": []})
        self.api.rows[name] = {**row, "at": self.now, **members}

    def delete(self, name: str) -> None:
        with self.api.lock:
            del self.api.rows[name]

    def rename(self, old: str, new: str) -> None:
        with self.api.lock:
            row = self.api.rows.pop(old)
            self.change(new, text=row["text"])

    def describe(self, name: str, value: str) -> None:
        with self.api.lock:
            self.api.rows[name]["kind"] = value

    def label(self, name: str, reader: str) -> None:
        with self.api.lock:
            self.api.rows[name]["who"] = [reader]

    def fill(self, count: int) -> list[str]:
        self.api.size = 500 if count > 1000 else 13
        return super().fill(count)

    def requests(self) -> int:
        return len(self.api.asked)

    def cut_listing(self, *, for_ever: bool) -> None:
        self.cuts = 10**9 if for_ever else 1

    def hide(self, name: str) -> None:
        self.api.rows[name]["id"] = None

    def lose(self) -> None:
        self.lost = True

    def refuse(self) -> None:
        self.api.allowed = set()

    def disconnect(self) -> None:
        self.down = True

    def mend(self) -> None:
        self.cuts, self.down = 0, False

    def spoil(self, name: str, fault: str) -> None:
        self.spoilt[f"/items/{name}"] = FAULTS[fault]


def rules(style: str, **more: Any) -> dict[str, Any]:
    made = collection(style, metadata={"kind": "kind"}, labels=["who"], **more)
    made["paging"] = {"kind": "page", "size": 500} if style == "page" else {"kind": style}
    return made


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        yield api


class TestRest(SourceSuite):
    """Links to the next page; no feed."""

    @pytest.fixture
    def bench(self, api: JsonApi, tmp_path: Path) -> RestBench:
        return RestBench(api, tmp_path, rules("next"))


class TestRestWithFeed(ChangesSuite):
    """Numbered pages with a total; a feed."""

    CANNOT = {"test_a_cursor_that_is_too_old_is_expired": "a query by date reaches back to the beginning"}

    @pytest.fixture
    def bench(self, api: JsonApi, tmp_path: Path) -> RestBench:
        changes = {"param": "updated_since", "format": "epoch"}
        return RestBench(api, tmp_path, rules("page", changes=changes))
