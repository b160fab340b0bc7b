"""From an object to a file that a parser reads: the same object gives the same bytes."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.connectors.sources.rest.entries import page_of
from penstock.connectors.sources.rest.fields import every
from penstock.connectors.sources.rest.naming import file_name
from penstock.connectors.sources.rest.options import Collection
from penstock.connectors.sources.rest.template import TooMuch, render
from penstock.connectors.sources.rest.tokens import labels, metadata
from penstock.connectors.types import Fetched, RejectItem, RetryLater

_SUFFIX = {"html": ".html", "markdown": ".md", "text": ".txt"}

# One `main`: the parser then keeps all of it, and does not look for the content of a web page.
_PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{title}</title></head><body><main>
{body}
</main></body></html>
"""


def titled(collection: Collection, name: str, row: Any) -> str:
    """One line, "" where the configuration names none."""
    try:
        made = render(collection.title, _with_id(row, name), zone=collection.zone, date_format=collection.date_format)
    except TooMuch:
        return ""
    return " ".join(made.split())[:500]


def content(collection: Collection, name: str, row: Any, limit: int) -> bytes:
    """The document. Raises `RejectItem` (`too_large`) beyond `limit` bytes."""
    escape: Callable[[str], str] | None = html.escape if collection.format == "html" else None
    try:
        body = render(
            collection.body,
            _with_id(row, name),
            escape=escape,
            zone=collection.zone,
            date_format=collection.date_format,
            limit=limit,
        )
    except TooMuch as error:
        raise RejectItem(f"{collection.name} {name}: {error}", reason="too_large") from None
    if collection.format == "html" and body.strip():
        title = html.escape(titled(collection, name, row))
        body = _PAGE.format(title=title, body=body)
    data = body.encode("utf-8", "replace")
    if len(data) > limit:
        raise RejectItem(f"{collection.name} {name}: its text is longer than {limit} bytes", reason="too_large")
    return data


def readers(collection: Collection, name: str, row: Any) -> tuple[str, ...]:
    """Who may read it. Raises `RetryLater` if `labels` are configured and nothing is at any of them: what nobody
    is named for would be open to everybody. An empty list is an answer."""
    if collection.labels and not any(every(row, path) for path in collection.labels):
        paths = ", ".join(collection.labels)
        raise RetryLater(f"{collection.name} {name}: nothing at labels = {paths}, so who may read it is not known",
                         reason="garbled")  # fmt: skip
    return labels(collection, row)


def document(
    collection: Collection, name: str, row: Any, version: str, retries: int, path: Path, limit: int
) -> Fetched:
    """The object as a file at `path`. Raises `RejectItem`, `RetryLater`; then there is no file."""
    who = readers(collection, name, row)
    data = content(collection, name, row, limit)
    try:
        path.write_bytes(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise RetryLater(f"{(error.strerror or str(error)).lower()}: {path.parent}", reason="unreadable") from error
    return Fetched(
        path=path,
        name=file_name(name) + _SUFFIX[collection.format],
        version=version,
        temporary=True,
        title=titled(collection, name, row),
        url=page_of(collection, name, row),
        metadata=metadata(collection, row),
        labels=who,
        retries=retries,
    )


def suffix_of(collection: Collection) -> str:
    return _SUFFIX[collection.format]


def _with_id(row: Any, name: str) -> Any:
    return {"id": name, **row} if isinstance(row, dict) else {"id": name}
