"""A MediaWiki as a source: every page of some namespaces, as people read it or as it was written.

A document is called by its page's number, `NAME/123`: a page that is moved keeps it, so that a rename is a change of
its metadata and not the end of one document and the beginning of another. A page that is deleted and written anew has
another number.

The version token is the revision and, where pages are rendered, `touched`: the moment since when what was rendered
before is stale. An edit of a template changes the text of all pages that use it and the revision of none; without
`touched` they would stay as they were for ever. It also moves when nothing readable changed (a page that is linked to
was made, somebody purged the page): that costs a request, and no embedding, since the content is the same.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from penstock.connectors.connector import Connector, Secret, SourceOptions, Tools
from penstock.connectors.http.types import Door
from penstock.connectors.sources.mediawiki_api import Api, ApiError
from penstock.connectors.sources.mediawiki_feed import reaches, touched
from penstock.connectors.sources.mediawiki_login import Session
from penstock.connectors.sources.mediawiki_page import ASKED, Page, Reading, pages_of
from penstock.connectors.sources.mediawiki_site import Cursor, Site
from penstock.connectors.sources.seen_ids import SeenIds
from penstock.connectors.types import CursorExpired, Fetched, Gap, Gone, Item, Mark

_AGENT = "penstock-mediawiki/1 (search indexing; set user_agent to say who you are)"
_AT_ONCE = 50
"""Pages by id or title in one question: what those without special rights may ask for."""


class MediaWikiOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sources.NAME]` of type `mediawiki`."""

    url: str
    """The address of api.php."""
    namespaces: tuple[int, ...] = (0,)
    content: Literal["html", "wikitext"] = "html"
    templates: bool = True
    """Look at a page again when something that it includes has changed. Means nothing for `wikitext`."""
    token: Secret | None = None
    """An OAuth 2.0 access token ("owner-only consumer")."""
    user: str = ""
    """Of a bot password, `Name@bot`."""
    password: Secret | None = None
    http_user: str = ""
    http_password: Secret | None = None
    """For a wiki behind HTTP basic authentication."""
    maxlag: Annotated[int, Meta(ge=0, le=3600)] = 5
    """Seconds that the wiki's databases may lag before it sends us away; 0: do not ask."""
    user_agent: str = _AGENT
    page_size: Annotated[int, Meta(ge=1, le=5000)] = 500
    overlap: Annotated[int, Meta(ge=0, le=86_400)] = 600
    """Seconds by which each look at the changes goes back behind the last one."""

    def binding(self) -> str:
        return self.url

    def anchored(self, folder: Path) -> MediaWikiOptions:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path in ("", "/"):
            raise ValueError("url: write the address of api.php, such as https://wiki.example.org/w/api.php")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("url: leave out the user, the ? and the #; set token for a wiki that wants to know us")
        if not self.namespaces or min(self.namespaces) < 0 or len(set(self.namespaces)) < len(self.namespaces):
            raise ValueError("namespaces: write each once, as its number, 0 or more; [0] are the articles")
        if bool(self.user) != bool(self.password):
            raise ValueError("user: set it and password, or neither; Special:BotPasswords of the wiki gives both")
        if self.token and self.user:
            raise ValueError("token: it and user are two ways to log in; leave out one of them")
        if bool(self.http_user) != bool(self.http_password) or ":" in self.http_user:
            raise ValueError("http_user: set it and http_password, or neither; it has no colon")
        if self.token and self.http_user:
            raise ValueError("token: it and http_user share one header; leave out one of them")
        if not self.user_agent.isascii() or not self.user_agent.isprintable():
            raise ValueError("user_agent: write it in printable ASCII")
        return self


