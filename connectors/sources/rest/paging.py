"""From one page to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from penstock.connectors.sources.rest.fields import first, is_set, text_of
from penstock.connectors.sources.rest.paging_options import (
    CursorPaging,
    LinkPaging,
    NextPaging,
    NoPaging,
    OffsetPaging,
    PagePaging,
    Paging,
)

_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*!#$&+.^`|~-]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]+))?)*)')
_REL_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;,]|\Z))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """One page to ask for. `given`: the address came from the server, so look where it leads."""

    url: str
    params: dict[str, str | int] = field(default_factory=dict)
    given: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same page."""
        return (self.url, *sorted((name, str(value)) for name, value in self.params.items()))


@dataclass(frozen=True, slots=True)
class Page:
    """What came: the answer's address, its `Link` header, its JSON, how many objects it held, how many came so far
    with it, and how many there are (None if the API does not say)."""

    url: str
    link: str
    body: Any
    count: int
    so_far: int
    total: int | None


def opening(paging: Paging, url: str, params: dict[str, str | int]) -> Ask:
    """The first page."""
    asked = dict(params)
    if not isinstance(paging, NoPaging) and paging.limit:
        asked[paging.limit] = paging.size
    if isinstance(paging, PagePaging):
        asked[paging.page] = paging.first
    elif isinstance(paging, OffsetPaging):
        asked[paging.offset] = 0
    return Ask(url, asked)


def following(paging: Paging, ask: Ask, page: Page) -> Ask | None:
    """The page after that; None if it was the last.

    A short page is not the last one: a server may give fewer than it was asked for. An empty one is, where pages are
    counted, and so is the one that reaches the total.
    """
    match paging:
        case PagePaging():
            number = int(ask.params[paging.page])
            return None if _all_came(page) else Ask(ask.url, {**ask.params, paging.page: number + 1})
        case OffsetPaging():
            place = int(ask.params[paging.offset]) + page.count
            return None if _all_came(page) else Ask(ask.url, {**ask.params, paging.offset: place})
        case CursorPaging():
            cursor = text_of(first(page.body, paging.next))
            more = not paging.more or is_set(first(page.body, paging.more))
            return Ask(ask.url, {**ask.params, paging.cursor: cursor}) if cursor and more else None
        case NextPaging():
            link = first(page.body, paging.next)
            return Ask(_joined(page.url, link), given=True) if isinstance(link, str) and link.strip() else None
        case LinkPaging():
            link = next_link(page.link)
            return Ask(_joined(page.url, link), given=True) if link else None
        case _:
            return None


def next_link(header: str) -> str:
    """The address that a `Link` header (RFC 8288) calls the next; "" if it has none."""
    for match in _LINK.finditer(header):
        if _REL_NEXT.search(match[2]):
            return match[1].strip()
    return ""


def counted(paging: Paging) -> bool:
    """Whether pages are found by counting, so that what comes or goes meanwhile shifts them."""
    return isinstance(paging, (PagePaging, OffsetPaging))


def _all_came(page: Page) -> bool:
    return page.count == 0 or (page.total is not None and page.so_far >= page.total)


def _joined(base: str, link: str) -> str:
    """ "" for what cannot be read: it is no origin of ours."""
    try:
        return urljoin(base, link.strip())
    except ValueError:
        return ""
