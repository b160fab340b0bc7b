"""A `rest` source over the small JSON API, for the tests of the connector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from penstock.connectors.connector import Tools
from penstock.connectors.sources.rest import CONNECTOR
from penstock.connectors.types import Fetched, Gap, Item
from tests.connectors.tools import LOOPBACK, tools
from tests.fakes.json_api import JsonApi

NOW = 1_700_000_000
SECRET = "s3cr3t/+&?value"
FILES = {"items": "files", "url": "{link}", "name": "name", "size": "size"}

PAGING: dict[str, dict[str, Any]] = {
    "page": {"kind": "page", "size": 10, "twice": False},
    "offset": {"kind": "offset", "size": 10},
    "cursor": {"kind": "cursor", "next": "next.after", "cursor": "after", "more": "more", "size": 10, "twice": False},
    "next": {"kind": "next", "twice": False},
    "link": {"kind": "link", "size": 10, "twice": False},
    "none": {"kind": "none"},
}


def collection(style: str = "page", **more: Any) -> dict[str, Any]:
    """One collection of the API, listed in a style; `more` replaces or adds keys."""
    made = {
        "name": "items",
        "list": f"/{style}/items",
        "paging": PAGING[style],
        "items": "" if style in ("link", "none") else "items",
        "updated": "at",
        "detail": "/items/{id}",
        "object": "item",
        "title": "{title}",
        "body": "{text}",
        **({"total": "total"} if style in ("page", "offset") else {}),
        **more,
    }
    return {key: value for key, value in made.items() if value is not None}


def handed(tmp_path: Path) -> Tools:
    """Tools with few attempts, two secrets, and a clock that stands still."""
    rules = replace(LOOPBACK, attempts=3)
    return tools(tmp_path, rules=rules, secrets={"${KEY}": SECRET, "${WHO}": "ann"}, clock=lambda: NOW + 1000.0)


def fill(api: JsonApi, count: int) -> None:
    for number in range(count):
        row = {"id": number, "title": f"title {number}", "text": f"text {number}", "at": NOW + number}
        api.rows[str(number)] = row


def opened(api: JsonApi, kit: Tools, *collections: dict[str, Any], **options: Any) -> Any:
    made = {"url": api.url, "collections": list(collections or [collection()]), **options}
    return CONNECTOR.open("crm", msgspec.convert(made, CONNECTOR.options), kit)


def items(entries: list[Any]) -> dict[str, Item]:
    found = [each for each in entries if isinstance(each, Item)]
    assert len({item.uri for item in found}) == len(found)
    return {item.uri: item for item in found}


def gaps(entries: list[Any]) -> list[Gap]:
    return [each for each in entries if isinstance(each, Gap)]


def text(got: Fetched) -> str:
    try:
        return got.path.read_text("utf-8")
    finally:
        got.path.unlink()


def pages_asked(api: JsonApi) -> list[tuple[str, dict[str, str]]]:
    return [(asked.path, asked.query) for asked in api.asked if asked.path.endswith("/items")]


def attach(api: JsonApi, number: int, *files: dict[str, Any]) -> None:
    api.rows[str(number)]["files"] = list(files)
