"""One page: what the wiki says of it, and its text as a file."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.sources.mediawiki_api import Api, Params
from penstock.connectors.sources.mediawiki_feed import number, seconds, stamp
from penstock.connectors.sources.mediawiki_site import Site
from penstock.connectors.types import Fetched, Gap, Item, RejectItem, RetryLater

ASKED: Params = {"prop": "info|revisions", "rvprop": "ids|timestamp|size"}
"""What is asked about each page, wherever pages are listed: all of them get their tokens from the same facts."""
_LOOKS = 4
_TOKEN = re.compile(r"([hw])(\d+)(?:-(\d+))?")
Document = Callable[["Page"], Item | Gap | None]
"""What the source lists a page as."""


@dataclass(frozen=True, slots=True)
class Page:
    """`revision` is the newest one; `touched` are the digits of a time; `size` is that of the wikitext, in bytes."""

    number: int
    title: str = ""
    namespace: int = -1
    revision: int = 0
    touched: str = ""
    size: int = -1
    modified: float | None = None
    redirect: bool = False
    missing: bool = False
    broken: bool = False
    answer: Any = None
    """What the wiki said of it."""


def page_of(answer: dict[str, Any]) -> Page:
    """`broken` is a page that lacks what every page has: some wikis have such rows, and it must not hide the others."""
    found = number(answer.get("pageid"))
    if not found or answer.get("missing") or answer.get("invalid") or answer.get("special"):
        return Page(number=found, missing=True)
    revisions = answer.get("revisions")
    newest = revisions[0] if isinstance(revisions, list) and revisions and isinstance(revisions[0], dict) else {}
    revision, touched = number(answer.get("lastrevid")), re.sub(r"[^0-9]", "", str(answer.get("touched", "")))
    return Page(
        number=found,
        title=str(answer.get("title", "")),
        namespace=answer["ns"] if isinstance(answer.get("ns"), int) else -1,
        revision=revision,
        touched=touched,
        size=number(newest.get("size")) or number(answer.get("length")),
        modified=seconds(newest.get("timestamp")),
        redirect=bool(answer.get("redirect")),
        broken=not revision or not touched,
        answer=answer,
    )


def pages_of(api: Api, asked: Params, *, post: bool = False) -> Iterator[list[Page]]:
    for batch in api.batches(asked, post=post):
        yield [page_of(each) for each in batch]


class Reading:
    """Fetches pages. Thread-safe."""

    def __init__(self, api: Api, site: Site, tools: Tools, *, html: bool, touched: bool) -> None:
        self._api, self._site, self._tools = api, site, tools
        self._html, self._touched = html, touched
        self.kind = "h" if html else "w"

    def version(self, page: Page) -> str:
        return f"{self.kind}{page.revision}" + (f"-{page.touched}" if self._touched else "")

    def fetch(self, item: Item, document: Document) -> Fetched:
        """The page of `item`; `document` says what the source would list it as, None for nothing.

        Raises `FileNotFoundError` for what is no document any more, `RejectItem`, `RetryLater`, and `ApiError`.
        """
        if not item.locator.isascii() or not item.locator.isdigit():
            raise FileNotFoundError(errno.ENOENT, "no such page", item.uri)
        self._measured(item, item.size)
        if self._html:
            return self._rendered(item, document)
        asked = {
            "action": "query",
            "pageids": item.locator,
            "prop": "info|revisions|categories",
            "rvprop": "ids|timestamp|size|content",
            "rvslots": "main",
            "cllimit": "max",
            "clshow": "!hidden",
        }
        page, now = self._looked(item, asked, document)
        revision = page.answer["revisions"][0] if page.answer.get("revisions") else {}
        slots = revision.get("slots")
        text = (slots["main"] if slots else revision).get("content")  # 1.31 knows no slots
        if not isinstance(text, str):
            raise RetryLater(f"the wiki does not show the text of {item.uri}", reason="forbidden")
        names = [str(each.get("title", "")).partition(":")[2] for each in page.answer.get("categories", [])]
        return self._written(now, page.title, text, ".wiki", names, 0)

    def _rendered(self, item: Item, document: Document) -> Fetched:
        """What people see, in the revision whose token it is given.

        The token is taken before the text: `touched` may be older than what was rendered, so that the page is looked
        at once too often, and never newer.
        """
        known = item if _TOKEN.fullmatch(item.version) and item.modified is not None else None
        for _ in range(_LOOKS):
            if known is None:
                _, known = self._looked(item, {"action": "query", "pageids": item.locator, **ASKED}, document)
            asked: Params = {
                "action": "parse",
                "pageid": item.locator,
                "uselang": "content",
                "prop": "text|revid|categories",
                "disablelimitreport": 1,
                "disableeditsection": 1,
                "disabletoc": 1,
            }
            answer, retries = self._api.ask(asked)
            parsed = answer.get("parse")
            if not isinstance(parsed, dict) or not isinstance(parsed.get("text"), str):
                raise RetryLater(f"the wiki does not show the text of {item.uri}", reason="garbled")
            if number(parsed.get("revid")) == revision_of(known.version) and known.version[0] == self.kind:
                title = str(parsed.get("title", ""))
                names = [str(each.get("category")) for each in parsed.get("categories", []) if not each.get("hidden")]
                return self._written(known, title, markup(title, parsed["text"]), ".html", names, retries)
            known = None
        raise RetryLater(f"edited each time while it was read: {item.uri}", reason="changing")

    def _looked(self, item: Item, asked: Params, document: Document) -> tuple[Page, Item]:
        """What the page is now."""
        for batch in pages_of(self._api, asked):
            for page in batch:
                now = document(page)
                if isinstance(now, Gap):
                    raise RetryLater(f"{now.reason}: {item.uri}", reason="garbled")
                if now is not None and now.locator == item.locator:
                    self._measured(now, now.size)
                    return page, now
        raise FileNotFoundError(errno.ENOENT, "no such page", item.uri)

    def _written(self, item: Item, title: str, text: str, suffix: str, names: list[str], retries: int) -> Fetched:
        data = text.encode("utf-8", "replace")
        self._measured(item, len(data))
        path = self._tools.scratch / f"{self._tools.token()}{suffix}"
        url = self._site.page_url(title)
        path.write_bytes(data)
        metadata = {"title": title, "page": item.locator, "revision": str(revision_of(item.version))}
        if item.modified is not None:
            metadata["edited"] = stamp(item.modified)
        if categories := sorted({name.replace("_", " ") for name in names if name}):
            metadata["categories"] = " | ".join(categories)
        return Fetched(
            path=path,
            name=f"page-{item.locator}{suffix}",
            version=item.version,
            temporary=True,
            title=title,
            url=url,
            metadata=metadata,
            retries=retries,
        )

    def _measured(self, item: Item, size: int) -> None:
        if size > self._tools.max_bytes:
            said = f"{size} bytes are more than the limit ({self._tools.max_bytes}): {item.uri}"
            raise RejectItem(said, reason="too_large")


def markup(title: str, rendered: str) -> str:
    """A page's content as a file, with its title, or a parser would take the first heading for that.

    No whole page, out of which a parser would choose: it is content from its first word. Comments are left out, since
    they say when and in how long it was rendered, which makes other bytes each time.
    """
    return f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n{uncommented(rendered)}\n'


def uncommented(rendered: str) -> str:
    """Without comments; in one pass, however many begin and never end."""
    kept, at = [], 0
    while (start := rendered.find("<!--", at)) >= 0 and (end := rendered.find("-->", start + 4)) >= 0:
        kept.append(rendered[at:start])
        at = end + 3
    return "".join([*kept, rendered[at:]])


def revision_of(version: str) -> int:
    """The revision in a version token, 0 if it is none."""
    found = _TOKEN.fullmatch(version)
    return int(found[2]) if found else 0