class MediaWikiSource:
    """Pages of one wiki. `list` is the truth; `changes` knows edits, moves, deletions, restored and imported pages
    that are logged, and does not know pages that a script imported or that a template changed."""

    def __init__(self, name: str, options: MediaWikiOptions, tools: Tools) -> None:
        self.name = name
        self._options, self._tools = options, tools
        self._namespaces = frozenset(options.namespaces)
        common = {"maxlag": options.maxlag} if options.maxlag else {}
        password = options.password
        session = Session(options.url, options.user, lambda: tools.secret(password)) if password else None
        self._api = Api(
            options.url,
            self._door,
            common=common,
            note=tools.note,
            identified=bool(options.token or session),
            session=session,
        )
        self._site = Site(self._api, options.url)
        tokens = options.content == "html" and options.templates
        self._reading = Reading(self._api, self._site, tools, html=options.content == "html", touched=tokens)

    def list(self) -> Iterator[Item | Gap | Mark]:
        """A mark, and every page of the namespaces that is no redirect, by title.

        A title may move past the place where the listing is; so all that changed meanwhile is looked at once more.
        """
        began = self._site.look(self._namespaces)
        yield Mark(self._cursor(began).written())
        seen = SeenIds()
        for namespace in self._options.namespaces:
            yield from self._listed(namespace, seen)
        for entry in self._touched(began - self._options.overlap, seen):
            if not isinstance(entry, Gone):
                yield entry

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        """What the wiki says of itself since the mark. Raises as `list` does, and `CursorExpired`."""
        last = Cursor.read(cursor)
        began = self._site.look(self._namespaces)
        now = self._cursor(began)
        if last is None or not last.fits(now):
            raise CursorExpired("the mark is of another configuration or another wiki: list everything")
        since = last.at - self._options.overlap
        if not reaches(self._api, since, began):
            raise CursorExpired("the wiki's recent changes no longer reach back to the mark: list everything")
        yield from self._touched(since, SeenIds())
        yield Mark(now.written())

    def fetch(self, item: Item) -> Fetched:
        """The page as it is now. One that became a redirect, or left the namespaces, is no longer there."""
        try:
            return self._reading.fetch(item, self._entry)
        except ApiError as error:
            raised = error.of_an_item(item.uri)
        raise raised

    def _listed(self, namespace: int, seen: SeenIds) -> Iterator[Item | Gap]:
        asked = {
            "action": "query",
            "generator": "allpages",
            "gapnamespace": namespace,
            "gapfilterredir": "nonredirects",
            "gaplimit": self._options.page_size,
            **ASKED,
        }
        for batch in pages_of(self._api, asked):
            for page in batch:
                entry = self._entry(page)
                if entry is not None and seen.add(page.number):
                    yield entry

    def _touched(self, since: float, seen: SeenIds) -> Iterator[Item | Gap | Gone]:
        """What the pages that were touched since then are now, except those in `seen`."""
        titles: set[str] = set()
        for some in touched(self._api, since, self._options.page_size, self._namespaces):
            ids = [number for number in sorted(some.ids) if seen.add(number)]
            for asked in [{"pageids": each} for each in joined(ids)]:
                yield from self._looked_at(asked)
            new = sorted(some.titles - titles)
            titles.update(new)
            for asked in [{"titles": each} for each in joined(new)]:
                yield from self._looked_at(asked, seen)

    def _looked_at(self, asked: dict[str, str], seen: SeenIds | None = None) -> Iterator[Item | Gap | Gone]:
        for batch in pages_of(self._api, {"action": "query", **asked, **ASKED}, post=True):
            for page in batch:
                if page.number and (seen is None or seen.add(page.number)):
                    yield self._entry(page) or Gone(self._uri(page.number))

    def _entry(self, page: Page) -> Item | Gap | None:
        """None for what is no document: a redirect, another namespace, nothing at all."""
        if page.missing or page.redirect or page.namespace not in self._namespaces:
            return None
        if page.broken:
            return Gap(self._uri(page.number), "the wiki does not say which revision this page has; edit it there")
        return Item(
            uri=self._uri(page.number),
            locator=str(page.number),
            version=self._reading.version(page),
            size=page.size,
            modified=page.modified,
        )

    def _uri(self, number: int) -> str:
        return f"{self.name}/{number}"

    def _cursor(self, at: float) -> Cursor:
        return Cursor(at=at, wiki=self._site.wiki, kind=self._reading.kind, namespaces=sorted(self._namespaces))

    def _door(self) -> Door:
        headers = self._headers()
        return self._tools.door(self._options.url, headers=lambda: headers)

    def _headers(self) -> dict[str, str]:
        options, headers = self._options, {"user-agent": self._options.user_agent}
        if options.token:
            headers["authorization"] = f"Bearer {self._tools.secret(options.token)}"
        if options.http_password:
            pair = f"{options.http_user}:{self._tools.secret(options.http_password)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers


def joined(each: list[int] | list[str]) -> list[str]:
    """Ids or titles as questions take them, some at a time."""
    return ["|".join(str(one) for one in each[at : at + _AT_ONCE]) for at in range(0, len(each), _AT_ONCE)]


class _MediaWiki:
    name = "mediawiki"
    version = "mediawiki/1"
    options: type[SourceOptions] = MediaWikiOptions

    def open(self, name: str, options: MediaWikiOptions, tools: Tools) -> MediaWikiSource:
        return MediaWikiSource(name, options, tools)


CONNECTOR: Connector = _MediaWiki()
