"""How an API hands out a long list, as the configuration says it.

Where pages are counted, what comes or goes meanwhile shifts the rest, and a row that slips to a page that was read
already is missed without a trace if as many come as go. So pages by offset overlap a little, and numbered pages (links
and cursors that just count, too) are read twice, until two readings in a row agree; `twice = false` trusts the API.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.connectors.sources.rest.fields import steps

Size = Annotated[int, Meta(ge=1, le=100_000)]


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    pass


class PagePaging(_Kind, frozen=True, tag="page"):
    """Numbered pages: `page=1`, `page=2`, up to an empty one or to `total`. `first` is the first one's number."""

    page: str = "page"
    limit: str = "per_page"
    size: Size = 100
    first: Annotated[int, Meta(ge=0, le=1)] = 1
    twice: bool = True


class OffsetPaging(_Kind, frozen=True, tag="offset"):
    """So many are skipped: `offset=0`, `offset=99`, up to a page with nothing new or to `total`.

    `overlap`: rows of the page before that are asked for again and have to be the same.
    """

    offset: str = "offset"
    limit: str = "limit"
    size: Size = 100
    overlap: Annotated[int, Meta(ge=0, le=10)] = 1

    def __post_init__(self) -> None:
        if self.size <= self.overlap:
            raise ValueError(f"size = {self.size} must be larger than overlap = {self.overlap}")


class CursorPaging(_Kind, frozen=True, tag="cursor"):
    """The answer holds, at `next`, what `cursor` takes for the next page. `more`: a flag that may say no earlier."""

    next: str
    cursor: str = "cursor"
    more: str = ""
    limit: str = "limit"
    size: Size = 100
    twice: bool = True

    def __post_init__(self) -> None:
        steps(self.next), steps(self.more)


class NextPaging(_Kind, frozen=True, tag="next"):
    """The answer holds, at `next`, the address of the next page. `limit` "": no page size is asked for."""

    next: str = "next"
    limit: str = ""
    size: Size = 100
    twice: bool = True

    def __post_init__(self) -> None:
        steps(self.next)


class LinkPaging(_Kind, frozen=True, tag="link"):
    """The `Link` header has the address of the next page, with rel="next"."""

    limit: str = "per_page"
    size: Size = 100
    twice: bool = True


class NoPaging(_Kind, frozen=True, tag="none"):
    """One answer holds everything."""


Paging = PagePaging | OffsetPaging | CursorPaging | NextPaging | LinkPaging | NoPaging
