"""How an API hands out a long list, as the configuration says it."""

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


class OffsetPaging(_Kind, frozen=True, tag="offset"):
    """So many are skipped: `offset=0`, `offset=100`, up to an empty page or to `total`."""

    offset: str = "offset"
    limit: str = "limit"
    size: Size = 100


class CursorPaging(_Kind, frozen=True, tag="cursor"):
    """The answer holds, at `next`, what `cursor` takes for the next page. `more`: a flag that may say no earlier."""

    next: str
    cursor: str = "cursor"
    more: str = ""
    limit: str = "limit"
    size: Size = 100

    def __post_init__(self) -> None:
        steps(self.next), steps(self.more)


class NextPaging(_Kind, frozen=True, tag="next"):
    """The answer holds, at `next`, the address of the next page. `limit` "": no page size is asked for."""

    next: str = "next"
    limit: str = ""
    size: Size = 100

    def __post_init__(self) -> None:
        steps(self.next)


class LinkPaging(_Kind, frozen=True, tag="link"):
    """The `Link` header has the address of the next page, with rel="next"."""

    limit: str = "per_page"
    size: Size = 100


class NoPaging(_Kind, frozen=True, tag="none"):
    """One answer holds everything."""


Paging = PagePaging | OffsetPaging | CursorPaging | NextPaging | LinkPaging | NoPaging
