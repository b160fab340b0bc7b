"""From one page to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

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
_PARAMETER = re.compile(r';\s*([\w*!#$&+.^`|~-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s;,"]+)))?')


@dataclass(frozen=True, slots=True)
class Ask:
    """One page to ask for.

    `given`: the address came from the server, so look where it leads. `overlap`: so many of its first rows are the
    last ones of the page before. `counts`: it was found by counting, so that what comes or goes meanwhile shifts it.
    """

    url: str
    params: dict[str, str | int] = field(default_factory=dict)
    given: bool = False
    overlap: int = 0
    counts: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same page."""
        return (self.url, *sorted((name, str(value)) for name, value in self.params.items()))


@dataclass(frozen=True, slots=True)
class Page:
    """What came: the answer's number from 1, its address, its `Link` header, its JSON, how many new objects it held,
    how many came so far with it, and how many there are (None if the API does not say)."""

    number: int
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
            asked = {**ask.params, paging.page: number + 1}
            return None if _all_came(page) else Ask(ask.url, asked, counts=paging.twice)
        case OffsetPaging():
            overlap = min(paging.overlap, page.so_far)
            asked = {**ask.params, paging.offset: page.so_far - overlap}
            return None if _all_came(page) else Ask(ask.url, asked, overlap=overlap)
        case CursorPaging():
            cursor = text_of(first(page.body, paging.next))
            more = not paging.more or is_set(first(page.body, paging.more))
            counts = paging.twice and _counts(cursor, page)
            return Ask(ask.url, {**ask.params, paging.cursor: cursor}, counts=counts) if cursor and more else None
        case NextPaging():
            link = first(page.body, paging.next)
            return _linked(page, link, paging.twice) if isinstance(link, str) and link.strip() else None
        case LinkPaging():
            link = next_link(page.link)
            return _linked(page, link, paging.twice) if link else None
        case _:
            return None


def next_link(header: str) -> str:
    """The address that a `Link` header (RFC 8288) calls the next; "" if it has none."""
    for match in _LINK.finditer(header):
        for name, quoted, bare in _PARAMETER.findall(match[2]):
            if name.lower() == "rel" and "next" in (quoted or bare).lower().split():
                return str(match[1]).strip()
    return ""


def shifts(paging: Paging) -> bool:
    """Whether a row that comes twice shows that the list shifted."""
    return isinstance(paging, (PagePaging, OffsetPaging))


def _all_came(page: Page) -> bool:
    return page.count == 0 or (page.total is not None and page.so_far >= page.total)


def _linked(page: Page, link: str, twice: bool) -> Ask:
    """ "" as the address for what cannot be read: it is no origin of ours."""
    try:
        url = urljoin(page.url, link.strip())
        values = [value for _, value in parse_qsl(urlsplit(url).query)]
    except ValueError:
        return Ask("", given=True)
    return Ask(url, given=True, counts=twice and any(_counts(value, page) for value in values))


def _counts(value: str, page: Page) -> bool:
    """Whether a parameter is the number of the next page, or of rows so far: some links and cursors only count."""
    return value in (str(page.number), str(page.number + 1), str(page.so_far), str(page.so_far + 1))
