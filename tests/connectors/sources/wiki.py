"""A wiki that the contract suite can change."""

from __future__ import annotations

import html
import random
import re
from pathlib import Path
from typing import Any

from penstock.connectors.http.door import Doors
from penstock.connectors.http.redaction import Redactor
from penstock.connectors.sources.mediawiki import CONNECTOR
from penstock.connectors.types import RetryLater
from tests.connectors.tools import LOOPBACK
from tests.fakes.mediawiki import FakeWiki
from tests.fakes.tools import Kit
from tests.suites.source_bench import NAMES, Bench

_NO_TITLE = re.compile(r"[#<>\[\]|{}\n]|\.\.|%[0-9A-Fa-f]{2}")


class WikiBench(Bench):
    """Items are pages of the main namespace; their uris are numbers."""

    connector = CONNECTOR
    secret = "bearer-of-the-wiki/+="
    names = tuple(name for name in NAMES if not _NO_TITLE.search(name))
    faults = {
        "forbidden": (RetryLater, "forbidden"),
        "throttled": (RetryLater, "throttled"),
        "unwell": (RetryLater, "server_error"),
        "odd": (RetryLater, "server_error"),
    }
    _codes = {
        "forbidden": "permissiondenied",
        "throttled": "ratelimited",
        "unwell": "internal_api_error_DBQueryError",
        "odd": "tag-extension-error",
    }

    def __init__(self, folder: Path, wiki: FakeWiki, content: str) -> None:
        self.wiki, self.content = wiki, content
        self.kit = Kit(folder / "scratch", {"TOKEN": self.secret}, max_bytes=self.max_bytes)
        self.kit.door = Doors(
            budget=self.kit.budget,
            rules=LOOPBACK,
            scratch=self.kit.scratch,
            clock=self.kit.time.clock,
            monotonic=self.kit.time.clock,
            sleep=self.kit.time.sleep,
            random=random.Random(0).random,
            token=self.kit.tools.token,
            redactor=Redactor(),
        )
        self.options: dict[str, Any] = {"url": wiki.url, "token": "${TOKEN}", "page_size": 7, "content": content}
        self._numbers: dict[str, int] = {}

    def uri(self, name: str) -> str:
        return f"{self.NAME}/{self._numbers[name]}"

    def text(self, data: bytes) -> str:
        if self.content == "wikitext":
            return data.decode()
        found = re.search(r"<p>(.*)\n</p>", data.decode(), re.DOTALL)
        assert found
        return html.unescape(found[1])

    def put(self, name: str, text: str) -> None:
        self._numbers[name] = self.wiki.edit(name, text).number

    def delete(self, name: str) -> None:
        self.wiki.delete(name)

    def rename(self, old: str, new: str) -> None:
        self._numbers[new] = self.wiki.move(old, new).number

    def describe(self, name: str, value: str) -> None:
        self.wiki.edit(name, self.wiki.page(name).text, categories=[value])

    def fill(self, count: int) -> list[str]:
        if count > 1000:
            self.options["page_size"] = self.wiki.revisions_at_once = 500
        return super().fill(count)

    def requests(self) -> int:
        return len(self.wiki.requests)

    def cut_listing(self, *, for_ever: bool) -> None:
        self.wiki.fail("internal_api_error_DBConnectionError", only="gapcontinue", times=1000 if for_ever else 1)

    def lose(self) -> None:
        self.wiki.gone = True

    def refuse(self) -> None:
        self.wiki.token = "another"

    def disconnect(self) -> None:
        self.wiki.down()

    def mend(self) -> None:
        self.wiki.succeed()
        self.wiki.up()

    def spoil(self, name: str, fault: str) -> None:
        self.wiki.unreadable[self._numbers[name]] = self._codes[fault]

    def expire(self, cursor: str) -> None:
        self.wiki.forget(100 * 86_400)
