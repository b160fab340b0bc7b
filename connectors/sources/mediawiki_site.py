"""What a wiki says about itself, and the mark from which its changes are read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from penstock.connectors.sources.mediawiki_api import Api, Params, one_line
from penstock.connectors.sources.mediawiki_feed import seconds
from penstock.connectors.types import RetryLater, StopSource

_VERSION = re.compile(r"MediaWiki (\d+)\.(\d+)")
_OLDEST = (1, 31)


class Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A moment on the wiki's clock, and what it is good for."""

    at: float
    wiki: str
    kind: str
    namespaces: list[int]

    def written(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, written: str) -> Cursor | None:
        """None for what is no cursor of ours."""
        try:
            return msgspec.json.decode(written.encode(), type=cls)
        except (msgspec.MsgspecError, UnicodeError):
            return None

    def fits(self, now: Cursor) -> bool:
        """Whether the same was looked at then: what came into view since stands in no feed."""
        return (self.wiki, self.kind, self.namespaces) == (now.wiki, now.kind, now.namespaces)


class Site:
    """One wiki. Thread-safe: what it keeps is the same whoever asked."""

    def __init__(self, api: Api, url: str) -> None:
        self._api, self._url = api, url
        self._general: dict[str, Any] | None = None

    @property
    def wiki(self) -> str:
        """Which wiki it is: the name of its database."""
        return one_line(self._known().get("wikiid"))

    def look(self, namespaces: Collection[int]) -> float:
        """The wiki's clock now, in seconds since 1970. Raises `StopSource` for a wiki that is too old, or has not
        all of `namespaces`."""
        asked: Params = {"action": "query", "meta": "siteinfo", "siprop": "general|namespaces", "curtimestamp": 1}
        answer, _ = self._api.ask(asked)
        query = answer.get("query")
        general, spaces = (query.get("general"), query.get("namespaces")) if isinstance(query, dict) else (None, None)
        now = seconds(answer.get("curtimestamp"))
        if not isinstance(general, dict) or not isinstance(spaces, dict) or now is None:
            raise RetryLater(f"{self._url} does not say what it is", reason="garbled")
        version = _VERSION.match(str(general.get("generator", "")))
        if version is None or (int(version[1]), int(version[2])) < _OLDEST:
            raise StopSource(f"{self._url} is {one_line(general.get('generator'))}; MediaWiki 1.31 or later is needed")
        for namespace in sorted(namespaces):
            if str(namespace) not in spaces:
                raise StopSource(f"{self._url} has no namespace {namespace}; take it out of namespaces")
        self._general = general
        return now

    def page_url(self, title: str) -> str:
        """Where people read the page called `title`."""
        general = self._known()
        server, path = str(general.get("server", "")), str(general.get("articlepath", ""))
        if server.startswith("//"):
            server = f"{urlsplit(self._url).scheme}:{server}"
        if not server.startswith(("http://", "https://")) or "$1" not in path:
            return ""
        return server + path.replace("$1", quote(title.replace(" ", "_"), safe="/:;@!*(),~'$-._"))

    def _known(self) -> dict[str, Any]:
        if self._general is None:
            self.look(())
        return self._general or {}
