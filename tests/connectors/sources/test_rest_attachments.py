"""Attachments by the `rest` connector: items of their own, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.types import RetryLater
from tests.connectors.sources.rest_bench import (
    FILES,
    SECRET,
    attach,
    collection,
    fill,
    gaps,
    handed,
    items,
    opened,
    text,
)
from tests.fakes.json_api import JsonApi


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        api.size = 10
        yield api


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return handed(tmp_path)


def test_attachments_are_items_of_their_own(api: JsonApi, kit: Tools) -> None:
    """Below their parent, with its labels and page; hostile file names stay one part of the uri."""
    fill(api, 1)
    api.files["report.pdf"] = b"%PDF-1.4 bytes"
    api.rows["0"]["who"] = "staff"
    link = f"{api.url}/files/report.pdf"
    attach(
        api, 0,
        {"id": 5, "name": "report.pdf", "size": 14, "link": link},
        {"id": 6, "name": "../../etc/passwd", "size": 14, "link": "/files/report.pdf"},
        {"id": 6, "name": "../../etc/passwd", "size": 14, "link": "/files/report.pdf"},
        {"id": None, "name": "nameless"},
    )  # fmt: skip
    source = opened(api, kit, collection(attachments=FILES, labels=["who"], url="https://crm.example/{id}"))
    entries = list(source.list())
    found = items(entries)
    assert set(found) == {
        "crm/items/0", "crm/items/0/attachments/5-report.pdf", "crm/items/0/attachments/6-.._.._etc_passwd",
    } or set(found) == {
        "crm/items/0", "crm/items/0/attachments/5-report.pdf", "crm/items/0/attachments/6-_.._etc_passwd",
    }  # fmt: skip
    assert [gap.uri_prefix for gap in gaps(entries)] == ["crm/items/0/attachments/"]
    for uri, item in found.items():
        if "/attachments/" in uri:
            assert item.size == 14 and SECRET not in item.locator
            got = source.fetch(item)
            assert (got.labels, got.url, got.version) == (("staff",), "https://crm.example/0", item.version)
            assert "/" not in got.name
            assert text(got) == "%PDF-1.4 bytes"
    details = [asked for asked in api.asked if asked.path == "/items/0"]
    assert len(details) == 1


def test_an_address_that_expires_is_asked_for_when_it_is_needed(api: JsonApi, kit: Tools) -> None:
    """A signed link is in no locator; its change is no new version; what is gone meanwhile is missing."""
    fill(api, 1)
    api.files["f"] = b"bytes"
    attach(api, 0, {"id": 5, "name": "f.txt", "size": 5, "link": f"{api.url}/files/f?signature=one"})
    source = opened(api, kit, collection(attachments=FILES))
    item = items(list(source.list()))["crm/items/0/attachments/5-f.txt"]
    assert "signature" not in item.locator
    api.rows["0"]["files"][0]["link"] = f"{api.url}/files/f?signature=two"
    assert items(list(source.list()))[item.uri] == item
    assert text(source.fetch(item)) == "bytes"
    assert api.asked[-1].query == {"signature": "two"}
    attach(api, 0)
    with pytest.raises(FileNotFoundError):
        opened(api, kit, collection(attachments=FILES)).fetch(item)


def test_an_attachment_elsewhere_is_fetched_without_our_credentials(api: JsonApi, kit: Tools) -> None:
    """Files often lie with another host: neither header nor key goes there."""
    with JsonApi().serving() as elsewhere:
        elsewhere.files["f"] = b"bytes"
        fill(api, 1)
        attach(api, 0, {"id": 5, "name": "f.txt", "link": f"{elsewhere.url}/files/f"})
        for auth in ({"kind": "query", "param": "key", "value": "${KEY}"}, {"kind": "bearer", "token": "${KEY}"}):
            source = opened(api, kit, collection(attachments=FILES), auth=auth, headers={"X-Ours": "yes"})
            item = items(list(source.list()))["crm/items/0/attachments/5-f.txt"]
            assert text(source.fetch(item)) == "bytes"
        for asked in elsewhere.asked:
            assert asked.query == {} and "authorization" not in asked.headers and "x-ours" not in asked.headers


def test_a_file_of_another_size_than_listed_is_asked_for_later(api: JsonApi, kit: Tools) -> None:
    """Servers under maintenance send a page with status 200 in its place; without a listed size it is believed."""
    fill(api, 1)
    api.files["a.txt"] = b"We will be back soon."
    attach(api, 0, {"id": 1, "name": "a.txt", "size": 4, "link": f"{api.url}/files/a.txt"})
    source = opened(api, kit, collection(attachments=FILES))
    item = items(list(source.list()))["crm/items/0/attachments/1-a.txt"]
    with pytest.raises(RetryLater, match="21 bytes came of the 4") as error:
        source.fetch(item)
    assert error.value.reason == "garbled" and not list(kit.scratch.glob("*token*"))
    api.files["a.txt"] = b"true"
    assert text(source.fetch(item)) == "true"
