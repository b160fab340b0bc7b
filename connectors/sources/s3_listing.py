"""One page of an S3 listing (ListObjectsV2): how it is asked for, and what its answer says.

Read here and not by the client library, because the library gives up a whole page for one key that it would not
have as a path (`a//b`, control characters), and cannot tell a folder's marker `a/` from an object `a`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from urllib.parse import quote, unquote_plus, urlencode

_END = re.compile(r"</(?:\w+:)?ListBucketResult>\s*\Z")


class Garbled(ValueError):
    """The answer is no listing, or not all of one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object. `key` is the whole key; bytes that are no UTF-8 are surrogates. `modified`: seconds since 1970."""

    key: str
    size: int
    etag: str
    modified: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """`after` is the query for the next page, None after the last one."""

    found: tuple[Listed, ...]
    after: dict[str, str] | None


def query(prefix: str, size: int, after: dict[str, str]) -> str:
    """The query string for a page of `size` keys; `after` comes from the page before, empty for the first."""
    asked = {"list-type": "2", "encoding-type": "url", "max-keys": str(size), "prefix": prefix, **after}
    return urlencode(asked, quote_via=quote, safe="~", errors="surrogateescape")


def page_of(body: bytes) -> Page:
    """Raises `Garbled`. An answer that was cut lacks its end tag; no entity or DTD is ever expanded."""
    text = body.decode("utf-8", "replace")
    if "<ListBucketResult" not in text[:1000] or not _END.search(text):
        raise Garbled("the answer is no listing of a bucket, or was cut")
    decode = unquote_key if _field(text, "EncodingType") == "url" else str
    found = tuple(_listed(each, decode) for each in _contents(text))
    if _field(text, "IsTruncated").lower() != "true":
        return Page(found, None)
    if token := unescape(_field(text, "NextContinuationToken")):
        return Page(found, {"continuation-token": token})
    if not found:
        raise Garbled("the listing says that there is more, and not where")
    return Page(found, {"start-after": found[-1].key})


def _contents(text: str) -> Iterator[str]:
    """What stands in each `Contents`. One pass: an expression would look for each end to the end of the page."""
    for piece in text.split("<Contents>")[1:]:
        inside, end, _ = piece.partition("</Contents>")
        if not end:
            raise Garbled("an entry of the listing has no end")
        yield inside


def unquote_key(written: str) -> str:
    return unquote_plus(written, errors="surrogateescape")


def _listed(text: str, decode: Callable[[str], str]) -> Listed:
    key = _field(text, "Key")
    size = _field(text, "Size")
    if not key or not size.isascii() or not size.isdigit():
        raise Garbled("an entry of the listing has no key or no size")
    return Listed(
        key=decode(unescape(key)),
        size=int(size),
        etag=unescape(_field(text, "ETag")),
        modified=_seconds(_field(text, "LastModified")),
    )


def _field(text: str, name: str) -> str:
    start = text.find(f"<{name}>")
    if start < 0:
        return ""
    start += len(name) + 2
    end = text.find(f"</{name}>", start)
    return text[start:end] if end >= 0 else ""


def _seconds(written: str) -> float | None:
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None
