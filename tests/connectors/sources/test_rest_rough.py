"""The `rest` connector against the rough source, in each of its styles: all lands, no lie deletes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.sources.rest import CONNECTOR
from penstock.connectors.types import Gap, Item
from tests.connectors.tools import tools
from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.faults import LANDS, Faults, spread
from tests.fakes.rough.listing import Listing
from tests.fakes.rough.serving import Serving
from tests.fakes.rough.world import World

PAGING: dict[str, dict[str, Any]] = {
    "page": {"kind": "page", "size": 20},
    "offset": {"kind": "offset", "size": 20},
    "cursor": {"kind": "cursor", "next": "paging.next.after", "cursor": "after", "size": 20},
    "next": {"kind": "next", "limit": "limit", "size": 20},
    "link": {"kind": "link", "size": 20},
}
TOTAL = {"page": "total", "offset": "total_count"}


def options(url: str, style: str) -> Any:
    rules = {
        "name": "items",
        "list": f"/api/{style}/items",
        "params": {"full": 1},
        "paging": PAGING[style],
        "items": "" if style == "link" else "items",
        "updated": "updated_at",
        "detail": "/api/items/{id}",
        "title": "{title}",
        "body": "{title}\n\n{body}",
        "labels": ["readers"],
        "attachments": {"items": "attachments", "url": "{url}", "name": "name", "size": "size", "version": "sha256"},
    }
    if style in TOTAL:
        rules["total"] = TOTAL[style]
    return msgspec.convert({"url": url, "collections": [rules]}, CONNECTOR.options)


@pytest.mark.parametrize("style", sorted(PAGING))
def test_everything_lands_in_rough_weather(tmp_path: Path, style: str) -> None:
    """Three requests in ten go wrong: every document and attachment is listed once and comes whole."""
    world = World(seed=3, documents=90)
    rough = RoughSource(world, faults=Faults(5, spread(0.3, LANDS), at_most=2))
    with Serving(rough) as server:
        source = CONNECTOR.open("rough", options(server.url, style), tools(tmp_path))
        entries = list(source.list())
        found = {each.uri: each for each in entries if isinstance(each, Item)}
        assert not any(isinstance(each, Gap) for each in entries)
        files = 0
        for entry in world.listed():
            got = source.fetch(found.pop(f"rough/items/{entry.number}"))
            assert world.body(entry) in got.path.read_text("utf-8")
            assert got.labels == ("everyone" if entry.number % 3 else "staff",)
            for place, attachment in enumerate(world.attachments(entry)):
                uri = f"rough/items/{entry.number}/attachments/{entry.number}-{place}-{attachment.name}"
                assert source.fetch(found.pop(uri)).path.read_bytes() == attachment.body
                files += 1
        assert found == {} and files > 5


@pytest.mark.parametrize(
    ("style", "listing"),
    [
        ("page", Listing(repeats=frozenset({3}))),
        ("offset", Listing(repeats=frozenset({3}))),
        ("page", Listing(skips=frozenset({2}))),
    ],
)
def test_a_listing_that_lies_is_a_gap(tmp_path: Path, style: str, listing: Listing) -> None:
    """Each time, as it lies each time."""
    with Serving(RoughSource(World(seed=3, documents=90), listing=listing)) as server:
        source = CONNECTOR.open("rough", options(server.url, style), tools(tmp_path))
        assert [each.uri_prefix for each in source.list() if isinstance(each, Gap)] == ["rough/items/"]


def test_a_row_that_a_page_left_out_is_found_by_the_next_offset(tmp_path: Path) -> None:
    """It goes on from what came and not from what should have come."""
    with Serving(RoughSource(World(seed=3, documents=90), listing=Listing(skips=frozenset({2})))) as server:
        source = CONNECTOR.open("rough", options(server.url, "offset"), tools(tmp_path))
        entries = list(source.list())
        assert len({each.uri for each in entries if isinstance(each, Item) and "attach" not in each.uri}) == 90
        assert not any(isinstance(each, Gap) for each in entries)


@pytest.mark.parametrize("style", ["page", "offset", "link"])
@pytest.mark.parametrize("shift", ["insert", "remove"])
def test_a_shift_is_got_over(tmp_path: Path, style: str, shift: str) -> None:
    """What was there all the time is listed."""
    world = World(seed=3, documents=90)
    rough = RoughSource(world, listing=Listing(shifts={3: shift}))
    with Serving(rough) as server:
        source = CONNECTOR.open("rough", options(server.url, style), tools(tmp_path))
        entries = list(source.list())
        listed = {each.uri for each in entries if isinstance(each, Item)}
        assert not any(isinstance(each, Gap) for each in entries)
        assert {f"rough/items/{entry.number}" for entry in world.listed()} <= listed
